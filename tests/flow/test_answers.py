"""Networks that classify, detect, make images or see colour, served by a real Triton, and the objects of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from pydicom.dataset import Dataset
from torch import Tensor, nn
from torch.nn import functional

from node import DerivedSeries, Finding, Heatmap, Region, testing
from node.compose import Case, compose, write_object
from node.host import read_plugin
from node.images.series import Series
from node.infer import run
from node.models import add
from node.models.architectures.lwnet import WNet
from node.results import Result
from node.triton import GrpcTriton, LocalServer
from tests.matrix import identity_of, series_in
from tests.peers import SHARED, VALIDATOR, complaints

pytest.importorskip("pytriton", reason="nvidia-pytriton is not installed")


class Classifier(nn.Module):
    """Three findings that exclude one another."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.last = nn.Conv3d(1, 8, 3, stride=2, padding=1), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x).relu().amax((2, 3, 4)))


class Detector(nn.Module):
    """The box around the bright object, as boxes, scores and classes, with a second box beside it and a faint box."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        places = (x[0, 0] > 0.5).nonzero()
        if places.shape[0] == 0:
            return torch.zeros(0, 6), torch.zeros(0), torch.zeros(0, dtype=torch.int64)
        low, high = places.amin(0), places.amax(0) + 1
        box = torch.cat([low, high]).float()
        return torch.stack([box, box, box + 1, box]), torch.tensor([0.9, 0.8, 0.7, 0.1]), torch.tensor([0, 1, 0, 0])


@dataclass(frozen=True)
class Brought:
    network: nn.Module
    chain: str
    labels: Sequence[str]
    modality: str
    example: tuple[int, ...]
    scripted: bool = False


def networks() -> Mapping[str, Brought]:
    torch.manual_seed(4)
    smooth = nn.Conv3d(1, 1, 3, padding=1, bias=False)
    smooth.weight.data.fill_(1 / 27)
    sizes = "steps = ['place', { clip = [-1000, 1000] }, { scale = [-1000, 1000] }, { resize = [24, 24, 24] }]\n"
    window = 'orientation = "RAS"\nclip = [-1000, 1000]\nscale = [-1000, 1000]\n'
    found = {
        "kinds": Brought(
            Classifier(), 'answer = "findings"\norientation = "RAS"\n' + sizes,
            ["Nothing odd", "Pneumonia", "Pleural effusion"], "CT", (1, 1, 24, 24, 24),
        ),
        "smoothed": Brought(
            smooth, window + 'answer = "image"\nactivation = "none"\nvalues = [-1000, 1000]\ntile = [16, 16, 8]\n',
            ["Smoothed"], "CT", (1, 1, 16, 16, 8),
        ),
        "nodules": Brought(
            Detector(), window + 'answer = "boxes"\nspacing = [1.0, 1.0, 1.0]\n', ["Nodule", "Mass"], "CT",
            (1, 1, 9, 9, 9), scripted=True,
        ),
    }  # fmt: skip
    weights = SHARED / "data" / "weights" / "fundus_vessel_wnet" / "model_checkpoint.pth"
    if weights.is_file():
        vessels = WNet()
        vessels.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True)["model_state_dict"])
        look = 'colour = true\nplanar = true\nactivation = "sigmoid"\nrestore = "labels"\nfill = 0.0\n'
        steps = "steps = ['place', { scale = [0, 255] }, { resize = [0, 512, 512] }]\n"
        found["vessels"] = Brought(vessels, look + steps, ["Retinal vessels"], "OP", (1, 3, 512, 512))
    return found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, GrpcTriton]]:
    folder = tmp_path_factory.mktemp("answers")
    (folder / "models").mkdir()
    (folder / "plugins").mkdir()
    for name, served in networks().items():
        network, given = served.network.eval(), torch.zeros(served.example)
        (torch.jit.script(network) if served.scripted else torch.jit.trace(network, given)).save(folder / f"{name}.ts")
        (folder / f"{name}.toml").write_text(served.chain)
        add(
            folder / f"{name}.ts", name, models=folder / "models", plugins=folder / "plugins", labels=served.labels,
            modality=served.modality, chain=folder / f"{name}.toml", trust=True,
        )  # fmt: skip
    with LocalServer(folder / "models", folder / "triton.log") as server:
        triton = GrpcTriton([server.address], deadline_seconds=300)
        yield folder, triton
        triton.close()


def ask(name: str, series: Series, served: tuple[Path, GrpcTriton]) -> tuple[Result, ...]:
    folder, triton = served
    plugin = read_plugin(folder / "plugins" / name)
    triton.prepare(plugin.manifest.models, 120)
    return run(plugin, {"image": series}, triton)


def judged(series: Series, results: Sequence[Result], images: Path, folder: Path) -> list[str]:
    """Compose all objects of the results and have them judged; return their Modality."""
    objects = compose(Case(inputs={"image": series}, results=results, identity=identity_of(series)))
    folder.mkdir()
    for number, dataset in enumerate(objects):
        write_object(dataset, folder / f"{number}.dcm")
    if VALIDATOR.is_file():
        assert not complaints(images, folder, "DicomSRValidator")
    return [str(dataset.Modality) for dataset in objects]


def ct(tmp_path: Path) -> Series:
    array = np.full((20, 40, 36), -900, np.int16)
    array[6:13, 8:20, 22:31] = 400
    array += np.random.default_rng(3).integers(-50, 50, array.shape).astype(np.int16)
    return series_in(tmp_path / "ct", testing.ct_series(array=array, spacing=(2.5, 1.5, 1.25)))


def test_a_classifier_gives_findings(tmp_path: Path, served: tuple[Path, GrpcTriton]) -> None:
    series = ct(tmp_path)
    results = ask("kinds", series, served)
    volume = series.volume().array[:, ::-1, ::-1].transpose(2, 1, 0).copy()
    x = torch.from_numpy(volume).float()[None, None].clamp(-1000, 1000) / 2000 + 0.5
    with torch.inference_mode():
        expected = networks()["kinds"].network(functional.interpolate(x, (24, 24, 24), mode="trilinear")).softmax(1)[0]
    assert all(isinstance(result, Finding) for result in results)
    assert [result.score for result in results] == pytest.approx(expected.tolist(), abs=1e-4)
    assert [result.present for result in results] == (expected >= 0.5).tolist()  # the threshold in plugin.toml
    assert [result.name.meaning for result in results] == ["Nothing odd", "Pneumonia", "Pleural effusion"]
    assert judged(series, results, tmp_path / "ct", tmp_path / "objects") == ["SR"]


def test_a_network_from_image_to_image_gives_a_derived_series(tmp_path: Path, served: tuple[Path, GrpcTriton]) -> None:
    series = ct(tmp_path)
    (result,) = ask("smoothed", series, served)
    assert isinstance(result, DerivedSeries)
    x = torch.from_numpy(series.volume().array).float()[None, None] / 2000 + 0.5
    expected = functional.avg_pool3d(x, 3, 1, 1)[0, 0].numpy() * 2000 - 1000
    inside = (slice(2, -2),) * 3
    assert np.abs(result.array[inside] - expected[inside]).max() < 60  # edges of windows see no neighbours
    assert np.abs(result.array[inside] - expected[inside]).mean() < 2
    assert judged(series, [result], tmp_path / "ct", tmp_path / "objects") == ["CT"] * 20 + ["SR"]


def test_a_detector_gives_regions_where_lesions_are(tmp_path: Path, served: tuple[Path, GrpcTriton]) -> None:
    series = ct(tmp_path)
    results = ask("nodules", series, served)
    # the box beside the first is suppressed, and the faint box is below the threshold
    assert [result.label for result in results] == ["Nodule 1", "Mass 2"]
    for result in results:
        assert isinstance(result, Region)
        assert result.points == pytest.approx(np.array([[22, 8], [31, 20]]), abs=1)  # sampled at 1 mm
        assert result.image is series.frames[9]
    assert results[0].score == pytest.approx(0.9)
    assert "SR" in judged(series, results, tmp_path / "ct", tmp_path / "objects")


def test_a_detector_that_finds_nothing_says_so(tmp_path: Path, served: tuple[Path, GrpcTriton]) -> None:
    empty = testing.ct_series(array=np.full((6, 20, 24), -900, np.int16))
    assert ask("nodules", series_in(tmp_path / "ct", empty), served) == ()


def test_a_real_network_for_vessels_sees_a_colour_photograph(tmp_path: Path, served: tuple[Path, GrpcTriton]) -> None:
    if not (served[0] / "plugins" / "vessels").is_dir():
        pytest.skip("the shared data is not on this machine")
    series = series_in(tmp_path / "op", [fundus()])
    results = ask("vessels", series, served)
    seen, shown = results
    assert isinstance(seen, Finding)
    assert isinstance(shown, Heatmap)
    x = torch.from_numpy(series.image()).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        there = networks()["vessels"].network.eval()(functional.interpolate(x, (512, 512), mode="bilinear")) > 0
    back = functional.interpolate(there.float(), series.image().shape[:2], mode="nearest-exact")[0, 0].numpy() > 0
    found = shown.array[0] > 0
    assert 2 * (back & found).sum() / (back.sum() + found.sum()) >= 0.999
    drawn = vessels_of(640, 720)
    assert 2 * (drawn & found).sum() / (drawn.sum() + found.sum()) > 0.6  # it finds what was drawn
    assert judged(series, results, tmp_path / "op", tmp_path / "objects") == ["OT", "SR"]


def fundus() -> Dataset:
    """A photograph with vessels drawn on it."""
    image = testing.fundus_photograph(rows=640, columns=720)
    row, column = np.mgrid[:640, :720]
    field = np.hypot(row - 320, column - 360) < 310
    light = np.stack([np.full((640, 720), value) for value in (190, 95, 45)], -1) * field[..., None]
    light[vessels_of(640, 720)] = (120, 35, 20)
    image.PixelData = light.astype(np.uint8).tobytes()
    return image


def vessels_of(rows: int, columns: int) -> np.ndarray:
    row, column = np.mgrid[:rows, :columns]
    field = np.hypot(row - 320, column - 360) < 300
    drawn = np.zeros((rows, columns), bool)
    for turn in (-0.9, -0.4, 0.3, 0.8):
        across = (column - 360) * np.sin(turn) - (row - 320) * np.cos(turn) + 20 * np.sin((column - 360) / 60)
        drawn |= np.abs(across) < 4
    return drawn & field
