"""Models that Triton serves already, back ends that are native to it, and models that are not right."""

import re
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from node import Measurement, Segmentation, testing
from node.errors import ConfigError
from node.host import find_plugins, read_plugin
from node.images.part10 import Part10
from node.images.stacks import group_into_stacks
from node.infer import Order, Performed, attempt, run
from node.ledger import Ledger
from node.models import add, listed
from node.records import Plan
from node.triton import GrpcTriton, LocalServer
from node.triton.model_config import read_config
from tests.peers import ROOT

pytest.importorskip("pytriton", reason="nvidia-pytriton is not installed")

bring = partial(add, trust=True)

TILES = """
scale = [0, 1000]
tile = [8, 16, 16]
activation = "none"
"""
SERVED = """
import numpy as np
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        x = pb.get_input_tensor_by_name(request, "INPUT 0").as_numpy()
        return pb.InferenceResponse([pb.Tensor("OUTPUT 0", ANSWER)])
"""
WHOLE = """
name: "theirs"
backend: "python"
max_batch_size: 0
input [{name: "INPUT 0" data_type: TYPE_FP32 dims: [-1, -1, -1]}]
output [{name: "OUTPUT 0" data_type: TYPE_INT32 dims: [-1, -1, -1]}]
"""
NETWORK = """
name: "theirs"
backend: "python"
max_batch_size: 4
input [{name: "INPUT 0" data_type: TYPE_FP32 dims: [1, -1, -1, -1]}]
output [{name: "OUTPUT 0" data_type: TYPE_FP32 dims: [2, -1, -1, -1]}]
"""
DENSE = "(x > 200).astype(np.int32)"
CLASSES = "np.concatenate([1 - 5 * x, 5 * x - 1], 1)"  # of HU / 1000: the second wins above 200 HU


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    (tmp_path / "chain.toml").write_text(TILES)
    return tmp_path / "chain.toml"


def theirs(folder: Path, config: str, answer: str) -> Path:
    """A model in another repository."""
    (folder / "theirs" / "1").mkdir(parents=True)
    (folder / "theirs" / "config.pbtxt").write_text(config)
    (folder / "theirs" / "1" / "model.py").write_text(SERVED.replace("ANSWER", answer))
    return folder / "theirs"


@pytest.mark.parametrize(("config", "answer"), [(WHOLE, DENSE), (NETWORK, CLASSES)], ids=["whole volume", "network"])
def test_a_model_on_triton_becomes_a_plugin(
    config: str, answer: str, folders: tuple[Path, Path], tiles: Path, tmp_path: Path
) -> None:
    models, plugins = folders
    source = theirs(tmp_path / "repository", config, answer)
    added = bring(source, "dense", models=models, plugins=plugins, labels=["Bone"], chain=tiles)
    assert {folder.name for folder in models.iterdir()} == {"dense"} | ({"dense_net"} if config == NETWORK else set())
    assert added.folders[-1] == plugins / "dense"
    (series,) = group_into_stacks(map(Part10.of_file, testing.write(testing.ct_series(), tmp_path / "ct"))).series
    with LocalServer(models, tmp_path / "log") as server:
        triton = GrpcTriton([server.address], deadline_seconds=300)
        plugin = read_plugin(plugins / "dense")
        triton.prepare(plugin.manifest.models, 120)
        outlines, volume = run(plugin, {"image": series}, triton)
        triton.close()
    assert isinstance(outlines, Segmentation)
    assert isinstance(volume, Measurement)
    assert [segment.label for segment in outlines.segments] == ["Bone"]
    dense = series.volume().array > 200
    assert 0.1 < dense.mean() < 0.9
    np.testing.assert_array_equal(outlines.labels.array == 1, dense)
    assert volume.value == pytest.approx(dense.sum() * series.volume().voxel_ml)


@pytest.mark.parametrize(
    ("config", "answer", "message"),
    [
        (
            WHOLE.replace("INT32", "STRING"),
            DENSE,
            r"INPUT 0 \(FP32 of -1, -1, -1\) and gives OUTPUT 0 \(STRI",
        ),
        (WHOLE.replace("dims", "shape"), DENSE, r"config\.pbtxt is no model configuration .*5:.*shape"),
        (WHOLE + "response_cache {enable: true}", DENSE, "take response_cache out"),
        (WHOLE, "3 * (x > 200).astype(np.int32)", "label 3, and there are 1 names"),
        (WHOLE, "nothing", "does not answer: .*nothing"),
    ],
)
def test_a_model_on_triton_that_cannot_be_called_is_refused_and_leaves_nothing(
    config: str, answer: str, message: str, folders: tuple[Path, Path], tiles: Path, tmp_path: Path
) -> None:
    models, plugins = folders
    source = theirs(tmp_path / "repository", config, answer)
    with pytest.raises(ConfigError, match=message):
        bring(source, "dense", models=models, plugins=plugins, labels=["Bone"], chain=tiles)
    assert not [*models.iterdir(), *plugins.iterdir()]


