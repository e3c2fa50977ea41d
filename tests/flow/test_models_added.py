"""`isocenter model add`: a network on a real Triton answers as the same network does here, with torch alone."""

import json
import os
import shutil
import tomllib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from pydicom import dcmread
from torch import Tensor, nn
from torch.nn import functional

from node import Measurement, Segmentation, testing
from node.compose import Case, compose, write_object
from node.host import read_plugin
from node.images.part10 import Part10
from node.images.series import Series, Volume
from node.images.stacks import group_into_stacks
from node.infer import run
from node.models import add, kinds
from node.results import Result
from node.serving.chain import Chain
from node.serving.grid import axes, to_images
from node.serving.sliding_window import infer
from node.serving.volume import segment
from node.training.meshnet import MeshNet
from node.triton import GrpcTriton, LocalServer
from tests.edge_network import edges, saved
from tests.lung_unet import WEIGHTS, LungUNet, lungs_seen
from tests.matrix import identity_of
from tests.peers import ROOT, VALIDATOR, complaints

pytest.importorskip("pytriton", reason="nvidia-pytriton is not installed")

CHAIN = """
orientation = "RAS"
spacing = [2.0, 2.0, 2.5]
tile = [24, 24, 16]
overlap = 0.25
scale = [0, 1000]
tiles_at_once = 4
"""
SHARED = ROOT.parent / "shared" / "data"


def serve(models: Path, plugin: Path, files: Sequence[Path], log: Path) -> tuple[Volume, Segmentation, list[float]]:
    """Run a plugin on images with a Triton of its own; return the volume it saw, its outlines, its measurements."""
    series = series_of(files)
    outlines, *measurements = asked(models, plugin, [series], log)
    assert isinstance(outlines, Segmentation)
    return series.volume(), outlines, [found.value for found in measurements if isinstance(found, Measurement)]


def series_of(files: Sequence[Path]) -> Series:
    (series,) = group_into_stacks(Part10.of_file(file) for file in files).series
    return series


def asked(models: Path, plugin: Path, inputs: Sequence[Series], log: Path) -> tuple[Result, ...]:
    """Run a plugin on one series for each of its roles, with a Triton of its own, as a job does."""
    installed = read_plugin(plugin)
    with LocalServer(models, log) as server:
        triton = GrpcTriton([server.address], deadline_seconds=300)
        triton.prepare(installed.manifest.models, 120)
        results = run(installed, dict(zip(installed.roles, inputs, strict=True)), triton)
        triton.close()
    return results


def dice(mask: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (mask & other).sum() / max(mask.sum() + other.sum(), 1))


@pytest.mark.parametrize("kind", kinds())
def test_a_network_of_every_kind_answers_on_triton_as_it_does_here(
    kind: str, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    models, plugins = folders
    source, more = saved(tmp_path, kind)
    (tmp_path / "chain.toml").write_text(CHAIN)
    words = {"labels": ["Spleen", "Odd thing"], "chain": tmp_path / "chain.toml", **more}
    added = add(source, "edges", models=models, plugins=plugins, **words)
    assert (added.kind, added.classes) == (kind, 2)
    images = testing.write(
        testing.ct_series(slices=20, rows=40, columns=36, orientation=testing.CORONAL), tmp_path / "ct"
    )
    volume, outlines, millilitres = serve(models, plugins / "edges", images, tmp_path / "triton.log")
    network = edges()
    with torch.inference_mode():
        here = segment(Chain.of(tomllib.loads(CHAIN)), [(torch.from_numpy(volume.array), volume.affine)], network)
    assert len(np.unique(here)) > 1
    for label in (1, 2):
        assert dice(outlines.labels.array == label, here.numpy() == label) >= 0.999
    assert [segment.label for segment in outlines.segments] == ["Spleen", "Odd thing"]
    assert millilitres == pytest.approx([float((here == label).sum()) * volume.voxel_ml for label in (1, 2)], rel=0.002)


ROLES = """
roles = ["t1", "t2"]
spacing = [2.0, 1.5, 1.5]
tile = [16, 32, 32]
overlap = 0.25
clip_percentiles = [1, 99]
each = { t2 = { normalise = true, clip_percentiles = [] } }
"""


def waves(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], origin: tuple[float, float, float]
) -> np.ndarray:
    """Return the signal of one body on a grid: two series must show the same one."""
    z, y, x = (
        start + step * np.arange(n).reshape([-1 if axis == own else 1 for axis in range(3)])
        for own, (start, step, n) in enumerate(zip(origin[::-1], spacing, shape, strict=True))
    )
    return 800 + 300 * (np.sin(x / 4) + np.sin(y / 5) * np.cos(z / 6) + np.sin((x + z) / 9))


