"""The lungs of a chest made of ellipsoids, whose volumes and densities are known."""

import importlib.util
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from node.training import trainer
from tests.peers import ROOT

SOURCE = Path(__file__).parents[2] / "triton_models" / "ct_lung" / "1" / "lungs.py"
_spec = importlib.util.spec_from_file_location("ct_lung_lungs", SOURCE)
assert _spec is not None
assert _spec.loader is not None
lungs = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = lungs
sys.path.insert(0, str(Path(_spec.origin or "").parent))  # as Triton has it
_spec.loader.exec_module(lungs)

AIR, LUNG, EMPHYSEMA, SOFT = -1000, -850, -980, 40
NODULE = (-140.0, 5.0, 150.0)


def rotation(x: float, y: float, z: float) -> np.ndarray:
    a, b, c = np.deg2rad((x, y, z))
    about_x = [[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]
    about_y = [[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]]
    about_z = [[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]]
    return np.array(about_z) @ about_y @ about_x


def placed(directions: np.ndarray, spacing: tuple, shape: tuple, centre: tuple = (0.0, 15.0, 165.0)) -> np.ndarray:
    """The affine whose grid, with unit directions in the columns, has its middle at `centre`."""
    affine = np.eye(4)
    affine[:3, :3] = directions * np.array(spacing)
    affine[:3, 3] = np.array(centre) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


# Slices to Superior, rows to Posterior, columns to Left.
AXIAL = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], dtype=float)
SHAPE, SPACING = (112, 190, 250), (2.5, 1.6, 1.6)


def ellipsoid(x, y, z, centre, radii):
    return sum(((w - c) / r) ** 2 for w, c, r in zip((x, y, z), centre, radii, strict=True)) < 1


def tube(x, y, z, start, end, radius):
    start, end = np.array(start), np.array(end)
    along = (end - start) / np.linalg.norm(end - start)
    low, high = np.minimum(start, end) - radius - 1, np.maximum(start, end) + radius + 1
    inside = np.ones(x.shape, bool)
    for w, least, most in zip((x, y, z), low, high, strict=True):
        inside &= (w > least) & (w < most)
    near = [w[inside] for w in (x, y, z)]  # a tube is a thousandth of the chest
    t = sum((w - s) * d for w, s, d in zip(near, start, along, strict=True))
    t = np.clip(t, 0, np.linalg.norm(end - start))
    inside[inside] = sum((w - s - t * d) ** 2 for w, s, d in zip(near, start, along, strict=True)) < radius**2
    return inside