def test_a_repository_is_asked_for_one_of_its_models(folders: tuple[Path, Path], tmp_path: Path) -> None:
    models, plugins = folders
    theirs(tmp_path / "repository", WHOLE, DENSE)
    with pytest.raises(ConfigError, match="name one of them: theirs"):
        bring(tmp_path / "repository", "dense", models=models, plugins=plugins, labels=["Bone"])


# Native back ends


class Edges(nn.Module):
    """Two classes of the input."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([1 - 5 * x, 5 * x - 1], 1)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    folder = tmp_path_factory.mktemp("networks")
    given = torch.zeros(2, 1, 8, 16, 16)
    torch.jit.trace(Edges(), given).save(folder / "net.pt")
    batch = ({0: torch.export.Dim("batch", max=64)},)
    torch.onnx.export(
        Edges().eval(), (given,), folder / "net.onnx", dynamic_shapes=batch, verbose=False,
        input_names=["tiles"], output_names=["classes"],
    )  # fmt: skip
    return {file.suffix: file for file in folder.iterdir()}


@pytest.mark.parametrize(
    ("backend", "suffix", "names"),
    [
        ("onnxruntime", ".onnx", ("tiles", "classes")),
        ("tensorrt", ".onnx", ("tiles", "classes")),
        ("pytorch", ".pt", ("INPUT__0", "OUTPUT__0")),
    ],
)
def test_a_native_back_end_gets_the_network_and_a_configuration_of_tritons_schema(
    backend: str,
    suffix: str,
    names: tuple[str, str],
    files: Mapping[str, Path],
    folders: tuple[Path, Path],
    tiles: Path,
) -> None:
    models, plugins = folders
    bring(
        files[suffix],
        "dense",
        models=models,
        plugins=plugins,
        labels=["Bone"],
        trust=True,
        chain=tiles,
        backend=backend,
    )
    network, volume = read_config(models / "dense_net"), read_config(models / "dense")
    assert network.backend == backend
    assert (network.input[0].name, network.output[0].name) == names
    keys = "network", "network_input", "network_output"
    assert tuple(volume.parameters[key].string_value for key in keys) == ("dense_net", *names)
    assert read_plugin(plugins / "dense").manifest.models == ("dense_net", "dense")
    assert not [*(models / "dense" / "1").glob("network.*")]
    assert list(network.model_warmup[0].inputs[names[0]].dims) == [1, 1, 8, 16, 16]
    assert network.instance_group[0].kind == network.instance_group[0].KIND_GPU
    assert [file.name for file in (models / "dense_net" / "1").iterdir()] == [f"model{suffix}"]
    assert ("trtexec --onnx=1/model.onnx" in (models / "dense_net" / "config.pbtxt").read_text()) == (
        backend == "tensorrt"
    )


def test_a_back_end_that_does_not_run_a_network_is_refused(
    files: Mapping[str, Path], folders: tuple[Path, Path], tiles: Path
) -> None:
    models, plugins = folders
    for backend in ("onnxruntime", "nothing"):
        with pytest.raises(ConfigError, match=f"--backend {backend} is not for TorchScript .*: onnxruntime runs ONNX"):
            bring(
                files[".pt"],
                "dense",
                models=models,
                plugins=plugins,
                labels=["Bone"],
                trust=True,
                chain=tiles,
                backend=backend,
            )
    assert not [*models.iterdir(), *plugins.iterdir()]


# The phantom


def test_a_phantom_that_comes_back_otherwise_is_drawn(
    files: Mapping[str, Path], folders: tuple[Path, Path], tmp_path: Path
) -> None:
    models, plugins = folders
    (tmp_path / "chain.toml").write_text("size = [8, 16, 16]")
    with pytest.raises(ConfigError, match="a phantom comes back") as error:
        bring(
            files[".pt"],
            "dense",
            models=models,
            plugins=plugins,
            labels=["Bone"],
            trust=True,
            chain=tmp_path / "chain.toml",
        )
    found = re.search(r"look at (\S+\.png)", str(error.value))
    assert found
    with Image.open(found[1]) as picture:
        colors = np.asarray(picture).reshape(-1, 3)
    assert (colors == [235, 120, 40]).all(1).any()  # sent, and did not come back
    assert (colors == [255, 255, 255]).all(1).any()  # came back where it was sent


# The list


def test_models_are_listed_with_kind_versions_state_and_plugins(
    files: Mapping[str, Path], folders: tuple[Path, Path], tiles: Path, tmp_path: Path
) -> None:
    models, plugins = folders
    bring(files[".pt"], "dense", models=models, plugins=plugins, labels=["Bone"], chain=tiles)
    bring(files[".pt"], "gpu", models=models, plugins=plugins, labels=["Bone"], chain=tiles, backend="pytorch")
    theirs(models, WHOLE, DENSE)
    with LocalServer(models, tmp_path / "log") as server:
        triton = GrpcTriton([server.address])
        triton.prepare(["dense"], 60)
        triton.close()
        lines = [str(model) for model in listed(models, ["local", server.address], find_plugins([plugins]))]
    assert lines == [
        f"dense: volume model, TorchScript, by python; version 1; loaded, version 1 at {server.address}; used by dense",
        f"gpu: volume model, by python; version 1; not loaded at {server.address}; used by gpu",
        f"gpu_net: network, TorchScript, by pytorch; version 1; not loaded at {server.address}; used by gpu",
        f"theirs: model, by python; version 1; not loaded at {server.address}; used by no plugin",
    ]
    away, *others = [str(model) for model in listed(models, [server.address], find_plugins([plugins]))]
    assert "cannot be reached" in away
    assert len(others) == 4


# Models that are not right


class Nothing(nn.Module):
    """No numbers where there is something to see."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, torch.where(x > 0, torch.full_like(x, torch.nan), x)], 1)


