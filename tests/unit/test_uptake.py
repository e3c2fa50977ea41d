"""Hot balls in a warm body, whose maximum, peak, volume and glycolysis are known or computed by other libraries."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.measure import label, regionprops

from tests.serving import method

uptake = method("pt_lesion", "uptake")
liver = method("pt_lesion", "pet_liver")
places = method("pt_lesion", "pet_places")

SPACING = (3.0, 4.0, 4.0)
SHAPE = (84, 60, 80)
AFFINE = torch.tensor([[0, 0, 4.0, -158], [0, 4.0, 0, -118], [3.0, 0, 0, 0], [0, 0, 0, 1]], dtype=torch.float64)
LIVER = (2.0, 0.12)


def distance(centre: tuple[float, float, float]) -> NDArray[np.float32]:
    """Millimetres from a voxel."""
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    parts = ((i - c) * s for i, c, s in zip((z, y, x), centre, SPACING, strict=True))
    return np.sqrt(sum(part**2 for part in parts)).astype(np.float32)


def body(*, liver: bool = True) -> NDArray[np.float32]:
    random = np.random.default_rng(4)
    suv = np.full(SHAPE, 0.6, np.float32) + random.normal(scale=0.05, size=SHAPE).astype(np.float32)
    if liver:
        place = distance((18, 30, 22)) < 60
        suv[place] = random.normal(*LIVER, size=int(place.sum()))
    return suv


def hot(
    suv: NDArray[np.float32], centre: tuple[float, float, float], highest: float, radius: float
) -> NDArray[np.float32]:
    """Add a ball that falls off from its middle like a Gaussian, as a small lesion looks in a PET."""
    return np.maximum(suv, highest * np.exp(-0.5 * (distance(centre) / radius) ** 2))


def found(suv: NDArray[np.float32]) -> dict[str, NDArray]:
    answer = uptake.find_uptake(torch.from_numpy(suv.astype(np.float32)), AFFINE)
    return {name: np.asarray(value) for name, value in answer.items()}


@pytest.fixture(scope="module")
def two() -> tuple[NDArray[np.float32], dict[str, NDArray]]:
    suv = hot(hot(body(), (40, 20, 25), 12, 12), (48, 40, 30), 8, 8)
    return suv, found(suv)


def test_regions_are_the_hottest_first_with_their_maximum(two) -> None:
    suv, answer = two
    assert answer["statistics"][:, 0] == pytest.approx([suv[40, 20, 25], suv[48, 40, 30]])
    assert answer["labels"][40, 20, 25] == 1
    assert answer["labels"][48, 40, 30] == 2


def test_the_outline_at_41_percent_is_that_of_scikit_image(two) -> None:
    suv, answer = two
    for number, centre in ((1, (40, 20, 25)), (2, (48, 40, 30))):
        pieces = label(suv >= 0.41 * suv[centre], connectivity=1)
        mask = pieces == pieces[centre]
        (region,) = regionprops(mask.astype(np.uint8), intensity_image=suv)
        assert np.array_equal(answer["labels"] == number, mask)
        _, _, mean, volume, *_ = answer["statistics"][number - 1]
        assert mean == pytest.approx(region.intensity_mean, rel=1e-5)
        assert volume == pytest.approx(region.area * np.prod(SPACING) / 1000)


def test_the_volume_of_a_gaussian_is_as_calculated_by_hand() -> None:
    """A Gaussian falls to 41 % at r = σ √(−2 ln 0.41)."""
    answer = found(hot(body(), (40, 20, 25), 12, 14))
    expected = 4 / 3 * np.pi * (14 * np.sqrt(-2 * np.log(0.41))) ** 3 / 1000
    assert answer["statistics"][0, 3] == pytest.approx(expected, rel=0.05)


def test_the_peak_is_the_highest_mean_in_a_ball_of_a_millilitre(two) -> None:
    """The ball is sampled every 0.5 mm here, about every voxel near the hottest."""
    suv, answer = two
    best = []
    for shift in np.ndindex(3, 3, 3):
        centre = np.array((40, 20, 25)) + np.array(shift) - 1
        offsets = np.mgrid[-15:16, -15:16, -15:16].reshape(3, -1).T * 0.5
        inside = offsets[np.linalg.norm(offsets, axis=1) <= (3000 / (4 * np.pi)) ** (1 / 3)]
        index = np.rint(centre + inside / SPACING).astype(int)
        best.append(suv[tuple(index.T)].mean())
    assert answer["statistics"][0, 1] == pytest.approx(max(best), rel=0.02)


def test_the_liver_gives_the_threshold_of_percist(two) -> None:
    threshold, mean, deviation, outcome = two[1]["threshold"]
    assert outcome == liver.FOUND
    assert mean == pytest.approx(LIVER[0], rel=0.02)
    assert deviation == pytest.approx(LIVER[1], rel=0.2)
    assert threshold == pytest.approx(1.5 * mean + 2 * deviation)


def test_the_reference_is_a_ball_of_3_cm_in_the_liver(two) -> None:
    ball = two[1]["reference"] > 0
    assert (distance((18, 30, 22))[ball] < 60).all()
    assert ball.sum() * np.prod(SPACING) / 1000 == pytest.approx(14.1, rel=0.15)


def test_each_region_has_its_volume_and_mean_above_the_threshold(two) -> None:
    suv, answer = two
    for number, row in enumerate(answer["statistics"], 1):
        above = answer["above"] == number
        assert (suv[above] >= answer["threshold"][0]).all()
        assert row[4:6] == pytest.approx((above.sum() * np.prod(SPACING) / 1000, suv[above].mean()), rel=1e-5)


def test_an_outline_never_falls_below_the_threshold() -> None:
    """41 % of a faint region's maximum is less than the liver has: the outline would be the liver's."""
    faint = hot(body(), (48, 20, 25), 4, 20)
    answer = found(faint)
    assert len(answer["statistics"]) == 1
    assert (faint[answer["labels"] == 1] >= answer["threshold"][0]).all()


def test_no_uptake_gives_no_lesion_and_touching_voxels_are_one_lesion() -> None:
    none = found(body())
    assert none["statistics"].shape == (0, 8)
    assert not none["labels"].any()
    touching = found(hot(hot(body(), (40, 20, 25), 12, 10), (40, 26, 25), 11, 10))
    assert len(touching["statistics"]) == 1


def mirrored(suv: NDArray[np.float32]) -> NDArray[np.float32]:
    return suv[:, :, ::-1]


def upside_down(suv: NDArray[np.float32]) -> NDArray[np.float32]:
    return suv[::-1]


def turned(suv: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.rot90(suv, axes=(1, 2))


def narrow(suv: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut to the size of a head."""
    return suv[:, 10:50, 8:48]


