"""A Real World Value Mapping is applied, agrees with the rescale, or is told: it is never silently ignored."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from node.errors import UnsuitableSeries
from node.images.part10 import Part10
from node.images.series import Series
from node.images.stacks import group_into_stacks
from node.testing import ct_series, enhanced_ct, mr_series, pet_series, write

HU, SUV, WHOLE = "[hnsf'U]", "g/ml{SUVbw}", (-32768, 32767)
One = Callable[[Sequence[Dataset]], Series]


@pytest.fixture
def one(tmp_path: Path) -> One:
    def series_of(images: Sequence[Dataset]) -> Series:
        found = group_into_stacks(Part10.of_file(path) for path in write(images, tmp_path))
        assert found.set_aside == ()
        (series,) = found.series
        return series

    return series_of


def mapping(slope: float, intercept: float, unit: str, ends: tuple[int, int] = WHOLE) -> Dataset:
    item, code = Dataset(), Dataset()
    item.RealWorldValueSlope, item.RealWorldValueIntercept = slope, intercept
    for end, value in zip(("First", "Last"), ends, strict=True):
        setattr(item, f"DoubleFloatRealWorldValue{end}ValueMapped", float(value))
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = unit, "UCUM", unit
    item.MeasurementUnitsCodeSequence = [code]
    return item


def table() -> Dataset:
    item = mapping(1, 0, HU)
    del item.RealWorldValueSlope, item.RealWorldValueIntercept
    item.RealWorldValueLUTData = [0.0, 1.0]
    return item


def mapped(images: Sequence[Dataset], *items: Dataset) -> Sequence[Dataset]:
    for image in images:
        image.RealWorldValueMappingSequence = list(items)
    return images


def unscaled(images: Sequence[Dataset]) -> Sequence[Dataset]:
    for image in images:
        for keyword in ("RescaleSlope", "RescaleIntercept", "RescaleType"):
            if keyword in image:
                delattr(image, keyword)
    return images


def test_the_only_mapping_of_a_ct_gives_its_values(one: One) -> None:
    expected = one(ct_series(slices=3)).volume().array
    image = ct_series(slices=3)[0]
    only = mapping(float(image.RescaleSlope), float(image.RescaleIntercept), HU)
    found = one(mapped(unscaled(ct_series(slices=3)), only))
    np.testing.assert_array_equal(found.volume().array, expected)
    assert not [warning for warning in found.warnings if "Mapping" in warning]


def test_the_only_mapping_of_an_mr_gives_its_values(one: One) -> None:
    expected = one(mr_series(slices=3)).volume().array
    found = one(mapped(unscaled(mr_series(slices=3)), mapping(0.5, 10, "ms"))).volume().array
    np.testing.assert_allclose(found, expected * 0.5 + 10)


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        ([mapping(1, 0, HU), mapping(2, 0, HU)], "its Real World Value Mapping is 2 mappings"),
        ([table()], "its Real World Value Mapping is a table"),
        ([mapping(1, 0, HU, (0, 100))], "is of stored values from 0 to 100 only"),
        ([mapping(1, 0, "mm")], "values are not in Hounsfield units"),
    ],
    ids=["two", "table", "a part", "another unit"],
)
def test_an_only_mapping_that_leaves_values_open_makes_a_ct_unsuitable(
    one: One, items: list[Dataset], reason: str
) -> None:
    with pytest.raises(UnsuitableSeries, match=reason):
        one(mapped(unscaled(ct_series(slices=3)), *items)).volume()


@pytest.mark.parametrize("some", [slice(None), slice(1, 2)], ids=["all", "one"])
def test_a_mapping_that_contradicts_the_rescale_makes_a_series_unsuitable(one: One, some: slice) -> None:
    images = ct_series(slices=3)
    mapped(images[some], mapping(2, -1000, HU))
    with pytest.raises(UnsuitableSeries, match=r"Real World Value Mapping \(slope 2, .*\) contradicts its rescale"):
        one(images).volume()


def test_a_mapping_that_agrees_changes_nothing(one: One) -> None:
    expected = one(ct_series(slices=3)).volume().array
    images = ct_series(slices=3)
    agreeing = mapping(float(images[0].RescaleSlope), float(images[0].RescaleIntercept), HU)
    found = one(mapped(images, agreeing))
    np.testing.assert_array_equal(found.volume().array, expected)
    assert not [warning for warning in found.warnings if "Mapping" in warning]


def test_a_mapping_to_another_quantity_is_told(one: One) -> None:
    images = pet_series(slices=3)
    expected = one(pet_series(slices=3)).volume().array
    found = one(mapped(images, mapping(0.001, 0, SUV)))
    np.testing.assert_array_equal(found.volume().array, expected)
    assert any(f"Real World Value Mapping to {SUV} is not applied" in warning for warning in found.warnings)


@pytest.mark.parametrize("where", ["shared", "per frame", "one frame"])
def test_a_mapping_in_functional_groups_is_one(one: One, where: str) -> None:
    image: Any = enhanced_ct(slices=3)
    groups = {
        "shared": image.SharedFunctionalGroupsSequence,
        "per frame": image.PerFrameFunctionalGroupsSequence,
        "one frame": image.PerFrameFunctionalGroupsSequence[1:2],
    }
    mapped(groups[where], mapping(2, -1000, HU))
    with pytest.raises(UnsuitableSeries, match="contradicts its rescale"):
        one([image]).volume()