def chest(affine: np.ndarray, shape: tuple, *, touching: str = "", has_left: bool = True, scale: float = 1.0):
    """(image int16 HU, truth uint8) on the grid of the affine; coordinates in mm, LPS."""
    index = np.indices(shape, dtype=np.float32)
    x, y, z = (sum(np.float32(affine[w, k]) * index[k] for k in range(3)) + np.float32(affine[w, 3]) for w in range(3))
    x, y, z = x / scale, y / scale, z / scale
    image = np.full(shape, AIR, dtype=np.int16)
    image[(x / 180) ** 2 + (y / 118) ** 2 < 1] = SOFT
    table = (np.abs(x) < 185) & (y > 121) & (y < 155)
    hollow = (np.abs(x) < 181) & (y > 125) & (y < 151)
    image[table] = -50
    image[hollow] = -930
    right = ellipsoid(x, y, z, (-82, 5, 165), (64, 84, 112)) & ~ellipsoid(x, y, z, (-80, 0, 40), (75, 75, 75))
    left = ellipsoid(x, y, z, (80, 0, 170), (54, 78, 105)) & ~ellipsoid(x, y, z, (32, -25, 115), (50, 45, 50))
    if touching == "neck":
        joined = (np.abs(x) < 50) & (np.abs(y + 45) < 8 + 0.5 * np.abs(x)) & (np.abs(z - 190) < 45)
        right, left = right | joined & (x < 0), left | joined & (x >= 0)
    if touching == "membrane":
        joined = (np.abs(x) < 50) & (np.abs(y + 45) < 20) & (np.abs(z - 190) < 45)
        right, left = right | joined & (x < 8), left | joined & (x >= 8)
    left &= has_left & ~right
    image[right | left] = LUNG
    if touching == "membrane":
        image[joined & (np.abs(x - 7.2) < 0.7)] = -620  # thinner than a voxel: it does not keep the air apart
    image[right & ellipsoid(x, y, z, (-85, 30, 200), (30, 30, 40))] = EMPHYSEMA
    image[left & ellipsoid(x, y, z, (85, 30, 200), (18, 18, 20))] = EMPHYSEMA
    for end in ((-120, 5, 190), (-120, -20, 130), (-100, 50, 150), (110, 0, 200), (100, 50, 150), (105, -30, 160)):
        side = np.sign(end[0])
        vessel = tube(x, y, z, (side * 40, 5, 165), end, 3.5)
        image[vessel & (right | left)] = SOFT
    solid = ellipsoid(x, y, z, NODULE, (7, 7, 7))
    image[solid & right] = SOFT
    carina = (0, 12, 195)
    airway = [(carina, (0, 12, 600), 9), (carina, (-40, 8, 170), 6.5), (carina, (42, 8, 168), 6)]
    for start, end, radius in airway:
        image[tube(x, y, z, start, end, radius + 2) & ~(right | left)] = SOFT
    for start, end, radius in airway:
        lumen = tube(x, y, z, start, end, radius)
        image[lumen] = AIR
        right, left = right & ~lumen, left & ~lumen
    truth = (right + 2 * left).astype(np.uint8)
    noise = np.random.default_rng(7).normal(0, 25, shape)
    return np.clip(image + noise, -1024, 3071).astype(np.int16), truth


@cache
def _standard_chest():
    affine = placed(AXIAL, SPACING, SHAPE)
    return *chest(affine, SHAPE), affine


def standard_chest():
    """(image, truth, affine), each test's own copy."""
    return tuple(array.copy() for array in _standard_chest())


def find(image: np.ndarray, affine: np.ndarray):
    return lungs.find_lungs(torch.from_numpy(np.ascontiguousarray(image)), affine)


@cache
def found_in_standard_chest():
    return find(*_standard_chest()[::2])


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


GRIDS = {
    "axial": (AXIAL, SPACING, SHAPE),
    "thick slices": (AXIAL, (5.0, 1.3, 1.3), (56, 230, 310)),
    "thin slices": (AXIAL, (0.8, 2.0, 2.0), (350, 150, 200)),
    "pixels that are not square": (AXIAL, (2.5, 1.1, 2.1), (112, 280, 190)),
    "slices from head to foot": (AXIAL * [-1, 1, 1], SPACING, SHAPE),
    "rows from back to front": (AXIAL * [1, -1, 1], SPACING, SHAPE),
    "columns from left to right": (AXIAL * [1, 1, -1], SPACING, SHAPE),
    "everything reversed": (-AXIAL, SPACING, SHAPE),
    "coronal": (AXIAL[:, [1, 0, 2]] * [1, -1, 1], (1.6, 2.5, 1.6), (190, 112, 250)),
    "sagittal": (AXIAL[:, [2, 0, 1]], (1.6, 2.5, 1.6), (250, 112, 190)),
    "oblique": (rotation(15, 10, 20) @ AXIAL, (2.2, 1.8, 1.8), (160, 220, 260)),
    "tilted gantry": (AXIAL + np.array([[0, 0, 0], [0.25, 0, 0], [0, 0, 0]]), SPACING, SHAPE),
}