def test_a_model_that_is_missing_of_a_wrong_shape_or_gives_no_numbers_parks_its_job(
    folders: tuple[Path, Path], tiles: Path, tmp_path: Path, ledger: Ledger, routed: Callable[..., int],
    wanted: Callable[..., Plan],
) -> None:  # fmt: skip
    models, plugins = folders
    torch.jit.trace(Nothing(), torch.zeros(2, 1, 8, 16, 16)).save(tmp_path / "nan.pt")
    bring(tmp_path / "nan.pt", "nan", models=models, plugins=plugins, labels=["Bone"], chain=tiles)
    shutil.copytree(ROOT / "triton_models" / "template", models / "flat")
    config = models / "flat" / "config.pbtxt"
    config.write_text(config.read_text().replace('"template"', '"flat"').replace("[ -1, -1, -1 ]", "[ -1, -1 ]"))
    for name in ("missing", "flat"):
        shutil.copytree(ROOT / "plugins" / "template", plugins / name)
        for file in ("plugin.py", "plugin.toml"):
            path = plugins / name / file
            path.write_text(path.read_text().replace('"template"', f'"{name}"'))
    there = find_plugins([plugins])
    for number, plugin in enumerate(there.values()):
        routed(wanted(plugin.name, version=plugin.manifest.version), study=f"1.2.{number + 1}")
    (series,) = group_into_stacks(map(Part10.of_file, testing.write(testing.ct_series(), tmp_path / "ct"))).series
    with LocalServer(models, tmp_path / "log") as server:

        def perform(order: Order, renew: Callable[[], bool]) -> Performed:
            triton = GrpcTriton([server.address], deadline_seconds=300)
            triton.prepare(order.plugin.manifest.models, 120)
            run(order.plugin, {order.plugin.roles[0]: series}, triton)
            raise AssertionError("it was answered")

        for _ in there:
            attempt(ledger.jobs, ledger.instances, there, perform, lambda *_: None, attempts=1, device_uid="2.25.1")  # type: ignore[arg-type]
    sentences = sorted(reason for _, _, reason in ledger.queries.parked())
    assert len(sentences) == 3
    for sentence, words in zip(
        sentences,
        (
            f"Triton at {server.address} has no model missing",
            "model flat takes image as INT16 of shape (any, any); the plugin gave int16 of shape (8, 32, 32)",
            f"model nan at {server.address} refused: the network answered with values that are no finite numbers",
        ),
        strict=True,
    ):
        assert words in sentence
        assert "\n" not in sentence
