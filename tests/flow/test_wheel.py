"""The wheel: files that models share are links in the repository, and copies beside each model when installed."""

import importlib.metadata
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.peers import ROOT

PARTS = "pyproject.toml", "README.md", "LICENSE", "node", "plugins", "triton_models"
UNSEEN = shutil.ignore_patterns("__pycache__", "*.egg-info")


def test_every_model_in_the_wheel_has_all_its_files(tmp_path: Path) -> None:
    try:
        present = int(importlib.metadata.version("setuptools").split(".")[0])
    except importlib.metadata.PackageNotFoundError:
        present = 0
    if present < 77:
        pytest.skip("the wheel is built with setuptools 77 or later")
    (tmp_path / "source").mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, tmp_path / "source" / part, symlinks=True, ignore=UNSEEN)
        else:
            shutil.copy(ROOT / part, tmp_path / "source" / part)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    subprocess.run([*command, str(tmp_path / "source")], check=True, capture_output=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name: archive.read(name) for name in archive.namelist() if name.startswith("triton_models/")}
    models = ROOT / "triton_models"
    wanted = {path for model in models.iterdir() for path in model.rglob("*") if path.is_file()}
    wanted |= {path for link in models.glob("*/1/serving") for path in link.glob("*.*")}
    wanted = {path for path in wanted if "__pycache__" not in path.parts}
    assert {f"triton_models/{path.relative_to(models).as_posix()}" for path in wanted} == set(packed)
    assert all(packed[f"triton_models/{path.relative_to(models).as_posix()}"] == path.read_bytes() for path in wanted)