@cache
def judged(grid):
    """What is found in the phantom on a grid, beside what there is: (reason, statistics, those of the truth, Dice)."""
    directions, spacing, shape = GRIDS[grid]
    affine = placed(directions, spacing, shape)
    image, truth = chest(affine, shape)
    found = find(image, affine)
    assert found.labels.shape == image.shape
    voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
    there = [
        (mask.sum() * voxel_ml, image[mask].mean(), 100 * (image[mask] < -950).mean(), np.percentile(image[mask], 15))
        for mask in (truth == 1, truth == 2, truth > 0)
    ]
    labels = found.labels.numpy()
    return found.reason, found.statistics, there, [dice(labels == side, truth == side) for side in (1, 2)]


@pytest.mark.parametrize("grid", GRIDS)
def test_volume_and_density_of_each_lung_are_those_of_the_phantom_on_every_grid(grid):
    reason, statistics, there, overlaps = judged(grid)
    assert reason == ""
    for found, (volume, mean, low, fifteenth) in zip(statistics, there, strict=True):
        assert found[0] == pytest.approx(volume, rel=0.01)
        assert found[1] == pytest.approx(mean, abs=8)
        assert found[2] == pytest.approx(low, abs=0.5)
        assert found[3] == pytest.approx(fifteenth, abs=2)
    assert min(overlaps) > 0.985
    assert statistics[0, 2] > 2 * statistics[1, 2]  # the emphysema is on the right


def test_the_card_tells_how_well_the_lungs_are_found_on_all_grids():
    dice = trainer.figure([[np.mean(judged(grid)[3])] for grid in GRIDS])
    sentence = f"Dice with phantoms on 12 grids {dice.value:.3f} ({dice.low:.3f}–{dice.high:.3f})"
    assert sentence in (ROOT / "plugins" / "ct_lung" / "README.md").read_text(), sentence


def test_the_statistics_are_those_of_the_labels_that_come_with_them():
    image, _, _ = standard_chest()
    found = found_in_standard_chest()
    for row, mask in enumerate((found.labels == 1, found.labels == 2, found.labels > 0)):
        values = image[mask.numpy()]
        expected = (values.size * 6.4e-3, values.mean(), 100 * (values < -950).mean(), np.percentile(values, 15))
        assert found.statistics[row] == pytest.approx(expected, abs=0.51, rel=1e-9)


@pytest.mark.parametrize("touching", ["neck", "membrane"])
def test_lungs_that_touch_at_the_junction_line_are_parted(touching):
    affine = placed(AXIAL, SPACING, SHAPE)
    image, truth = chest(affine, SHAPE, touching=touching)
    found = find(image, affine)
    assert found.reason == ""
    labels = found.labels.numpy()
    assert dice(labels == 1, truth == 1) > 0.985
    assert dice(labels == 2, truth == 2) > 0.985
    for row in (1, 2):
        assert found.statistics[row - 1, 0] == pytest.approx((truth == row).sum() * 6.4e-3, rel=0.01)


def test_vessels_and_a_nodule_on_the_pleura_are_lung_and_the_airway_is_not():
    image, truth, affine = standard_chest()
    labels = found_in_standard_chest().labels.numpy()
    solid = (truth > 0) & (image > -200)
    z, y, x = (np.rint(np.linalg.solve(affine, (*NODULE, 1)))[:3]).astype(int)
    nodule = np.zeros_like(solid)
    nodule[z - 3 : z + 4, y - 4 : y + 5, x - 4 : x + 5] = True
    assert (solid & nodule).sum() > 50
    assert (labels[solid & nodule] == 1).mean() > 0.9
    assert (labels[solid] == truth[solid]).mean() > 0.9
    x, y, z = coordinates(affine)
    trachea = tube(x, y, z, (0, 12, 195), (0, 12, 600), 9)
    bronchi = tube(x, y, z, (0, 12, 195), (-18, 10, 184), 6) | tube(x, y, z, (0, 12, 195), (26, 10, 178), 6)
    assert (trachea | bronchi).sum() * 6.4e-3 > 20
    assert not labels[trachea | bronchi].any()


