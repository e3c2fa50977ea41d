"""What the plugin measures of outlines it is given; the network is judged by triton_models/ct_lung_nodule/train.py."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from node import Finding, KeyImages, Measurement, NotSuitable, Segmentation, codes, testing
from node.results import Result

HERE = Path(__file__).parent
SHAPE = 24, 64, 64
SPACING = 1.0, 0.8, 0.8
SOLID, PART_SOLID, GROUND_GLASS = (10, 20, 16), (8, 44, 16), (14, 32, 48)
"""Centres of three nodules: (slice, row, column)."""
LUNG_HU = -850


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


def results(marked: NDArray[np.uint8], hu: NDArray[np.int16], *, reason: str = "") -> tuple[Result, ...]:
    """Run the plugin; the lungs are right and left of the middle column."""
    lungs = np.ones(SHAPE, np.uint8)
    lungs[..., SHAPE[2] // 2 :] = 2
    lungs[:, :4] = 0

    def lung(image: NDArray[np.int16], affine: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        return {"labels": lungs * (marked == 0), "reason": np.array([reason]), "statistics": np.zeros((3, 4))}

    def nodule(image: NDArray[np.int16], image_affine: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        return {"labels": marked}

    images = testing.ct_series(spacing=SPACING, array=hu)
    return testing.run_plugin(HERE, {"ct": images}, {"ct_lung": lung, "ct_lung_nodule": nodule})


def values(found: tuple[Result, ...], name: codes.Code) -> dict[str, float]:
    """Return a measurement of every nodule, by its label."""
    return {one.of.label: one.value for one in found if isinstance(one, Measurement) and one.name == name and one.of}


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


def test_the_type_is_told_by_the_part_that_is_solid() -> None:
    hu, marked = chest()
    found = results(marked, hu)
    (outlines, *_) = found
    assert isinstance(outlines, Segmentation)
    told = {one.of.label: one.name.meaning.split()[0] for one in found if isinstance(one, Finding) and one.of}
    labels = [outlines.segments[outlines.labels.array[at] - 1].label for at in (SOLID, PART_SOLID, GROUND_GLASS)]
    assert [told[label] for label in labels] == ["Solid", "Part-solid", "Ground-glass"]


def test_the_key_images_are_those_where_nodules_are_largest() -> None:
    hu, marked = chest()
    *_, key = results(marked, hu)
    assert isinstance(key, KeyImages)
    images = testing.ct_series(spacing=SPACING, array=hu)
    wanted = [images[index].SOPInstanceUID for index in sorted({SOLID[0], PART_SOLID[0], GROUND_GLASS[0]})]
    assert [frame.sop_instance_uid for frame in key.images] == wanted


def test_what_lies_in_no_lung_or_is_too_small_is_no_nodule() -> None:
    hu, _ = chest()
    marked = np.zeros(SHAPE, np.uint8)
    marked[4:12, :3, 20:30] = 1
    marked[10:12, 30:33, 30:33] = 1
    assert results(marked, hu) == ()


def test_without_lungs_the_models_reason_is_told() -> None:
    hu, marked = chest()
    assert results(marked, hu, reason="no lungs") == (NotSuitable("no lungs"),)


def test_thick_slices_are_not_suitable() -> None:
    (result,) = testing.run_plugin(HERE, {"ct": testing.ct_series(spacing=(5.0, 0.8, 0.8))}, {})
    assert isinstance(result, NotSuitable)
    assert "5.0 mm" in result.reason
