"""The lungs of a real chest against a trained network, and real images that show no two whole lungs."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from pydicom.pixels import apply_rescale
from torch import Tensor

from tests.lung_unet import LungUNet, lungs_seen

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
CT = DATA / "dicom" / "CT"
EVERY = 2
"""Which slices the network is asked for: it sees each by itself, and takes half a second of two cores for it."""

_spec = importlib.util.spec_from_file_location("ct_lung_lungs", ROOT / "triton_models" / "ct_lung" / "1" / "lungs.py")
assert _spec is not None
assert _spec.loader is not None
lungs = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = lungs
sys.path.insert(0, str(Path(_spec.origin or "").parent))  # as Triton has it
_spec.loader.exec_module(lungs)


def volume(folder: Path) -> tuple[Tensor, np.ndarray]:
    """(int16 HU (slice, row, column), affine LPS in mm) of the images in a folder (PS3.3 C.7.6.2.1.1)."""
    slices = [pydicom.dcmread(file) for file in folder.glob("*.dcm")]
    slices = [image for image in slices if "PixelData" in image]
    row, column = np.array(slices[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
    normal = np.cross(row, column)
    slices.sort(key=lambda image: float(normal @ np.array(image.ImagePositionPatient, dtype=float)))
    place = np.array([image.ImagePositionPatient for image in slices], dtype=float)
    down, across = (float(mm) for mm in slices[0].PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0] = (place[-1] - place[0]) / (len(place) - 1) if len(place) > 1 else normal
    affine[:3, 1], affine[:3, 2], affine[:3, 3] = column * down, row * across, place[0]
    hu = np.stack([apply_rescale(image.pixel_array, image) for image in slices])
    return torch.from_numpy(hu.clip(-32768, 32767).astype(np.int16)), affine


@pytest.fixture(scope="module")
def chest():
    if not CT.is_dir():
        pytest.skip("the shared data is not on this machine")
    return volume(CT / "chest_cmb_crc_100")


@pytest.fixture(scope="module")
def found(chest):
    image, affine = chest
    return lungs.find_lungs(image, affine)


def test_the_lungs_are_those_the_network_sees(chest, found):
    image, affine = chest
    seen = lungs_seen(LungUNet(), image[::EVERY])
    pieces = lungs.components(seen)
    size = torch.bincount(pieces.flatten())
    size[0] = 0
    # It joins both lungs at the anterior junction into one piece of 4.5 l; the next (0.2 l) is the hollow of the table.
    seen = pieces == size.argmax()
    mask = found.labels[::EVERY] > 0
    assert found.reason == ""
    assert 2 * int((mask & seen).sum()) / int(mask.sum() + seen.sum()) > 0.95
    voxel_ml = EVERY * abs(np.linalg.det(affine[:3, :3])) / 1000
    assert found.statistics[2, 0] == pytest.approx(int(seen.sum()) * voxel_ml, rel=0.05)


def test_the_right_lung_is_the_larger_and_the_airway_is_in_neither(chest, found):
    image, affine = chest
    right, left, both = found.statistics
    assert 1.0 < right[0] / left[0] < 1.5
    assert both[0] == pytest.approx(right[0] + left[0])
    middle = {k: (affine @ [*(found.labels == k).nonzero().double().mean(0).tolist(), 1])[0] for k in (1, 2)}
    assert middle[1] < middle[2]
    arch = int(np.rint((-64 - affine[2, 3]) / affine[2, 0]))
    window = (arch, slice(228, 252), slice(232, 253))  # the trachea at the level of the aortic arch, by eye
    lumen = image[window] < -900
    assert lumen.sum() > 100
    assert not found.labels[window][lumen].any()


def test_the_chest_turned_over_gives_the_same_lungs(chest, found):
    image, affine = chest
    turned = affine.copy()
    last = np.array(image.shape) - 1
    turned[:3, 3] = affine[:3, :3] @ last + affine[:3, 3]
    turned[:3, :3] = -affine[:3, :3]
    again = lungs.find_lungs(image.flip(0, 1, 2), turned)
    assert again.statistics == pytest.approx(found.statistics, rel=0.005, abs=0.1)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ((slice(None), slice(None), slice(150, None)), ""),
        ((slice(None), slice(200, None), slice(None)), ""),
        ((slice(30, None), slice(None), slice(None)), "beyond the first or last image"),
        ((slice(None), slice(None), slice(120, 390)), ""),
    ],
)
def test_a_real_chest_with_a_part_cut_off_gets_a_sentence_and_no_mask(chest, part, words):
    image, affine = chest
    found = lungs.find_lungs(image[part].contiguous(), affine)
    assert found.reason
    assert words in found.reason
    assert not found.labels.any()


@pytest.mark.parametrize(
    "folder",
    [
        "head_missing_and_odd_geometry/gantrytilting/001",
        "head_missing_and_odd_geometry/slicecount/001",
        "head_missing_and_odd_geometry/sliceincrement/001",
        "lung_2_slices",
        "rtstruct_phantom/mock_data",
        "rtstruct_phantom/oriented_data",
        "rtstruct_phantom/one_slice_data",
    ],
)
def test_real_images_without_a_whole_chest_get_a_sentence_and_no_mask(folder):
    if not CT.is_dir():
        pytest.skip("the shared data is not on this machine")
    image, affine = volume(CT / folder)
    found = lungs.find_lungs(image, affine)
    assert found.reason
    assert not found.labels.any()
    assert np.isnan(found.statistics).all()