def test_two_series_with_grids_of_their_own_are_channels_of_one_network(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    models, plugins = folders
    torch.manual_seed(5)
    network = nn.Sequential(nn.Conv3d(2, 6, 3, padding=1), nn.ReLU(), nn.Conv3d(6, 3, 1)).eval()
    torch.jit.trace(network, torch.zeros(2, 2, 16, 32, 32)).save(tmp_path / "net.ts")
    (tmp_path / "chain.toml").write_text(ROLES)
    add(
        tmp_path / "net.ts", "two", models=models, plugins=plugins, labels=["Lesion", "Oedema"], modality="MR",
        chain=tmp_path / "chain.toml", trust=True,
    )  # fmt: skip
    assert read_plugin(plugins / "two").roles == ("t1", "t2")
    t1_grid = {"spacing": (3.0, 1.0, 1.0), "origin": (-120.0, -108.0, -50.0)}
    t2_grid = {"spacing": (2.5, 1.5, 1.5), "origin": (-130.0, -118.0, -55.0)}
    t1_images = testing.mr_series(array=waves((14, 44, 40), **t1_grid), description="t1", **t1_grid)
    t2_images = testing.mr_series(array=1600 - waves((22, 60, 50), **t2_grid), description="t2", series="t2", **t2_grid)
    t1, t2 = (
        series_of(testing.write(images, tmp_path / name)) for name, images in (("t1", t1_images), ("t2", t2_images))
    )
    outlines, *_ = asked(models, plugins / "two", [t1, t2], tmp_path / "triton.log")
    assert isinstance(outlines, Segmentation)
    assert (outlines.labels.affine == t1.affine()).all()
    here = two_channels(network, t1.volume(), t2.volume())
    assert len(np.unique(here)) > 1
    for label in np.unique(here)[1:]:
        assert dice(outlines.labels.array == label, here == label) >= 0.999


def two_channels(network: nn.Module, volume: Volume, other: Volume) -> np.ndarray:
    """Ask the network with torch alone: both at the places of a grid of 2 × 1.5 × 1.5 mm, tiles blended by hand."""
    start, spacing = volume.affine[:3, 3], np.array(volume.spacing)
    wanted = np.array([2.0, 1.5, 1.5])
    shape = np.round((np.array(volume.array.shape) - 1) * spacing / wanted).astype(int) + 1
    steps = volume.affine[:3, :3] / spacing * wanted
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) @ steps.T + start
    x = [at(volume, places), at(other, places)]
    low, high = np.percentile(x[0].numpy(), [1, 99])
    x = [((x[0] - low) / (high - low)).clamp(0, 1), (x[1] - x[1].mean()) / x[1].std(correction=0)]
    with torch.inference_mode():
        fields = infer(Chain.of(tomllib.loads(ROLES)), torch.stack(x), network)
    back = np.stack(np.meshgrid(*map(np.arange, volume.array.shape), indexing="ij"), -1) * spacing / wanted
    unit = torch.from_numpy(back / (shape - 1) * 2 - 1)[None, ..., [2, 1, 0]].float()
    sampled = functional.grid_sample(fields[None], unit, align_corners=True, padding_mode="border")[0]
    return sampled.argmax(0).numpy()