def test_gas_in_the_stomach_under_a_thin_diaphragm_is_no_lung():
    image, truth, affine = standard_chest()
    x, y, z = coordinates(affine)
    stomach = ellipsoid(x, y, z, (82, -5, 80), (38, 38, 45)) & (truth == 0)
    wall = np.zeros_like(stomach)
    for axis, n in ((0, 1), (1, 2), (2, 2)):
        for k in range(-n, n + 1):
            wall |= np.roll(truth == 2, k, axis)
    image[stomach & wall] = SOFT
    image[stomach & ~wall] = AIR
    found = find(image, affine)
    assert found.reason == ""
    assert (stomach & ~wall).sum() * 6.4e-3 > 50
    assert not found.labels.numpy()[stomach & ~wall].any()
    assert found.statistics[1, 0] == pytest.approx((truth == 2).sum() * 6.4e-3, rel=0.01)


def test_a_small_child_has_lungs_too():
    spacing = tuple(0.55 * s for s in SPACING)
    affine = placed(AXIAL, spacing, SHAPE, tuple(0.55 * c for c in (0.0, 15.0, 165.0)))
    image, truth = chest(affine, SHAPE, scale=0.55)
    found = find(image, affine)
    assert found.reason == ""
    volumes = [(truth == k).sum() * np.prod(spacing) / 1000 for k in (1, 2)]
    assert found.statistics[:2, 0] == pytest.approx(volumes, rel=0.01)


def test_the_same_images_give_the_same_bytes():
    image, _, affine = standard_chest()
    first, second = found_in_standard_chest(), find(image, affine)
    assert torch.equal(first.labels, second.labels)
    assert first.statistics.tobytes() == second.statistics.tobytes()


def cropped(part: tuple):
    image, _, affine = standard_chest()
    affine[:3, 3] += affine[:3, :3] @ [p.start or 0 for p in part]
    return image[part], affine


def round_field(radius: float):
    image, _, affine = standard_chest()
    y, x = np.indices(SHAPE[1:]) * 1.6
    image[:, np.hypot(y - 150, x - 200) > radius] = -3024
    return image, affine


def constant(value: int):
    return np.full(SHAPE, value, np.int16), placed(AXIAL, SPACING, SHAPE)


def one_lung():
    affine = placed(AXIAL, SPACING, SHAPE)
    return chest(affine, SHAPE, has_left=False)[0], affine


def one_lung_across_the_midline():
    image, affine = one_lung()
    x, y, z = coordinates(affine)
    image[ellipsoid(x, y, z, (20, -40, 190), (105, 35, 60))] = LUNG
    return image, affine


def coordinates(affine: np.ndarray):
    index = np.indices(SHAPE, dtype=np.float32)
    return tuple(sum(affine[w, k] * index[k] for k in range(3)) + affine[w, 3] for w in range(3))


def head():
    affine = placed(AXIAL, SPACING, SHAPE)
    x, y, z = coordinates(affine)
    image = np.full(SHAPE, AIR, np.int16)
    image[ellipsoid(x, y, z, (0, 0, 180), (80, 100, 110)) | (x**2 + (y - 20) ** 2 < 60**2)] = SOFT
    image[ellipsoid(x, y, z, (0, 0, 180), (78, 98, 108)) & ~ellipsoid(x, y, z, (0, 0, 180), (70, 90, 100))] = 900
    for side in (-1, 1):
        image[ellipsoid(x, y, z, (side * 28, -65, 130), (15, 18, 20))] = AIR
        image[ellipsoid(x, y, z, (side * 60, 20, 130), (12, 15, 18))] = -700
    image[(np.abs(x) < 8) & (y < -10) & (np.abs(z - 110) < 12)] = AIR
    image[(x**2 + (y + 5) ** 2 < 81) & (z < 120)] = AIR
    return image, affine


