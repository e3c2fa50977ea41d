"""The wheel: all that a node needs; what is a link in the repository is a copy when installed."""

import importlib.metadata
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from node import testing
from tests.peers import ROOT

PARTS = "pyproject.toml", "README.md", "LICENSE", "config", "node", "plugins", "triton_models"
UNSEEN = shutil.ignore_patterns("__pycache__", "*.egg-info")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this repository."""
    try:
        present = int(importlib.metadata.version("setuptools").split(".")[0])
    except importlib.metadata.PackageNotFoundError:
        present = 0
    if present < 77:
        pytest.skip("the wheel is built with setuptools 77 or later")
    folder = tmp_path_factory.mktemp("wheel")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / "source" / part, symlinks=True, ignore=UNSEEN)
        else:
            (folder / "source").mkdir(exist_ok=True)
            shutil.copy(ROOT / part, folder / "source" / part)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*command, str(folder / "source")], check=True, capture_output=True, timeout=300)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def isocenter(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of the wheel, in an environment of its own that finds what it depends on in that of the tests."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return folder / "bin" / "isocenter"


def test_every_file_of_nodes_plugins_and_models_is_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}
    wanted = {path for name in ("node", "plugins", "triton_models") for path in (ROOT / name).rglob("*")}
    wanted |= {path for link in (ROOT / "triton_models").glob("*/1/serving") for path in link.glob("*.*")}
    wanted = {path for path in wanted if path.is_file() and "__pycache__" not in path.parts}
    assert {path.relative_to(ROOT).as_posix() for path in wanted} == set(packed)
    assert all(packed[path.relative_to(ROOT).as_posix()] == path.read_bytes() for path in wanted)


def test_the_demo_of_the_wheel_leaves_seg_sr_and_a_picture_whatever_lies_in_the_folder_it_is_called_from(
    isocenter: Path, tmp_path: Path
) -> None:
    for name in ("node", "plugins"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text('raise SystemExit("not ours")\n')
    testing.write(testing.chest_ct(slices=60, rows=256), tmp_path / "images")
    command = [
        isocenter.with_name("python"),
        "-E",
        isocenter,
        "demo",
        "--dicom",
        "images",
        "--out",
        "demo",
    ]  # as by pipx
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    said = "".join(done.stdout.split())
    objects, pictures = list((tmp_path / "demo/pacs").rglob("*.dcm")), list((tmp_path / "demo").rglob("*.png"))
    assert len(objects) == 2
    assert len(pictures) == 1
    assert all(str(path) in said for path in (*objects, *pictures))
    assert "last C-STORE to results in the PACS" in done.stdout
    root = str(isocenter.parents[1].resolve())
    assert f'plugins = ["{root}' in (tmp_path / "demo/isocenter.toml").read_text(), "its own, not those of the tests"
