"""The frames of one stored instance, with their geometry. An instance whose header makes no sense is set aside."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from operator import mul
from typing import Any, cast

import numpy as np
from pydicom.datadict import dictionary_description
from pydicom.uid import UID, ParametricMapStorage, SegmentationStorage, SurfaceSegmentationStorage

from node.errors import NotUnderstood
from node.images.frame import Frame, Values, Vector
from node.images.header_summary import KEYWORDS
from node.images.part10 import FAULTS
from node.images.real_values import UNSCALED
from node.images.real_world_values import mapping_items, with_real_world_values
from node.images.stored_instance import StoredInstance, uid_of
from node.images.usable_values import name_of

RESULTS = {
    SegmentationStorage,
    SurfaceSegmentationStorage,
    ParametricMapStorage,
    UID("1.2.840.10008.5.1.4.1.1.66.7"),  # Label Map Segmentation Storage
}
"""SOP classes that have rows and columns, but are results about images, not images to analyse."""
BITS_ALLOCATED = {1, 8, 16, 32, 64}
RIGHT_ANGLE = 0.01
"""How far products of the two directions of a plane may be from those of unit vectors at right angles."""
PLANE = (
    ("ImagePositionPatient", "PlanePositionSequence", 3),
    ("ImageOrientationPatient", "PlaneOrientationSequence", 6),
    ("PixelSpacing", "PixelMeasuresSequence", 2),
)
"""Attributes of a plane, with the sequence of their functional group and the count of their values."""
PLACED = ("CT", "MR", "PT", "RTDOSE")
"""Modalities whose images cannot do without a place. In others, such as radiographs, zeros stand for unknown."""
SAMPLES = {"MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1}
"""Samples per Pixel by Photometric Interpretation; of all others 3 (PS3.3 C.7.6.3.1.2)."""


def is_image(values: Values) -> bool:
    """Return whether the instance is an image to analyse; NotUnderstood if it should be an image and has no size."""
    sop_class = uid_of(required_text(values, "SOPClassUID"))
    required_text(values, "StudyInstanceUID")
    if sop_class in RESULTS:
        return False
    missing = [keyword for keyword in ("Rows", "Columns") if not value_of(values, keyword)]
    if missing and "Image Storage" in sop_class.name:
        raise NotUnderstood(f"it has no {' and no '.join(missing)}")
    return not missing


def frames_of(stored: StoredInstance) -> list[Frame]:
    """Return the frames of one instance with their geometry; NotUnderstood if a value makes no sense."""
    values = stored.values
    _check_pixels(stored)
    count = max(1, _whole(values, "NumberOfFrames", 1))
    if count > stored.part.length:
        raise NotUnderstood(f"it claims {count} frames, and is only {stored.part.length} bytes long")
    groups = value_of(values, "PerFrameFunctionalGroupsSequence") or ()
    if groups:
        if len(groups) < count:
            raise NotUnderstood(f"it has {count} frames, but functional groups for {len(groups)} of them")
        return [_frame(stored, number) for number in range(1, count + 1)]
    first = _frame(stored, 1)
    if count == 1:
        return [first]
    offsets = _numbers(value_of(values, "GridFrameOffsetVector"), count, "GridFrameOffsetVector")
    if offsets is None or first.position is None or offsets[0] != 0:
        return [replace(first, number=number, position=None) for number in range(1, count + 1)]
    return [  # RT Dose: offsets along the normal of the first plane (PS3.3 C.8.8.3.2)
        replace(first, number=number, position=_vector(np.add(first.position, first.normal * offset)))
        for number, offset in enumerate(offsets, 1)
    ]


def _check_pixels(stored: StoredInstance) -> None:
    """Raise NotUnderstood if the Image Pixel Module does not define how to read the values (PS3.3 C.7.6.3)."""
    values = stored.values
    if not stored.keyword:
        raise NotUnderstood("it has no pixel data")
    required_text(values, "PhotometricInterpretation")
    for keyword in ("Rows", "Columns"):
        _whole(values, keyword)
    if (samples := _whole(values, "SamplesPerPixel")) not in (1, 3):
        raise NotUnderstood(f"its Samples per Pixel is {samples}, not 1 or 3")
    if samples != SAMPLES.get(kind := str(values.get("PhotometricInterpretation")).strip(), 3):
        raise NotUnderstood(f"its Samples per Pixel is {samples}, and its Photometric Interpretation {kind}")
    if (bits := _whole(values, "BitsAllocated")) not in BITS_ALLOCATED:
        raise NotUnderstood(f"its Bits Allocated is {bits}, which no image has")
    if stored.keyword == "PixelData":
        if not 1 <= (used := _whole(values, "BitsStored")) <= bits:
            raise NotUnderstood(f"its Bits Stored is {used} of {bits} Bits Allocated")
        if not used - 1 <= (high := _whole(values, "HighBit", used - 1)) < bits:
            raise NotUnderstood(f"its High Bit is {high}, with {used} Bits Stored of {bits} Bits Allocated")
        if (signed := _whole(values, "PixelRepresentation")) not in (0, 1):
            raise NotUnderstood(f"its Pixel Representation is {signed}, not 0 or 1")


def _frame(stored: StoredInstance, number: int) -> Frame:
    """Return one frame by its functional groups, or by the header (PS3.3 C.7.6.2, C.7.6.16, C.11.1)."""
    ignored = [
        f"{name_of(keyword)} cannot be used: {reason}"
        for keyword, reason in stored.unusable.items()
        if keyword in KEYWORDS
    ]
    position, orientation, spacing = _plane(stored, number, ignored)
    placed = position is not None and orientation is not None and spacing is not None
    frame = Frame(
        image=stored,
        number=number,
        position=cast(Vector, position) if placed else None,
        orientation=cast(tuple[float, float, float, float, float, float], orientation) if placed else None,
        spacing=cast(tuple[float, float], spacing) if placed else None,
        ignored=tuple(ignored),
    )
    return with_real_world_values(_with_rescale(frame, stored), mapping_items(stored.values, number))


def _plane(stored: StoredInstance, number: int, ignored: list[str]) -> tuple[tuple[float, ...] | None, ...]:
    """Return position, orientation and spacing of a frame, and add what cannot be used to `ignored`.

    Raises
    ------
    NotUnderstood
        A value makes no sense, in a modality whose images cannot do without a place.
    """
    found = []
    for keyword, sequence, count in PLANE:
        try:
            numbers = _numbers(frame_value(stored.values, number, sequence, keyword), count, keyword)
            _check_plane(stored, keyword, numbers)
        except NotUnderstood as error:
            if stored.values.get("Modality") in PLACED:
                raise
            ignored.append(str(error).removeprefix("its "))
            numbers = None
        if keyword == "PixelSpacing" and numbers is not None and min(numbers) <= 0:
            numbers = None  # radiographs and scanned films of unknown spacing write 0
        found.append(numbers)
    return tuple(found)


def _check_plane(stored: StoredInstance, keyword: str, numbers: tuple[float, ...] | None) -> None:
    if reason := stored.unusable.get(keyword):
        raise NotUnderstood(f"its {name_of(keyword)} cannot be used: {reason}")
    if keyword == "ImageOrientationPatient" and numbers is not None and not _perpendicular(numbers):
        raise NotUnderstood(f"its {name_of(keyword)} is not two unit vectors at right angles")


def _with_rescale(frame: Frame, stored: StoredInstance) -> Frame:
    """Return a frame with what its stored values mean (PS3.3 C.11.1; of RT Dose C.8.8.3)."""
    values, group = stored.values, "PixelValueTransformationSequence"
    slope, intercept, dose = (
        _number(values, frame.number, sequence, keyword)
        for keyword, sequence in (("RescaleSlope", group), ("RescaleIntercept", group), ("DoseGridScaling", ""))
    )
    if 0 in (slope, dose):
        raise NotUnderstood("its Rescale Slope is 0" if slope == 0 else "its Dose Grid Scaling is 0")
    if stored.modality_lut is not None:
        return replace(frame, lut=stored.modality_lut, unit=stored.modality_lut.kind)
    if values.get("Modality") == "RTDOSE":
        return replace(frame, slope=dose or 1.0, unscaled="" if dose else "Dose Grid Scaling is absent")
    absent = [name for name, value in (("Rescale Slope", slope), ("Rescale Intercept", intercept)) if value is None]
    return replace(
        frame,
        slope=slope or 1.0,
        intercept=intercept or 0.0,
        unit=str(frame_value(values, frame.number, group, "RescaleType") or "").strip(),
        unscaled=("", f"{''.join(absent)} is absent", UNSCALED)[len(absent)],
    )


def _number(values: Values, number: int, sequence: str, keyword: str) -> float | None:
    """Return a number of a frame; None if it is absent or cannot be used."""
    try:
        numbers = _numbers(frame_value(values, number, sequence, keyword), 1, keyword)
    except NotUnderstood:
        return None
    return None if numbers is None else numbers[0]


def _perpendicular(orientation: Sequence[float]) -> bool:
    row, column = orientation[:3], orientation[3:]
    row_square, column_square, product = (
        math.fsum(map(mul, *pair)) for pair in ((row, row), (column, column), (row, column))
    )
    return max(abs(row_square - 1), abs(column_square - 1), abs(product)) <= RIGHT_ANGLE


def frame_value(values: Values, number: int, path: str, keyword: str) -> Any:
    """Return a value of one frame: from its own functional groups, else the shared groups, else the top of the header.

    `path` names the sequences of the functional group, with "/" between them; empty for the top of the header.
    """
    if "PerFrameFunctionalGroupsSequence" in values and path:
        shared = value_of(values, "SharedFunctionalGroupsSequence") or ()
        for group in (value_of(values, "PerFrameFunctionalGroupsSequence")[number - 1], *shared[:1]):
            item = group
            for sequence in path.split("/"):
                items = value_of(item, sequence) if item else None
                item = items[0] if items else None
            if item is not None and (value := value_of(item, keyword)) is not None:
                return value
    return value_of(values, keyword)


def value_of(item: Values, keyword: str) -> Any:
    """Return a value, None if it is absent or empty; NotUnderstood if it is not a value of its VR."""
    try:
        value = item.get(keyword)
    except FAULTS as error:
        raise NotUnderstood(f"its {dictionary_description(keyword)} cannot be read: {error}") from error
    return None if value is None or value == "" else value


def required_text(values: Values, keyword: str) -> str:
    """Return a text value; NotUnderstood if it is absent or empty."""
    value = value_of(values, keyword)
    if not isinstance(value, str) or not value.strip():
        raise NotUnderstood(f"it has no {dictionary_description(keyword)}")
    return value


def _whole(values: Values, keyword: str, default: int | None = None) -> int:
    value = value_of(values, keyword)
    if value is None and default is not None:
        return default
    if value is None:
        raise NotUnderstood(f"it has no {dictionary_description(keyword)}")
    if not isinstance(value, int):
        raise NotUnderstood(f"its {dictionary_description(keyword)} is {value}, not a whole number")
    return int(value)


def _numbers(value: Any, count: int, keyword: str) -> tuple[float, ...] | None:
    if value is None:
        return None
    try:
        numbers = tuple(map(float, [value] if count == 1 else value))
    except (TypeError, ValueError) as error:
        raise NotUnderstood(f"its {dictionary_description(keyword)} is not {count} numbers") from error
    if not numbers:
        return None
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise NotUnderstood(f"its {dictionary_description(keyword)} is not {count} numbers")
    return numbers


def _vector(numbers: Iterable[float]) -> Vector:
    x, y, z = map(float, numbers)
    return x, y, z
