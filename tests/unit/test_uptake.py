"""Hot balls in a warm body, whose maximum, peak, volume and glycolysis are known or computed by other libraries."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.measure import label, regionprops

from tests.serving import method

uptake = method("pt_lesion", "uptake")

SPACING = (3.0, 4.0, 4.0)
SHAPE = (60, 60, 80)
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
    suv = hot(hot(body(), (40, 20, 50), 12, 12), (48, 40, 30), 8, 8)
    return suv, found(suv)


def test_regions_are_the_hottest_first_with_their_maximum(two) -> None:
    suv, answer = two
    assert answer["statistics"][:, 0] == pytest.approx([suv[40, 20, 50], suv[48, 40, 30]])
    assert answer["labels"][40, 20, 50] == 1
    assert answer["labels"][48, 40, 30] == 2


def test_the_outline_at_41_percent_is_that_of_scikit_image(two) -> None:
    suv, answer = two
    for number, centre in ((1, (40, 20, 50)), (2, (48, 40, 30))):
        pieces = label(suv >= 0.41 * suv[centre], connectivity=1)
        mask = pieces == pieces[centre]
        (region,) = regionprops(mask.astype(np.uint8), intensity_image=suv)
        assert np.array_equal(answer["labels"] == number, mask)
        _, _, mean, volume, _ = answer["statistics"][number - 1]
        assert mean == pytest.approx(region.mean_intensity, rel=1e-5)
        assert volume == pytest.approx(region.area * np.prod(SPACING) / 1000)


def test_the_volume_of_a_gaussian_is_the_one_calculated_by_hand() -> None:
    """A Gaussian falls to 41 % at r = σ √(−2 ln 0.41)."""
    answer = found(hot(body(), (40, 20, 50), 12, 14))
    expected = 4 / 3 * np.pi * (14 * np.sqrt(-2 * np.log(0.41))) ** 3 / 1000
    assert answer["statistics"][0, 3] == pytest.approx(expected, rel=0.05)


def test_the_peak_is_the_highest_mean_in_a_ball_of_a_millilitre(two) -> None:
    """The ball is sampled every 0.5 mm here, about every voxel near the hottest."""
    suv, answer = two
    best = []
    for shift in np.ndindex(3, 3, 3):
        centre = np.array((40, 20, 50)) + np.array(shift) - 1
        offsets = np.mgrid[-15:16, -15:16, -15:16].reshape(3, -1).T * 0.5
        inside = offsets[np.linalg.norm(offsets, axis=1) <= (3000 / (4 * np.pi)) ** (1 / 3)]
        index = np.rint(centre + inside / SPACING).astype(int)
        best.append(suv[tuple(index.T)].mean())
    assert answer["statistics"][0, 1] == pytest.approx(max(best), rel=0.02)


def test_the_liver_gives_the_threshold_of_percist(two) -> None:
    threshold, mean, deviation = two[1]["threshold"]
    assert mean == pytest.approx(LIVER[0], rel=0.02)
    assert deviation == pytest.approx(LIVER[1], rel=0.2)
    assert threshold == pytest.approx(1.5 * mean + 2 * deviation)


def test_what_lies_on_the_left_is_no_liver() -> None:
    mirrored = body()[:, :, ::-1].copy()
    threshold, mean, _ = found(mirrored)["threshold"]
    assert np.isnan(mean)
    assert threshold == 4.0


def test_all_above_the_threshold_is_counted_by_numpy(two) -> None:
    suv, answer = two
    threshold = answer["threshold"][0]
    above = suv >= threshold
    assert np.array_equal(answer["above"] > 0, above)
    volume, mean, count = answer["total"]
    assert (volume, mean, count) == pytest.approx(
        (above.sum() * np.prod(SPACING) / 1000, suv[above].mean(), 2), rel=1e-5
    )


def test_regions_that_touch_stay_apart_or_one_and_nothing_is_nothing() -> None:
    none = found(body())
    assert none["statistics"].shape == (0, 5)
    assert not none["labels"].any()
    assert none["total"][2] == 0
    touching = found(hot(hot(body(liver=False), (40, 20, 50), 12, 10), (40, 26, 50), 11, 10))
    assert len(touching["statistics"]) == 1


def test_two_slices_have_no_peak() -> None:
    answer = found(np.ascontiguousarray(hot(body(liver=False), (40, 20, 50), 12, 12)[39:41]))
    assert np.isnan(answer["statistics"][0, 1])
