"""Exported models stand alone: no link is left, and a Triton that knows nothing of isocenter serves them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from node import testing
from node.errors import ConfigError
from node.images.part10 import Part10
from node.images.stacks import group_into_stacks
from node.models.export import export
from node.serving import chains
from node.serving.network_loader import load
from node.triton import GrpcTriton, LocalServer
from node.triton.server import Wheel
from tests.peers import ROOT

REPOSITORY = ROOT / "triton_models"
OURS = "isocenter", "__editable__", "node", "plugins", "triton_models", "tests"
PROBE = """
import importlib.util
import numpy as np
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        spec = importlib.util.find_spec("node")
        found = np.array([str(spec and spec.origin).encode()], np.object_)
        return [pb.InferenceResponse([pb.Tensor("found", found)]) for _ in requests]
"""
PROBE_CONFIG = """
backend: "python"
max_batch_size: 0
input [{name: "x" data_type: TYPE_BOOL dims: [1]}]
output [{name: "found" data_type: TYPE_STRING dims: [1]}]
"""


def test_no_link_is_left_and_every_file_that_a_model_needs_is_there(tmp_path: Path) -> None:
    names = sorted(path.parent.name for path in REPOSITORY.glob("*/config.pbtxt"))
    folders = export(REPOSITORY, tmp_path / "out", names)
    assert [folder.name for folder in folders] == names
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_symlink()]
    for name in names:
        version = REPOSITORY / name / "1"
        there = {path.relative_to(version) for path in version.rglob("*") if "__pycache__" not in path.parts}
        there |= {path.relative_to(version) for path in (version / "serving").glob("*.*")}
        assert {
            path.relative_to(tmp_path / "out" / name / "1") for path in (tmp_path / "out" / name / "1").rglob("*")
        } == there


def test_the_model_of_a_network_is_exported_with_the_model_that_asks_it(tmp_path: Path) -> None:
    network = 'parameters { key: "network", value: { string_value: "dense_net" } }'
    for name, more in (("dense", network), ("dense_net", "")):
        (tmp_path / "models" / name / "1").mkdir(parents=True)
        (tmp_path / "models" / name / "config.pbtxt").write_text(f'backend: "python"\n{more}\n')
    assert {path.name for path in export(tmp_path / "models", tmp_path / "out", ["dense"])} == {"dense", "dense_net"}
    with pytest.raises(ConfigError, match="dense is there already"):
        export(tmp_path / "models", tmp_path / "out", ["dense"])
    with pytest.raises(ConfigError, match=r"model lung is not in .*, which has: dense, dense_net"):
        export(tmp_path / "models", tmp_path / "other", ["lung"])
    (tmp_path / "models" / "dense" / "1" / "serving").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="serving is a link to nothing"):
        export(tmp_path / "models", tmp_path / "other", ["dense"])
    assert not (tmp_path / "other").exists()


def elsewhere(folder: Path) -> Path:
    """Make a Python environment that has all packages of this environment but isocenter; return its `python3`."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / version / "site-packages"
    packages.mkdir(parents=True)
    (folder / "bin").mkdir()
    python = Path(sys.base_prefix) / "bin" / version
    (folder / "bin" / "python3").symlink_to(python)
    (folder / "pyvenv.cfg").write_text(f"home = {python.parent}\n")
    for entry in Path(torch.__file__).parents[1].iterdir():
        if not entry.name.startswith(OURS) and entry.suffix != ".pth":
            (packages / entry.name).symlink_to(entry)
    return folder / "bin" / "python3"


def test_a_triton_that_knows_nothing_of_isocenter_serves_an_exported_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pytriton", reason="nvidia-pytriton is not installed")
    monkeypatch.chdir(tmp_path)
    python = elsewhere(tmp_path / "elsewhere")
    assert subprocess.run([python, "-c", "import node"], cwd=tmp_path, capture_output=True, check=False).returncode
    models = tmp_path / "out"
    export(REPOSITORY, models, ["ct_liver"])
    (models / "probe" / "1").mkdir(parents=True)
    (models / "probe" / "1" / "model.py").write_text(PROBE)
    (models / "probe" / "config.pbtxt").write_text(PROBE_CONFIG)
    (series,) = group_into_stacks(map(Part10.of_file, testing.write(testing.ct_series(), tmp_path / "ct"))).series
    volume = series.volume()
    with LocalServer(models, tmp_path / "log", environment=Wheel.find().environment(python)) as server:
        triton = GrpcTriton([server.address], deadline_seconds=300)
        assert triton.infer("probe", x=np.array([True]))["found"].tolist() == ["None"]
        answer = triton.infer("ct_liver", image=volume, affine=volume.affine)
        triton.close()
    network = load(models / "ct_liver" / "1" / "network.pt", torch.device("cpu"))
    with torch.inference_mode():
        here = chains.answer(
            chains.read(models / "ct_liver" / "1"),
            [(torch.from_numpy(volume.array), volume.affine)],
            lambda tiles: network(tiles)[0].float(),
        )
    np.testing.assert_array_equal(answer["labels"], here["labels"])
