"""What the plugin measures of outlines it is given; the network is judged by triton_models/ct_lung_nodule/train.py."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from node import (
    Caveat,
    Comparison,
    Finding,
    KeyImages,
    Measurement,
    NotSuitable,
    Result,
    Segmentation,
    Summary,
    codes,
    testing,
)

HERE = Path(__file__).parent
SHAPE = 24, 64, 64
SPACING = 1.0, 0.8, 0.8
SOLID, PART_SOLID, GROUND_GLASS = (10, 20, 16), (8, 44, 16), (14, 32, 48)
"""Centres of three nodules: (slice, row, column)."""
LUNG_HU = -850
NEW = codes.own("NEW_NODULE", "Nodule without a counterpart in the prior")


def distance(centre: tuple[int, int, int], stretched: tuple[float, float, float] = (1, 1, 1)) -> NDArray[np.float64]:
    """Return how far voxels lie from a centre in mm, each axis divided by its stretch."""
    offsets = (np.indices(SHAPE).T - centre) * SPACING / stretched
    return np.asarray(np.linalg.norm(offsets, axis=-1).T)


def chest() -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Return lungs with three nodules, and what a faultless network marks."""
    hu = np.full(SHAPE, LUNG_HU, np.int16)
    long = distance(SOLID, (1, 1.5, 1)) <= 4  # 12 mm from front to back, 8 mm across
    outer, core, glass = distance(PART_SOLID) <= 6, distance(PART_SOLID) <= 3.5, distance(GROUND_GLASS) <= 5
    for part, value in ((long, 30), (outer, -600), (core, 40), (glass, -650)):
        hu[part] = value
    return hu, (long | outer | glass).astype(np.uint8)


Seen = tuple[NDArray[np.int16], NDArray[np.uint8]]
"""A chest in HU, and what a faultless network marks in it."""