def abdomen():
    affine = placed(AXIAL, SPACING, SHAPE)
    x, y, z = coordinates(affine)
    image = np.full(SHAPE, AIR, np.int16)
    image[(x / 180) ** 2 + (y / 118) ** 2 < 1] = SOFT
    for side in (-1, 1):
        image[((x - side * 120) ** 2 + (y - 20) ** 2 < 32**2) & (np.abs(z - 170) < 95)] = AIR
    image[ellipsoid(x, y, z, (50, -60, 200), (60, 30, 35))] = AIR
    noise = np.random.default_rng(3).normal(0, 25, SHAPE)
    return (image + noise).clip(-1024).astype(np.int16), affine


def table_of_two_hollow_halves():
    image, affine = constant(AIR)
    x, y, _ = coordinates(affine)
    image[(x / 180) ** 2 + (y / 118) ** 2 < 1] = SOFT
    image[(np.abs(x) < 182) & (y > 121) & (y < 154)] = -50
    image[(np.abs(np.abs(x) - 91) < 88) & (y > 124) & (y < 151)] = -930
    return image, affine


WHOLE = slice(None)
REFUSED = {
    "two slices": (lambda: cropped((slice(50, 52), WHOLE, WHOLE)), "cover only 5 mm"),
    "six centimetres": (lambda: cropped((slice(40, 64), WHOLE, WHOLE)), "cover only 60 mm"),
    "only air": (lambda: constant(AIR), "no body"),
    "only water": (lambda: constant(0), "no two air-filled regions"),
    "only lung": (lambda: constant(LUNG), "no body"),
    "head": (head, "no two air-filled regions"),
    "abdomen with gas in the bowel": (abdomen, "no two air-filled regions"),
    "one lung": (one_lung, "no two air-filled regions"),
    "one lung across the midline": (one_lung_across_the_midline, "no two air-filled regions"),
    "hollow table": (table_of_two_hollow_halves, "no two air-filled regions"),
    "right lung cut in half": (lambda: cropped((WHOLE, WHOLE, slice(75, None))), ""),
    "right lung just touches the edge": (lambda: cropped((WHOLE, WHOLE, slice(38, None))), "edge of the image"),
    "front cut off": (lambda: cropped((WHOLE, slice(50, None), WHOLE)), ""),
    "back cut off": (lambda: cropped((WHOLE, slice(None, 110), WHOLE)), ""),
    "round field of view that cuts the lungs": (lambda: round_field(125), ""),
    "bases missing": (lambda: cropped((slice(50, None), WHOLE, WHOLE)), "first or last image"),
    "apices missing": (lambda: cropped((slice(0, 60), WHOLE, WHOLE)), "first or last image"),
    "narrower than a coarse voxel": (lambda: (np.full((100, 1, 3), LUNG, np.int16), np.diag([1.0, 0.3, 0.3, 1.0])), ""),
}


@pytest.mark.parametrize("case", REFUSED)
def test_images_without_two_whole_lungs_get_a_sentence_and_no_mask(case):
    make, words = REFUSED[case]
    image, affine = make()
    found = find(image, affine)
    assert found.reason
    assert words in found.reason
    assert not found.labels.any()
    assert found.labels.shape == image.shape
    assert np.isnan(found.statistics).all()


@pytest.mark.parametrize(
    ("image", "affine"),
    [
        (np.zeros((4, 4, 4), np.int32), np.eye(4)),
        (np.zeros((4, 4), np.int16), np.eye(4)),
        (np.zeros((4, 4, 4), np.int16), np.zeros((4, 4))),
        (np.zeros((4, 4, 4), np.int16), np.full((4, 4), np.nan)),
        (np.zeros((4, 4, 4), np.int16), np.eye(3)),
    ],
)
def test_an_image_or_affine_of_the_wrong_form_is_an_error(image, affine):
    with pytest.raises(ValueError, match="must be"):
        find(image, affine)
