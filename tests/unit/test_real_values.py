"""No number is invented: what a header lacks, or says oddly, never becomes a value."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from node.errors import UnsuitableSeries
from node.images.part10 import Part10
from node.images.series import Series
from node.images.stacks import StudyStacks, group_into_stacks
from node.testing import ct_series, enhanced_ct, mr_series, pet_series, radiograph, write

Stacks = Callable[[Sequence[Dataset]], StudyStacks]


@pytest.fixture
def stacks(tmp_path: Path) -> Stacks:
    return lambda images: group_into_stacks(Part10.of_file(path) for path in write(images, tmp_path))


@pytest.fixture
def one(stacks: Stacks) -> Callable[[Sequence[Dataset]], Series]:
    def series_of(images: Sequence[Dataset]) -> Series:
        found = stacks(images)
        assert found.set_aside == ()
        (series,) = found.series
        return series

    return series_of


One = Callable[[Sequence[Dataset]], Series]


def lacking(images: Sequence[Dataset], *keywords: str) -> Sequence[Dataset]:
    for image in images:
        for keyword in keywords:
            delattr(image, keyword)
    return images


@pytest.mark.parametrize("keywords", [("RescaleSlope", "RescaleIntercept"), ("RescaleSlope",), ("RescaleIntercept",)])
def test_a_ct_whose_rescale_is_missing_in_some_slices_has_no_volume_and_they_are_named(
    one: One, keywords: tuple[str, ...]
) -> None:
    images = ct_series(slices=12)
    lacking(images[8:], *keywords)
    series = one(images)
    with pytest.raises(UnsuitableSeries, match=r"absent \(Type 1, PS3.3 C.8.2.1\) in 4 of 12 images") as error:
        series.volume()
    assert "Instance Numbers 9 to 12; the first is instance " + images[8].SOPInstanceUID in str(error.value)
    assert str(error.value) in series.warnings


def test_a_pet_with_one_slice_without_slope_has_no_volume(one: One) -> None:
    images = pet_series(slices=5)
    lacking(images[3:4], "RescaleSlope")
    with pytest.raises(UnsuitableSeries, match=r"Rescale Slope is absent \(Type 1, PS3.3 C.8.9.4\) in 1 of 5 images"):
        one(images).volume()


def test_a_ct_without_any_rescale_has_no_values_and_says_so(one: One) -> None:
    series = one(lacking(ct_series(slices=3), "RescaleSlope", "RescaleIntercept"))
    for values in (series.volume, series.image):
        with pytest.raises(UnsuitableSeries, match="Rescale Slope and Rescale Intercept are absent"):
            values()
    assert any("are absent" in warning for warning in series.warnings)


def test_an_enhanced_ct_needs_the_rescale_of_its_functional_groups(one: One) -> None:
    image = enhanced_ct(slices=4)
    groups = [*image.SharedFunctionalGroupsSequence, *image.PerFrameFunctionalGroupsSequence]
    for group in groups:
        if "PixelValueTransformationSequence" in group:
            del group.PixelValueTransformationSequence
    with pytest.raises(UnsuitableSeries, match=r"are absent .* in 4 of 4 images, frames 1 to 4"):
        one([image]).volume()


def test_mr_needs_no_rescale_but_all_of_its_images_or_none_have_one(one: One) -> None:
    images = mr_series(slices=4)
    for image in images:
        image.RescaleSlope, image.RescaleIntercept = 2, 0
    lacking(images[2:3], "RescaleSlope", "RescaleIntercept")
    with pytest.raises(UnsuitableSeries, match="in 1 of 4 images"):
        one(images).volume()
    lacking([images[0], images[1], images[3]], "RescaleSlope", "RescaleIntercept")
    assert one(images).volume().array.dtype == np.int16


def test_a_dose_without_grid_scaling_has_no_values(one: One) -> None:
    images = lacking(mr_series(slices=3), "EchoTime")
    for image in images:
        image.Modality = "RTDOSE"
    with pytest.raises(UnsuitableSeries, match="Dose Grid Scaling is absent"):
        one(images).volume()
    for image in images:
        image.DoseGridScaling = "0.5"
    assert one(images).volume().array.dtype == np.float32


@pytest.mark.parametrize("text", ["1,0", "nan", "inf", "1e999", "one", "1\\2"])
def test_a_slope_that_is_no_finite_number_counts_as_absent(tmp_path: Path, text: str) -> None:
    paths = write(ct_series(slices=3), tmp_path)
    _overwrite(paths[1], b"\x28\x00\x53\x10DS", text.encode())
    (series,) = group_into_stacks(map(Part10.of_file, paths)).series
    with pytest.raises(UnsuitableSeries, match=r"Rescale Slope is absent .* in 1 of 3 images"):
        series.volume()
    assert any(warning.startswith("Rescale Slope cannot be used") for warning in series.warnings)


@pytest.mark.parametrize(("kind", "suits"), [("HU", True), ("US", True), ("Z_EFF", False), ("MGML", False)])
def test_a_ct_in_another_unit_has_no_volume_in_hu(one: One, kind: str, suits: bool) -> None:
    images = ct_series(slices=3)
    for image in images:
        image.RescaleType = kind
    series = one(images)
    if suits:
        series.volume()
    else:
        with pytest.raises(UnsuitableSeries, match=f"not in Hounsfield units: Rescale Type is {kind}"):
            series.volume()


@pytest.mark.parametrize("keyword", ["SamplesPerPixel", "PixelRepresentation", "BitsStored", "BitsAllocated"])
def test_a_missing_number_of_the_pixel_module_sets_its_instance_aside(stacks: Stacks, keyword: str) -> None:
    images = lacking(mr_series(slices=1), keyword)
    assert "it has no " in stacks(images).set_aside[0][1]


def test_samples_that_contradict_the_photometric_interpretation_set_an_instance_aside(stacks: Stacks) -> None:
    (image,) = mr_series(slices=1)
    image.SamplesPerPixel = 3
    assert "Photometric Interpretation MONOCHROME2" in stacks([image]).set_aside[0][1]


@pytest.mark.parametrize("slope", ["1e38", "1e30"])
def test_values_that_overflow_or_that_no_ct_has_are_refused(one: One, slope: str) -> None:
    images = ct_series(slices=3)
    for image in images:
        image.RescaleSlope = slope
    with pytest.raises(UnsuitableSeries, match="no image of its kind has such values"):
        one(images).volume()


# Padding (PS3.3 C.7.5.1.1.2)


@pytest.mark.parametrize("vr", ["US", "SS"])
def test_padding_above_the_data_is_air_in_ct_however_its_tag_was_written(one: One, vr: str) -> None:
    images = ct_series(slices=3)
    for image in images:
        image.BitsStored, image.HighBit = 16, 15
        values = image.pixel_array.copy()
        values[:4] = 63536
        image.PixelData = values.tobytes()
        image.add_new("PixelPaddingValue", vr, 63536 if vr == "US" else -2000)
    volume = one(images).volume().array
    assert volume.dtype == np.int16
    assert (volume[:, :4] == -1024).all()
    assert volume.max() < 4096


def test_a_padding_range_is_padding_from_end_to_end(one: One) -> None:
    (image,) = mr_series(slices=1, rows=1, columns=4)
    image.PixelPaddingValue, image.PixelPaddingRangeLimit = 3000, 2000
    image.PixelData = np.array([7, 2000, 2500, 3001], "<u2").tobytes()
    assert one([image]).volume().array.ravel().tolist() == [7, 0, 0, 3001]


def test_padding_of_a_radiograph_is_displayed_black(one: One) -> None:
    for photometric, expected in (("MONOCHROME1", [100, 200, 200]), ("MONOCHROME2", [100, 200, 0])):
        image = radiograph()
        image.PhotometricInterpretation, image.Rows, image.Columns = photometric, 1, 3
        image.PixelPaddingValue = 999
        image.PixelData = np.array([100, 200, 999], "<u2").tobytes() + b""
        assert one([image]).image().ravel().tolist() == expected


# Modality LUT (PS3.3 C.11.1.1.1)


def _with_lut(image: Dataset, table: Any, first: int, entries: int = 3) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [entries, first, 16])
    item.ModalityLUTType = "US"
    item.add_new("LUTData", "OW", np.array(table, "<u2").tobytes())
    image.ModalityLUTSequence = [item]
    return image


def test_a_modality_lut_is_applied(one: One) -> None:
    image = radiograph()
    image.Rows, image.Columns, image.PixelData = 1, 4, np.array([0, 10, 11, 4000], "<u2").tobytes()
    assert one([_with_lut(image, [5, 50, 500], 10)]).image().ravel().tolist() == [5, 5, 50, 500]


def test_a_modality_lut_that_contradicts_its_descriptor_sets_its_image_aside(stacks: Stacks) -> None:
    found = stacks([_with_lut(radiograph(), [5, 50, 500], 10, entries=4)])
    assert "Modality LUT has 3 entries" in found.set_aside[0][1]


# Geometry


@pytest.mark.parametrize("apart", [0.009, 0.0004])
def test_slices_micrometres_apart_are_one_even_stack(one: One, apart: float) -> None:
    series = one(ct_series(slices=12, spacing=(apart, apart, apart), origin=(0, 0, 0)))
    assert series.volume().spacing == pytest.approx((apart, apart, apart))


def test_a_missing_slice_is_seen_among_slices_micrometres_apart(one: One) -> None:
    images = ct_series(slices=12, spacing=(0.009, 0.009, 0.009), origin=(0, 0, 0))
    with pytest.raises(UnsuitableSeries, match="missing or unevenly spaced"):
        one([*images[:5], *images[6:]]).volume()


@pytest.mark.parametrize("zeros", [[0.0] * 6, [1, 0, 0, 1, 0, 0]])
def test_a_radiograph_with_zeros_for_an_unknown_place_is_an_image_without_a_place(one: One, zeros: list[float]) -> None:
    image = radiograph()
    image.ImagePositionPatient, image.ImageOrientationPatient, image.PixelSpacing = [0, 0, 0], zeros, [0, 0]
    series = one([image])
    assert not series.placed
    assert series.image().any()
    assert any("Image Orientation (Patient) is not two unit vectors" in warning for warning in series.warnings)


# The border of header values


@pytest.mark.parametrize(
    ("head", "text", "keyword"),
    [
        (b"\x18\x00\x50\x00DS", "2,5", "SliceThickness"),
        (b"\x28\x00\x50\x10DS", "40,0", "WindowCenter"),
        (b"\x28\x00\x50\x10DS", "4e400", "WindowCenter"),
        (b"\x18\x00\x60\x00DS", "12\\14", "KVP"),
        (b"\x20\x00\x12\x00IS", "one", "AcquisitionNumber"),
    ],
)
def test_a_value_that_is_no_number_counts_as_absent_and_is_reported(
    tmp_path: Path, head: bytes, text: str, keyword: str
) -> None:
    paths = write(ct_series(slices=3), tmp_path)
    for path in paths:
        _overwrite(path, head, text.encode())
    (series,) = group_into_stacks(map(Part10.of_file, paths)).series
    assert all(keyword not in header for header in series.headers)
    assert any("cannot be used" in warning for warning in series.warnings)
    assert series.volume().array.any()


def test_a_time_zone_that_does_not_exist_is_absent(one: One) -> None:
    for zone, known in (("+2500", False), ("+0160", False), ("-1200", True), ("+1400", True), ("+0530", True)):
        images = ct_series(slices=2)
        for image in images:
            image.TimezoneOffsetFromUTC = zone
        assert ("TimezoneOffsetFromUTC" in one(images).header) == known


def _overwrite(path: Path, head: bytes, text: bytes) -> None:
    """Put another text into a short element of a file."""
    content = path.read_bytes()
    at = content.index(head) + len(head)
    length = int.from_bytes(content[at : at + 2], "little")
    text += b" " * (len(text) % 2)
    path.write_bytes(content[:at] + len(text).to_bytes(2, "little") + text + content[at + 2 + length :])


def test_latin_text_that_claims_to_be_utf8_is_utf8_in_sequences_too(tmp_path: Path) -> None:
    (image,) = ct_series(slices=1)
    item = Dataset()
    item.RequestedProcedureDescription = "MARKER"
    image.RequestAttributesSequence, image.StudyDescription = [item], "MARKER"
    (path,) = write([image], tmp_path)
    path.write_bytes(path.read_bytes().replace(b"MARKER", b"M\xfcller"))
    header = group_into_stacks([Part10.of_file(path)]).series[0].header
    assert header.StudyDescription == "Müller"
    assert header.RequestAttributesSequence[0].RequestedProcedureDescription == "Müller"


def test_elements_of_file_meta_information_are_no_part_of_a_header(tmp_path: Path) -> None:
    (path,) = write(ct_series(slices=1), tmp_path)
    content = path.read_bytes()
    at = content.index(b"\x08\x00\x05\x00")
    stray = b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\0"
    path.write_bytes(content[:at] + b"\x02\x00\x02\x01UI\x02\x001\0" + stray + content[at:])
    header = group_into_stacks([Part10.of_file(path)]).series[0].header
    assert min(header.keys()).group >= 8
