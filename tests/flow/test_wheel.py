"""The wheel: all that a node needs; what is a link in the repository is a copy when installed."""

import importlib.metadata
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.peers import ROOT

PARTS = "pyproject.toml", "README.md", "LICENSE", "config", "node", "plugins", "triton_models"
UNSEEN = shutil.ignore_patterns("__pycache__", "*.egg-info")


def test_every_file_of_nodes_plugins_and_models_is_in_the_wheel(tmp_path: Path) -> None:
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
        packed = {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}
    wanted = {path for name in ("node", "plugins", "triton_models") for path in (ROOT / name).rglob("*")}
    wanted |= {path for link in (ROOT / "triton_models").glob("*/1/serving") for path in link.glob("*.*")}
    wanted = {path for path in wanted if path.is_file() and "__pycache__" not in path.parts}
    assert {path.relative_to(ROOT).as_posix() for path in wanted} == set(packed)
    assert all(packed[path.relative_to(ROOT).as_posix()] == path.read_bytes() for path in wanted)
