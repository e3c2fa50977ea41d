"""From the catalogue to DICOM objects: files of the publishers' shape on a web server, and real weights by --from."""

import shutil
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional
from typer.testing import CliRunner

from node import Heatmap, testing
from node.cli import app
from node.compose import Case, compose
from node.host import read_plugin
from node.images.series import Series
from node.infer import run
from node.models.architectures.lwnet import WNet
from node.models.architectures.unet_small import UNetSmall
from node.models.catalogue import Entry, entry_of
from node.models.checkpoint import fitted
from node.models.get import ModelPlaces, get
from node.triton import GrpcTriton, LocalServer
from tests import fundus_wnet, lung_unet
from tests.file_server import serving
from tests.flow.test_bundles import CHAINS, write_bundle
from tests.matrix import identity_of, series_in
from tests.nnunet_results import results

pytest.importorskip("pytriton", reason="nvidia-pytriton is not installed")
pytest.importorskip("nnunetv2", reason="nnU-Net is not installed")
pytest.importorskip("monai", reason="MONAI is not installed")


@dataclass(frozen=True)
class House:
    """Where models were made, a client of the Triton that serves them, and the configuration's file."""

    places: ModelPlaces
    triton: GrpcTriton
    config: Path

    def objects(self, name: str, series: Series) -> list[str]:
        """Run a plugin and return the modalities of its objects."""
        plugin = read_plugin(self.places.plugins / name)
        self.triton.prepare(plugin.manifest.models, 120)
        found = run(plugin, {"image": series}, self.triton)
        case = Case(inputs={"image": series}, results=list(found), identity=identity_of(series))
        return sorted({str(made.Modality) for made in compose(case)})


def archives(folder: Path) -> None:
    """Write the files of three entries as they are published, with weights at random; those of lwnet may be here."""
    torch.manual_seed(3)
    write_bundle(folder / "in" / "spleen_ct_segmentation", CHAINS["with sigmoid"], [], classes=["spleen"])
    zipped(folder / "in", folder / "spleen_ct_segmentation_v0.5.9.zip")
    trained = "Dataset913_lung_nodules/nnUNetTrainer_MOSAIC_1k_QuarterLR_NoMirroring__nnUNetPlans__3d_fullres"
    results(folder / "plans" / trained, labels={"background": 0, "lung": 1, "lung_nodules": 2}, mirror=None)
    zipped(folder / "plans", folder / "Dataset913_lung_nodules.zip")
    if fundus_wnet.WEIGHTS.is_file():
        shutil.copy(fundus_wnet.WEIGHTS, folder / "model_checkpoint.pth")
    else:
        torch.save({"model_state_dict": WNet().state_dict()}, folder / "model_checkpoint.pth")


def zipped(folder: Path, file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))


def moved(entry: Entry, url: str) -> Entry:
    """Return an entry with its files on another server, which states no checksums."""
    there = [each.model_copy(update={"url": f"{url}/{each.file}", "checksum": ""}) for each in entry.download]
    return entry.model_copy(update={"download": tuple(there)})


