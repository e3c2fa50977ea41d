"""`isocenter model add` refuses networks that cannot be served, and without `--trust` files that can hold code."""

from pathlib import Path
from typing import Any

import pytest

from node.errors import ConfigError
from node.host import read_plugin
from node.models import add
from tests.edge_network import saved

pytest.importorskip("pytriton", reason="nvidia-pytriton is not installed")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"labels": ["Spleen"]}, "2 classes beside the background, and there are 1 labels"),
        ({"labels": ["Spleen", "Liver"], "name": "taken"}, "is there already"),
        ({"labels": ["Spleen", "Liver"], "chain": "tile = [2, 2, 2]\noverlap = 1"}, "overlap is at least 0"),
        ({"labels": ["Spleen", "Liver"], "chain": "size = [8, 8, 8]"}, "a phantom comes back"),
        ({"labels": ["Spleen", "Liver"], "chain": "tile = [8, 8]"}, "refuses a tile"),
    ],
)
def test_a_network_that_cannot_be_served_is_refused_and_leaves_nothing(
    words: dict[str, Any], message: str, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    models, plugins = folders
    (models / "taken").mkdir()
    source, _ = saved(tmp_path, "TorchScript")
    chain = None
    if "chain" in words:
        chain = tmp_path / "chain.toml"
        chain.write_text(words["chain"])
    with pytest.raises(ConfigError, match=message):
        add(
            source, words.get("name", "edges"), models=models, plugins=plugins, labels=words["labels"], chain=chain,
            trust=True,
        )  # fmt: skip
    assert [folder.name for folder in models.iterdir()] == ["taken"]
    assert not list(plugins.iterdir())


def test_a_guard_is_written_into_the_manifest_and_must_be_in_the_repository(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    models, plugins = folders
    (models / "guard_head_mr").mkdir()
    source, _ = saved(tmp_path, "TorchScript")
    wanted: dict[str, Any] = {"models": models, "plugins": plugins, "labels": ["Spleen", "Liver"], "trust": True}
    with pytest.raises(ConfigError, match="has no model guard_chest_ct; it has head_mr"):
        add(source, "edges", guard="chest_ct", **wanted)
    add(source, "edges", guard="head_mr", **wanted)
    manifest = read_plugin(plugins / "edges").manifest
    assert manifest.guards == {"image": "head_mr"}
    assert "guard_head_mr" in manifest.models


@pytest.mark.parametrize("place", ["/etc/passwd", "../net.data", "link.data"])
def test_an_onnx_file_takes_no_weights_from_elsewhere(place: str, folders: tuple[Path, Path], tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="ONNX is not installed")
    models, plugins = folders
    source, _ = saved(tmp_path, "ONNX")
    network = onnx.load(source)
    (tmp_path / "link.data").symlink_to("/etc/passwd")
    onnx.external_data_helper.set_external_data(network.graph.initializer[0], place)
    network.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    source.write_bytes(network.SerializeToString())
    with pytest.raises(ConfigError, match=f"takes its weights from {place}: they must be files beside it"):
        add(source, "edges", models=models, plugins=plugins, labels=["Spleen", "Liver"])


def test_weights_need_their_network_and_code_needs_trust(folders: tuple[Path, Path], tmp_path: Path) -> None:
    models, plugins = folders
    source, more = saved(tmp_path, "state_dict")
    for builder, message in (
        ("", "say of which network"),
        (more["builder"], "--trust"),
        ("os.system()", "name one of MONAI's"),
        ("monai.networks.nets.UNet(__import__('os'))", "plain values"),
    ):
        with pytest.raises(ConfigError, match=message):
            add(source, "edges", models=models, plugins=plugins, labels=["Spleen", "Liver"], builder=builder)