def results(
    marked: NDArray[np.uint8],
    hu: NDArray[np.int16],
    *,
    reason: str = "",
    prior: Seen | None = None,
    date: str = "20231004",
    **header: str,
) -> tuple[Result, ...]:
    """Run the plugin; the lungs are right and left of the middle column. A prior lies elsewhere, of 90 days before."""
    lungs = np.ones(SHAPE, np.uint8)
    lungs[..., SHAPE[2] // 2 :] = 2
    lungs[:, :4] = 0
    chests = [(hu, marked), *([prior] if prior else [])]

    def of(image: NDArray[np.int16]) -> NDArray[np.uint8]:
        return next(labels for seen, labels in chests if np.array_equal(seen, image))

    def lung(image: NDArray[np.int16], affine: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        return {"labels": lungs * (of(image) == 0), "reason": np.array([reason]), "statistics": np.zeros((3, 4))}

    def nodule(image: NDArray[np.int16], affine: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        return {"labels": of(image)}

    images = {"ct": testing.ct_series(spacing=SPACING, array=hu)}
    for keyword, value in header.items():
        for item in images["ct"]:
            setattr(item, keyword, value)
    if prior:
        images["prior"] = testing.ct_series(spacing=SPACING, array=prior[0], seed="before", origin=(30.0, -90.0, 400.0))
        for item in images["prior"]:
            item.AcquisitionDate = date
    return testing.run_plugin(HERE, images, {"ct_lung": lung, "ct_lung_nodule": nodule})


def values(found: tuple[Result, ...], name: codes.Code) -> dict[str, float]:
    """Return a measurement of every nodule, by its label."""
    return {
        result.of.label: result.value
        for result in found
        if isinstance(result, Measurement) and result.name == name and result.of
    }


def test_nodules_are_numbered_by_size_and_lie_on_their_side() -> None:
    hu, marked = chest()
    (outlines, *_) = results(marked, hu)
    assert isinstance(outlines, Segmentation)
    at = [int(outlines.labels.array[centre]) for centre in (PART_SOLID, GROUND_GLASS, SOLID)]
    assert sorted(at) == [1, 2, 3]
    assert at[0] == 1
    assert (outlines.labels.array > 0).tolist() == (marked > 0).tolist()
    assert outlines.segments[at[1] - 1].laterality == codes.SCT.Left
    assert outlines.segments[0].laterality == codes.SCT.Right


def test_axes_diameter_and_volume_are_those_of_the_ellipsoid() -> None:
    hu, marked = chest()
    found = results(marked, hu)
    (outlines, *_) = found
    assert isinstance(outlines, Segmentation)
    label = outlines.segments[outlines.labels.array[SOLID] - 1].label
    assert values(found, codes.SCT.LongAxis)[label] == pytest.approx(12, abs=0.8)
    assert values(found, codes.SCT.ShortAxis)[label] == pytest.approx(8, abs=0.8)
    assert values(found, codes.SCT.Diameter)[label] == pytest.approx(10, abs=0.8)
    assert values(found, codes.SCT.Volume)[label] == pytest.approx(4 / 3 * np.pi * 4 * 4 * 6, rel=0.05)


def test_the_type_of_a_nodule_follows_from_its_solid_part() -> None:
    hu, marked = chest()
    found = results(marked, hu)
    (outlines, *_) = found
    assert isinstance(outlines, Segmentation)
    reported = {
        result.of.label: result.name.meaning.split()[0] for result in found if isinstance(result, Finding) and result.of
    }
    labels = [outlines.segments[outlines.labels.array[at] - 1].label for at in (SOLID, PART_SOLID, GROUND_GLASS)]
    assert [reported[label] for label in labels] == ["Solid", "Part-solid", "Non-solid"]


def test_the_key_images_are_those_where_nodules_are_largest() -> None:
    hu, marked = chest()
    *_, key, _, summary = results(marked, hu)
    assert isinstance(summary, Summary)
    assert summary.text.startswith("3 nodules of 4 mm or more, the largest ")
    assert isinstance(key, KeyImages)
    images = testing.ct_series(spacing=SPACING, array=hu)
    wanted = [images[index].SOPInstanceUID for index in (PART_SOLID[0], GROUND_GLASS[0], SOLID[0])]
    shown = [frame.sop_instance_uid for frame in key.images]
    assert shown[0] == wanted[0], "the largest nodule first"
    assert sorted(shown) == sorted(wanted)


def test_the_solid_part_of_a_part_solid_nodule_is_measured() -> None:
    hu, marked = chest()
    (inner,) = values(results(marked, hu), plugin_code("SOLID_PART_DIAMETER")).items()
    assert inner[0] == "Nodule 1"
    assert inner[1] == pytest.approx(7, abs=0.8)


def plugin_code(value: str) -> codes.Code:
    return codes.own(value, "Mean diameter of the solid part")


def test_without_an_age_and_a_screening_the_report_says_why_there_is_no_category() -> None:
    hu, marked = chest()
    (said,) = (result.text for result in results(marked, hu) if isinstance(result, Caveat))
    assert said.startswith("No Lung-RADS category: the header does not say that this is a screening")


def test_the_header_of_a_screening_gives_the_category_of_the_worst_nodule() -> None:
    hu, marked = chest()
    (said,) = (
        result.text for result in results(marked, hu, StudyDescription="LDCT screening") if isinstance(result, Caveat)
    )
    assert "category 4A of what was found, by Nodule" in said, "solid, 10 mm, no prior"


def test_what_is_new_comes_before_what_is_larger() -> None:
    hu, marked = chest()
    large = ball(6.0, PART_SOLID)
    prior = np.where(large[1] > 0, hu, LUNG_HU).astype(np.int16), large[1]
    found = results(marked, hu, prior=prior)
    (outlines, *_) = found
    assert isinstance(outlines, Segmentation)
    assert int(outlines.labels.array[PART_SOLID]) == 3
    news = [result.of.label for result in found if isinstance(result, Finding) and result.of and result.name == NEW]
    assert news == ["Nodule 1", "Nodule 2"]
    (compared,) = (result.measurement.of for result in found if isinstance(result, Comparison))
    assert compared == outlines.segments[2], "the counterpart of a nodule goes with it"


def test_a_piece_outside_the_lungs_or_too_small_is_no_nodule() -> None:
    hu, _ = chest()
    marked = np.zeros(SHAPE, np.uint8)
    marked[4:12, :3, 20:30] = 1
    marked[10:12, 30:33, 30:33] = 1
    none = Summary("No nodule of 4 mm or more found in the lungs", glance="no nodule found")
    assert results(marked, hu) == (none,)


def test_without_lungs_the_models_reason_is_reported() -> None:
    hu, marked = chest()
    assert results(marked, hu, reason="no lungs") == (NotSuitable("no lungs"),)


def test_thick_slices_are_not_suitable() -> None:
    (result,) = testing.run_plugin(HERE, {"ct": testing.ct_series(spacing=(5.0, 0.8, 0.8))}, {})
    assert isinstance(result, NotSuitable)
    assert "5.0 mm" in result.reason


# Compared with the prior.


def ball(radius: float, centre: tuple[int, int, int] = SOLID) -> Seen:
    hu, marked = np.full(SHAPE, LUNG_HU, np.int16), distance(centre) <= radius
    hu[marked] = 30
    return hu, marked.astype(np.uint8)


def test_growth_and_doubling_time_are_as_calculated_by_hand() -> None:
    (hu, marked), prior = ball(5.0), ball(4.0)
    found = results(marked, hu, prior=prior)
    (grown,) = (result for result in found if isinstance(result, Comparison))
    now, before = (round(float(item.sum()) * 0.64) for item in (marked, prior[1]))
    assert (grown.measurement.value, grown.prior, grown.days) == (now, before, 90)
    assert grown.percent == pytest.approx(100 * (now - before) / before)
    assert grown.doubling_days == pytest.approx(90 * math.log(2) / math.log(now / before))
    assert grown.doubling_days == pytest.approx(90 * math.log(2) / math.log((5 / 4) ** 3), rel=0.1)
    assert not [result for result in found if isinstance(result, Measurement) and result.name == codes.SCT.Volume]
    assert grown.measurement.of
    assert grown.measurement.of.tracking_uid


def test_a_nodule_that_shrank_has_no_doubling_time() -> None:
    hu, marked = ball(4.0)
    (shrunk,) = (result for result in results(marked, hu, prior=ball(5.0)) if isinstance(result, Comparison))
    assert shrunk.change < 0
    assert shrunk.doubling_days is None


def test_nodules_are_matched_with_the_nearest_of_their_lung_and_others_are_new() -> None:
    hu, marked = chest()
    first, other = ball(4.0, SOLID), ball(4.5, GROUND_GLASS)
    prior = np.maximum(first[0], other[0]), np.maximum(first[1], other[1])
    found = results(marked, hu, prior=prior)
    (outlines, *_) = found
    assert isinstance(outlines, Segmentation)
    label = {
        at: outlines.segments[int(outlines.labels.array[at]) - 1].label for at in (SOLID, PART_SOLID, GROUND_GLASS)
    }
    compared = {
        result.measurement.of.label: result.prior
        for result in found
        if isinstance(result, Comparison) and result.measurement.of
    }
    assert compared == {
        label[SOLID]: round(float(first[1].sum()) * 0.64),
        label[GROUND_GLASS]: round(float(other[1].sum()) * 0.64),
    }
    new = [
        result.of.label
        for result in found
        if isinstance(result, Finding) and result.of and "counterpart" in result.name.meaning
    ]
    assert new == [label[PART_SOLID]]


@pytest.mark.parametrize("date", ["20240102", ""])
def test_without_a_day_between_there_is_no_comparison_and_a_finding_says_so(date: str) -> None:
    hu, marked = ball(5.0)
    found = results(marked, hu, prior=ball(4.0), date=date)
    assert not [result for result in found if isinstance(result, Comparison)]
    reported = [result.name.meaning for result in found if isinstance(result, Finding) and result.of is None]
    assert reported == ["There is a prior that cannot be compared"]