def deep(suv: NDArray[np.float32]) -> NDArray[np.float32]:
    return suv[:, :, 8:58]


def uniform(suv: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.full_like(suv, 2)


def without_chest(suv: NDArray[np.float32]) -> NDArray[np.float32]:
    return suv[:45]


def with_tissue_above(suv: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(np.arange(SHAPE[0])[:, None, None] > 36, suv + 0.8, suv)


def of_noise(suv: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.random.default_rng(2).permutation(suv.ravel()).reshape(suv.shape)


def uneven(suv: NDArray[np.float32]) -> NDArray[np.float32]:
    return suv * np.random.default_rng(3).uniform(0.2, 1.8, suv.shape)


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        (mirrored, liver.NOTHING_EVEN),
        (upside_down, liver.NO_LUNG),
        (turned, liver.NOTHING_EVEN),
        (deep, liver.OUTSIDE_TRUNK),
        (narrow, liver.OUTSIDE_TRUNK),
        (without_chest, liver.NO_LUNG),
        (with_tissue_above, liver.NO_LUNG),
        (of_noise, liver.NOTHING_EVEN),
        (uneven, liver.NOTHING_EVEN),
        (uniform, liver.NO_LUNG),
        (np.zeros_like, liver.NOTHING_EVEN),
        (lambda suv: suv[39:41], liver.NOTHING_EVEN),
    ],
)
def test_without_a_liver_below_a_lung_nothing_is_outlined(change, outcome: int) -> None:
    answer = found(np.ascontiguousarray(change(hot(body(), (40, 20, 25), 12, 12))))
    assert answer["threshold"][3] == outcome
    assert np.isnan(answer["threshold"][:3]).all()
    assert not answer["labels"].any()
    assert not answer["reference"].any()


@pytest.mark.parametrize(
    ("measured", "place"),
    [
        ({"height": 300, "ml": 900}, places.BRAIN),
        ({"height": 300, "ml": 30, "cut": True}, places.BRAIN),
        ({"height": 300, "ml": 30}, 0),
        ({"height": 20, "left": 50, "depth": 0.4, "ml": 150}, places.HEART),
        ({"height": 20, "left": -50, "depth": 0.4, "ml": 150}, 0),
        ({"height": 20, "left": 50, "depth": 0.4, "ml": 8}, 0),
        ({"height": -120, "left": -60, "depth": 0.7, "ml": 40}, places.KIDNEY),
        ({"height": -120, "left": 0, "depth": 0.7, "ml": 40}, 0),
        ({"height": -120, "left": 60, "depth": 0.2, "ml": 40}, 0),
        ({"height": -300, "left": 40, "ml": 2, "times": 3, "length": 42, "slender": 1.8}, places.URETER),
        ({"height": -300, "left": 40, "ml": 2, "times": 3, "length": 16, "slender": 1.0}, 0),
        ({"height": -370, "left": 10, "ml": 90, "times": 9}, places.BLADDER),
        ({"height": -370, "left": 10, "ml": 90, "times": 1.5}, 0),
    ],
)
def test_physiological_uptake_is_recognised_by_its_place(measured: dict[str, float], place: int) -> None:
    plain = {"left": 0, "depth": 0.5, "times": 2, "length": 30, "slender": 1, "cut": False}
    region = places.Region(**(plain | measured))
    assert next((number for number, one in places.PLACES if places._fits(region, one)), 0) == place


def test_a_liver_on_the_left_is_no_reference_even_if_something_even_lies_on_the_right() -> None:
    """Mirrored images show a large spleen where the liver is expected."""
    suv, random = body(liver=False), np.random.default_rng(5)
    for column, radius in ((22, 57), (57, 66)):
        place = distance((18, 30, column)) < radius
        suv[place] = random.normal(*LIVER, size=int(place.sum()))
    assert found(suv)["threshold"][3] == liver.ON_THE_LEFT
    assert found(suv[..., ::-1].copy())["threshold"][3] == liver.FOUND