NAMES = "spleen", "lung_nodules", "lwnet"
"""An entry for each adapter."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("get")
    places = ModelPlaces(models=folder / "models", plugins=folder / "plugins", downloads=folder / "model_downloads")
    for each in (places.models, places.plugins, places.downloads, folder / "served"):
        each.mkdir()
    archives(folder / "served")
    with serving(folder / "served") as server:
        for name in NAMES:
            get(moved(entry_of(name), server.url), places, agree=lambda _: True)
    with LocalServer(places.models, folder / "triton.log") as server:
        config = folder / "isocenter.toml"
        config.write_text(
            f"plugins = ['plugins']\n[triton]\nurls = ['{server.address}']\nmodel_repository = 'models'\n"
            "[spool]\npath = 'spool'\n[ledger]\nurl = 'sqlite:///ledger.db'\n"
        )
        triton = GrpcTriton([server.address], deadline_seconds=300)
        yield House(places, triton, config)
        triton.close()


@pytest.mark.parametrize("plugin", ["monai_spleen", "lung_nodules"])
def test_a_model_that_was_got_makes_objects(plugin: str, house: House, tmp_path: Path) -> None:
    images = testing.ct_series(slices=12, rows=40, columns=36)
    assert house.objects(plugin, series_in(tmp_path / "ct", images)) == ["SEG", "SR"]


def test_the_plugin_says_what_the_weights_were_validated_on_where_its_publisher_does(house: House) -> None:
    kinds = {name: read_plugin(house.places.plugins / name).manifest for name in ("monai_spleen", "lung_nodules")}
    assert kinds["monai_spleen"].validated_on == "Medical Segmentation Decathlon Task09 Spleen, 9 validation CT"
    assert kinds["lung_nodules"].kind == "U"


def test_the_card_has_what_the_catalogue_says_with_its_pages(house: House) -> None:
    card = (house.places.plugins / "lung_nodules" / "README.md").read_text()
    entry = entry_of("lung_nodules")
    assert f"| Licence | Apache-2.0; commercial use: yes | <{entry.licence.source}> |" in card
    assert "It was not tried here with its real weights." in card
    assert entry.remarks[1] in card


def test_a_model_that_was_got_is_removed_with_what_was_downloaded(house: House, tmp_path: Path) -> None:
    torch.save(UNetSmall().state_dict(), tmp_path / "UNet_wdk24.pt")
    entry = entry_of("lung_unet_small")
    loose = entry.model_copy(update={"download": (entry.download[0].model_copy(update={"checksum": ""}),)})
    get(loose, house.places, agree=lambda _: True, given=tmp_path)
    words = ["model", "remove", "lung_unet_small", "--config", str(house.config)]
    assert CliRunner().invoke(app, words).exit_code == 2, "it asks first"
    assert CliRunner().invoke(app, [*words, "--yes"]).exit_code == 0
    assert not [*house.places.models.glob("lung_unet*"), *house.places.plugins.glob("lung_unet*")]


@pytest.mark.parametrize("given", ["the file", "its folder"])
def test_real_weights_are_got_by_from_and_their_sum_fits(given: str, house: House) -> None:
    weights = lung_unet.WEIGHTS
    if not weights.is_file():
        pytest.skip("the shared data is not on this machine")
    words = ["--from", str(weights if given == "the file" else weights.parent), "--accept-licence"]
    place = ["--config", str(house.config)]
    done = CliRunner().invoke(app, ["model", "get", "lung_unet_small", *words, *place])
    try:
        assert done.exit_code == 0, done.output
        manifest = tomllib.loads((house.places.plugins / "lung_unet_small" / "plugin.toml").read_text())
        assert [segment["label"] for segment in manifest["segment"]] == ["Lung"]
    finally:
        CliRunner().invoke(app, ["model", "remove", "lung_unet_small", "--yes", *place])


@pytest.mark.parametrize(
    ("network", "weights", "reference", "shape"),
    [
        (WNet, fundus_wnet.WEIGHTS, fundus_wnet.FundusWNet, (1, 3, 64, 96)),
        (UNetSmall, lung_unet.WEIGHTS, lung_unet.LungUNet, (2, 1, 64, 48)),
    ],
)
def test_a_network_that_is_written_out_answers_real_weights_as_their_formulas_do(
    network: type[torch.nn.Module], weights: Path, reference: type[torch.nn.Module], shape: tuple[int, ...]
) -> None:
    if not weights.is_file():
        pytest.skip("the shared data is not on this machine")
    given = torch.rand(shape) * (1000 if network is UNetSmall else 1)
    with torch.inference_mode():
        assert torch.allclose(fitted(network(), weights)(given), reference()(given), atol=1e-3)


def test_real_weights_see_vessels_as_torch_alone_does(house: House, tmp_path: Path) -> None:
    if not fundus_wnet.WEIGHTS.is_file():
        pytest.skip("the shared data is not on this machine")
    rng = np.random.default_rng(5)
    light = functional.interpolate(torch.from_numpy(rng.uniform(20, 220, (1, 3, 8, 9))).float(), (96, 112)).floor()
    photograph = testing.fundus_photograph(
        rows=96, columns=112, array=light[0].permute(1, 2, 0).numpy().astype(np.uint8)
    )
    series = series_in(tmp_path / "op", [photograph])
    plugin = read_plugin(house.places.plugins / "lwnet")
    house.triton.prepare(plugin.manifest.models, 120)
    (shown,) = [found for found in run(plugin, {"image": series}, house.triton) if isinstance(found, Heatmap)]
    given = functional.interpolate(light / 255, (512, 512), mode="bilinear", align_corners=False)
    with torch.inference_mode():
        there = (fundus_wnet.FundusWNet()(given).sigmoid() > 0.5).float()
    back = functional.interpolate(there, (96, 112), mode="nearest-exact")[0, 0].numpy() > 0
    found = shown.array[0] > 0
    assert back.any()
    assert 2 * (found & back).sum() / (found.sum() + back.sum()) > 0.99