def at(volume: Volume, places: np.ndarray) -> Tensor:
    """Sample a volume at places in the patient, (…, 3) mm; outside it is its lowest value."""
    back = np.linalg.inv(volume.affine)
    voxels = places @ back[:3, :3].T + back[:3, 3]
    last = np.array(volume.array.shape) - 1
    unit = torch.from_numpy(voxels / last * 2 - 1)[None, ..., [2, 1, 0]].float()
    lifted = torch.from_numpy(volume.array.astype(np.float32))
    sampled = functional.grid_sample(lifted[None, None], unit, align_corners=True, padding_mode="border")[0, 0]
    outside = torch.from_numpy(((voxels < -0.5 - 1e-6) | (voxels > last + 0.5 + 1e-6)).any(-1))
    return sampled.masked_fill(outside, float(lifted.min()))


TO = {"L": (1.0, 0, 0), "P": (0, 1.0, 0), "A": (0, -1.0, 0), "S": (0, 0, 1.0), "I": (0, 0, -1.0)}
"""Directions of the patient in LPS."""


def conformed(volume: Volume, towards: str, size: int) -> Tensor:
    """Sample a volume on voxels of 1 mm around its middle, axes towards the given directions.

    What lies beyond its outer edges has its lowest value.
    """
    directions = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    wanted = np.array([TO[letter] for letter in towards])
    nearest = [int(np.abs(directions.T @ axis).argmax()) for axis in wanted]
    steps = np.stack(
        [directions[:, k] * np.sign(directions[:, k] @ axis) for k, axis in zip(nearest, wanted, strict=True)], 1
    )
    middle = volume.affine @ [*((np.array(volume.array.shape) - 1) / 2), 1]
    places = np.stack(np.meshgrid(*[np.arange(size) - (size - 1) / 2] * 3, indexing="ij"), -1) @ steps.T + middle[:3]
    back = np.linalg.inv(volume.affine)
    voxels = places @ back[:3, :3].T + back[:3, 3]
    unit = torch.from_numpy(voxels / (np.array(volume.array.shape) - 1) * 2 - 1)[..., [2, 1, 0]].float()
    low = float(volume.array.min())
    lifted = torch.from_numpy(volume.array.astype(np.float32))[None, None] - low
    sampled = functional.grid_sample(lifted, unit[None], align_corners=True, padding_mode="border")[0, 0] + low
    beyond = (voxels < -0.5 - 1e-6) | (voxels > np.array(volume.array.shape) - 0.5 + 1e-6)
    return sampled.masked_fill(torch.from_numpy(beyond.any(-1)), low)


def judged(series: Series, outlines: Segmentation, images: Path, folder: Path) -> None:
    """Compose the objects of a segmentation and have them judged."""
    folder.mkdir()
    for number, dataset in enumerate(
        compose(Case(inputs={"image": series}, results=[outlines], identity=identity_of(series)))
    ):
        write_object(dataset, folder / f"{number}.dcm")
    if VALIDATOR.is_file():
        assert not complaints(images, folder, "DicomSRValidator")


FEW = 2000
"""Labels with fewer voxels are not compared: a few voxels that rounding moves would exceed a thousandth."""
BRAIN = """
orientation = "TOWARDS"
spacing = [1, 1, 1]
size = [SIZE, SIZE, SIZE]
align = "centre"
clip_percentiles = [2, 98]
restore = "labels"
"""


WHOLE = {"ISOCENTER_WHOLE_BRAIN"} & os.environ.keys()
"""With it, networks see 256³ voxels as they were trained to, which takes minutes; without, the middle of them."""


@pytest.mark.parametrize(
    ("model", "towards", "size"),
    [("model5_gw_ae", "PLS", 256 if WHOLE else 192), ("model18cls", "LIA", 256 if WHOLE else 128)],
)
def test_a_real_network_for_the_brain_answers_as_torch_alone_does(
    model: str, towards: str, size: int, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    """MeshNet (MIT, github.com/neuroneural/brainchop) on a real T1 brain, one enhanced multi-frame instance."""
    weights = SHARED / "weights" / "mr_brain_meshnet" / model
    brain = sorted((SHARED / "dicom" / "MR" / "T1_3d_enhanced_xa30").rglob("*.dcm"))
    if not weights.is_dir() or not brain:
        pytest.skip("the shared data is not on this machine")
    models, plugins = folders
    network, named = MeshNet(weights).eval(), ["White matter", "Grey matter"]
    if (colours := weights / "colormap.json").is_file():
        named = json.loads(colours.read_text())["labels"][1:]
    torch.jit.trace(network, torch.zeros(1, 1, 32, 32, 32)).save(tmp_path / "meshnet.pt")
    (tmp_path / "chain.toml").write_text(BRAIN.replace("SIZE", str(size)).replace("TOWARDS", towards))
    add(
        tmp_path / "meshnet.pt", "brain", models=models, plugins=plugins, labels=named, modality="MR",
        chain=tmp_path / "chain.toml", trust=True,
    )  # fmt: skip
    volume, outlines, millilitres = serve(models, plugins / "brain", brain, tmp_path / "triton.log")
    x = conformed(volume, towards, size)
    low, high = np.percentile(x.numpy(), [2, 98])
    with torch.inference_mode():
        there = network(((x - low) / (high - low)).clamp(0, 1)[None, None]).argmax(1)[0]
    grid = axes(Chain.of(tomllib.loads((tmp_path / "chain.toml").read_text())), volume.array.shape, volume.affine)
    here = to_images(there, grid, nearest=True).numpy()
    counts = np.bincount(here.ravel(), minlength=len(named) + 1)
    found = [label for label in range(1, len(counts)) if counts[label] > FEW]
    assert len(found) > len(named) // 3  # the others are too small to be judged on voxels of 2 mm
    for label in found:
        assert dice(outlines.labels.array == label, here == label) >= 0.999
    judged(series_of(brain), outlines, brain[0].parent, tmp_path / "objects")
    if len(named) == 2:
        assert 200 < millilitres[0] < millilitres[1]  # less white than grey matter


LUNGS = """
planar = true
clip = [-1024, 32767]
scale = [-1024, -1023]
activation = "sigmoid"
tiles_at_once = 4
"""


def test_a_real_network_for_lungs_answers_as_torch_alone_does(folders: tuple[Path, Path], tmp_path: Path) -> None:
    chest = sorted((SHARED / "dicom" / "CT" / "chest_cmb_crc_100").glob("*.dcm"))
    if not WEIGHTS.is_file() or not chest:
        pytest.skip("the shared data is not on this machine")
    models, plugins = folders
    network = LungUNet()
    torch.jit.trace(network, torch.zeros(2, 1, 64, 64)).save(tmp_path / "lungs.pt")
    (tmp_path / "chain.toml").write_text(LUNGS)
    add(
        tmp_path / "lungs.pt",
        "lungs",
        models=models,
        plugins=plugins,
        labels=["Lung"],
        chain=tmp_path / "chain.toml",
        trust=True,
    )
    files = sorted(chest, key=lambda path: float(dcmread(path, specific_tags=["ImagePositionPatient"])[0x200032][2]))
    volume, outlines, _ = serve(models, plugins / "lungs", files[30:50], tmp_path / "triton.log")
    there = lungs_seen(network, torch.from_numpy(volume.array)).numpy()
    assert there.mean() > 0.05
    assert dice(outlines.labels.array > 0, there) >= 0.999
    (tmp_path / "images").mkdir()
    images = [shutil.copy(path, tmp_path / "images") for path in files[30:50]]
    judged(series_of([Path(path) for path in images]), outlines, tmp_path / "images", tmp_path / "objects")
