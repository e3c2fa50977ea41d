"""How the instances of a study become `Series`: stacks of frames that belong together in space, or as like images."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import mul
from typing import Any, cast

import numpy as np
from pydicom.datadict import dictionary_description
from pydicom.dataset import Dataset
from pydicom.uid import UID, ParametricMapStorage, SegmentationStorage, SurfaceSegmentationStorage

from node.errors import NotUnderstood, UnsuitableSeries
from node.images.part10 import FAULTS, Part10
from node.images.pixels import PixelReader, Stored, uid_of
from node.images.series import SAME_PLACE, Frame, Series, Vector, along_normal, usual_distance

RESULTS = {
    SegmentationStorage,
    SurfaceSegmentationStorage,
    ParametricMapStorage,
    UID("1.2.840.10008.5.1.4.1.1.66.7"),  # Label Map Segmentation Storage
}
"""SOP classes that have rows and columns, but are results about images and no images to analyse."""
BITS_ALLOCATED = {1, 8, 16, 32, 64}
ROUNDING = 1e-3
"""Directions, and pixel spacings in mm, that differ by less are the same, written with few digits."""
RIGHT_ANGLE = 0.01
"""How far products of the two directions of a plane may be from those of unit vectors at right angles."""

Values = Mapping[str, Any] | Dataset
"""What an instance says of itself, by keyword: as noted, or its header."""
Row = tuple[str, tuple[tuple[str, str], ...]]
"""What a reader calls it, and where it stands: (sequence of the functional groups, keyword), first found counts."""

DISCRIMINATORS: tuple[Row, ...] = (
    ("stack", (("FrameContentSequence", "StackID"),)),
    ("echo time", (("MREchoSequence", "EffectiveEchoTime"), ("", "EchoTime"), ("", "EchoNumbers"))),
    ("inversion time", (("MRModifierSequence", "InversionTimes"), ("", "InversionTime"))),
    ("flip angle", (("MRTimingAndRelatedParametersSequence", "FlipAngle"), ("", "FlipAngle"))),
    ("tube voltage", (("CTXRayDetailsSequence", "KVP"), ("", "KVP"))),
    ("b-value", (("MRDiffusionSequence", "DiffusionBValue"), ("", "DiffusionBValue"))),
    (
        "diffusion direction",
        (
            ("MRDiffusionSequence/DiffusionGradientDirectionSequence", "DiffusionGradientOrientation"),
            ("", "DiffusionGradientOrientation"),
        ),
    ),
    (
        "temporal position",
        (
            ("FrameContentSequence", "TemporalPositionIndex"),
            ("", "TemporalPositionIdentifier"),
            ("", "TemporalPositionIndex"),
        ),
    ),
    (
        "cardiac phase",
        (
            ("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase"),
            ("", "NominalPercentageOfCardiacPhase"),
            ("", "TriggerTime"),
        ),
    ),
    ("acquisition number", (("FrameContentSequence", "FrameAcquisitionNumber"), ("", "AcquisitionNumber"))),
    (
        "image type",
        (
            ("MRImageFrameTypeSequence", "FrameType"),
            ("CTImageFrameTypeSequence", "FrameType"),
            ("PETFrameTypeSequence", "FrameType"),
            ("", "ImageType"),
        ),
    ),
    ("reconstruction kernel", (("CTReconstructionSequence", "ConvolutionKernel"), ("", "ConvolutionKernel"))),
    ("frame reference time", (("FrameContentSequence", "FrameReferenceDateTime"), ("", "FrameReferenceTime"))),
    ("acquisition time", (("FrameContentSequence", "FrameAcquisitionDateTime"), ("", "AcquisitionTime"))),
    ("content time", (("", "ContentTime"),)),
)
"""What tells images at the same position apart, most telling first (PS3.3 C.7.6.16, C.8.3.1, C.8.13)."""

FORMAT = ("SOPClassUID", "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "FrameOfReferenceUID")
"""What divides a series whatever the positions of its images."""

REGIONS: tuple[Row, ...] = (
    ("stack", (("FrameContentSequence", "StackID"),)),
    ("acquisition number", (("FrameContentSequence", "FrameAcquisitionNumber"), ("", "AcquisitionNumber"))),
    ("slice thickness", (("PixelMeasuresSequence", "SliceThickness"), ("", "SliceThickness"))),
)
"""What tells regions apart that were recorded one after the other into one series, unevenly spaced as a whole."""
MOST_REGIONS = 4
"""More acquisitions than this are table positions of a step-and-shoot scan, and an uneven one lacks slices."""
FEWEST_SLICES = 3
"""Two slices are evenly spaced whatever they are: a region has more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    """What the instances of a study came to.

    Parameters
    ----------
    series
        The stacks, by Series Number, Series Instance UID and size.
    set_aside
        (SOP Instance UID, reason) of each instance that says it is an image but cannot be used as one; the UID is
        empty where there is none.
    """

    series: tuple[Series, ...]
    set_aside: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Stack:
    """Frames on their way to become a `Series`, and how they were told from others at the same positions."""

    frames: list[Frame]
    told_by: tuple[str, ...] = ()


def stacks(instances: Iterable[Part10]) -> Assembled:
    """Sort every instance of one study into stacks; instances that are no images (SEG, SR, PDF …) make none.

    A series is one stack if it can be. It is split by SOP class, size, colour, orientation, pixel spacing, frame of
    reference and localizer; then, where positions repeat, by what tells the images there apart (`DISCRIMINATORS`);
    then, where slices are unevenly spaced, into regions that are even. What nothing tells apart stays together, and
    `Series.volume` says what is wrong with it. An image without a position is a stack of its own, with all its frames.

    Keys do not depend on the order in which instances came: within a series the largest stack comes first, among
    equals the one with the lowest Instance Number. Frames ascend along row × column direction; without positions they
    go by frame number.
    """
    set_aside: list[tuple[str, str]] = []
    images: dict[str, Stored] = {}
    by_series: dict[str, list[Frame]] = defaultdict(list)
    for place in instances:
        uid = ""
        try:
            stored = Stored.at(place)
            uid = _named(stored.values, "SOPInstanceUID")
            if not _is_image(stored.values):
                continue
            series_uid, frames = _named(stored.values, "SeriesInstanceUID"), _frames(stored)
            if uid in images:
                set_aside.append((uid, "another instance has the same SOP Instance UID"))
                continue
            images[uid] = stored
            by_series[series_uid] += frames
        except NotUnderstood as error:
            set_aside.append((uid, str(error)))
    ordered = sorted(by_series.items(), key=lambda one: (_lenient(one[1][0].image.values, "SeriesNumber"), one[0]))
    return Assembled(
        series=tuple(stack for uid, frames in ordered for stack in _series(uid, frames, images)),
        set_aside=tuple(set_aside),
    )


# Reading one instance: what it says must make sense, or it is set aside.


def _is_image(values: Values) -> bool:
    """Whether the instance is an image to analyse; NotUnderstood where it should be one and has no size."""
    sop_class = uid_of(_named(values, "SOPClassUID"))
    _named(values, "StudyInstanceUID")
    if sop_class in RESULTS:
        return False
    missing = [keyword for keyword in ("Rows", "Columns") if not _get(values, keyword)]
    if missing and "Image Storage" in sop_class.name:
        raise NotUnderstood(f"it has no {' and no '.join(missing)}")
    return not missing


def _frames(stored: Stored) -> list[Frame]:
    """Return the frames of one instance with their geometry; NotUnderstood where a value makes no sense."""
    values = stored.values
    _check_pixels(stored)
    count = max(1, _whole(values, "NumberOfFrames", 1))
    if count > stored.place.length:
        raise NotUnderstood(f"it claims {count} frames, and is only {stored.place.length} bytes long")
    groups = _get(values, "PerFrameFunctionalGroupsSequence") or ()
    if groups:
        if len(groups) < count:
            raise NotUnderstood(f"it has {count} frames, but functional groups for {len(groups)} of them")
        return [_frame(stored, number) for number in range(1, count + 1)]
    first = _frame(stored, 1)
    if count == 1:
        return [first]
    offsets = _numbers(_get(values, "GridFrameOffsetVector"), count, "GridFrameOffsetVector")
    if offsets is None or first.position is None or offsets[0] != 0:
        return [replace(first, number=number, position=None) for number in range(1, count + 1)]
    return [  # RT Dose: along the normal from the first plane (PS3.3 C.8.8.3.2)
        replace(first, number=number, position=_vector(np.add(first.position, first.normal * offset)))
        for number, offset in enumerate(offsets, 1)
    ]


def _check_pixels(stored: Stored) -> None:
    """Raise NotUnderstood where the Image Pixel Module does not say how to read the values (PS3.3 C.7.6.3)."""
    values = stored.values
    if not stored.keyword:
        raise NotUnderstood("it has no pixel data")
    _named(values, "PhotometricInterpretation")
    for keyword in ("Rows", "Columns"):
        _whole(values, keyword)
    if (samples := _whole(values, "SamplesPerPixel", 1)) not in (1, 3):
        raise NotUnderstood(f"its Samples per Pixel is {samples}, not 1 or 3")
    if (bits := _whole(values, "BitsAllocated")) not in BITS_ALLOCATED:
        raise NotUnderstood(f"its Bits Allocated is {bits}, which no image has")
    if stored.keyword == "PixelData":
        if not 1 <= (used := _whole(values, "BitsStored")) <= bits:
            raise NotUnderstood(f"its Bits Stored is {used} of {bits} Bits Allocated")
        if not used - 1 <= (high := _whole(values, "HighBit", used - 1)) < bits:
            raise NotUnderstood(f"its High Bit is {high}, with {used} Bits Stored of {bits} Bits Allocated")
        if (signed := _whole(values, "PixelRepresentation")) not in (0, 1):
            raise NotUnderstood(f"its Pixel Representation is {signed}, not 0 or 1")


def _frame(stored: Stored, number: int) -> Frame:
    """Return one frame with what its functional groups, or the header, say of it (PS3.3 C.7.6.2, C.7.6.16, C.11.1)."""
    values = stored.values
    numbers = {
        keyword: _numbers(_found(values, number, sequence, keyword), length, keyword)
        for keyword, sequence, length in (
            ("ImagePositionPatient", "PlanePositionSequence", 3),
            ("ImageOrientationPatient", "PlaneOrientationSequence", 6),
            ("PixelSpacing", "PixelMeasuresSequence", 2),
            ("RescaleSlope", "PixelValueTransformationSequence", 1),
            ("RescaleIntercept", "PixelValueTransformationSequence", 1),
            ("DoseGridScaling", "", 1),
        )
    }
    position, orientation, spacing, slope, intercept, dose = numbers.values()
    if orientation is not None and not _perpendicular(orientation):
        raise NotUnderstood("its Image Orientation (Patient) is not two unit vectors at right angles")
    if spacing is not None and min(spacing) <= 0:
        spacing = None  # written by radiographs and scanned films that do not know it
    scale = (slope or dose or (1.0,))[0]
    if scale == 0:
        raise NotUnderstood("its Rescale Slope is 0")
    placed = position is not None and orientation is not None and spacing is not None
    return Frame(
        image=stored,
        number=number,
        position=cast(Vector, position) if placed else None,
        orientation=cast(tuple[float, float, float, float, float, float], orientation) if placed else None,
        spacing=cast(tuple[float, float], spacing) if placed else None,
        slope=scale,
        intercept=(intercept or (0.0,))[0],
    )


def _perpendicular(orientation: Sequence[float]) -> bool:
    row, column = orientation[:3], orientation[3:]
    square, other, product = (math.fsum(map(mul, *pair)) for pair in ((row, row), (column, column), (row, column)))
    return max(abs(square - 1), abs(other - 1), abs(product)) <= RIGHT_ANGLE


def _found(values: Values, number: int, path: str, keyword: str) -> Any:
    """Return a value of one frame: of its own functional groups, else the shared ones, else the top of the header."""
    if "PerFrameFunctionalGroupsSequence" in values and path:
        shared = _get(values, "SharedFunctionalGroupsSequence") or ()
        for group in (_get(values, "PerFrameFunctionalGroupsSequence")[number - 1], *shared[:1]):
            item = group
            for sequence in path.split("/"):
                items = _get(item, sequence) if item else None
                item = items[0] if items else None
            if item is not None and (value := _get(item, keyword)) is not None:
                return value
    return _get(values, keyword)


def _get(item: Values, keyword: str) -> Any:
    """Return a value, None where there is none or it is empty; NotUnderstood where it is no value of its VR."""
    try:
        value = item.get(keyword)
    except FAULTS as error:
        raise NotUnderstood(f"its {dictionary_description(keyword)} cannot be read: {error}") from error
    return None if value is None or value == "" else value


def _named(values: Values, keyword: str) -> str:
    value = _get(values, keyword)
    if not isinstance(value, str) or not value.strip():
        raise NotUnderstood(f"it has no {dictionary_description(keyword)}")
    return value


def _whole(values: Values, keyword: str, default: int | None = None) -> int:
    value = _get(values, keyword)
    if value is None and default is not None:
        return default
    if not isinstance(value, int):
        raise NotUnderstood(f"its {dictionary_description(keyword)} is {value}, not a whole number")
    return int(value)


def _numbers(value: Any, count: int, keyword: str) -> tuple[float, ...] | None:
    if value is None:
        return None
    try:
        numbers = tuple(float(one) for one in ([value] if count == 1 else value))
    except (TypeError, ValueError) as error:
        raise NotUnderstood(f"its {dictionary_description(keyword)} is not {count} numbers") from error
    if not numbers:
        return None
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise NotUnderstood(f"its {dictionary_description(keyword)} is not {count} numbers")
    return numbers


def _vector(numbers: Iterable[float]) -> Vector:
    x, y, z = (float(one) for one in numbers)
    return x, y, z


# Sorting frames: odd values of what only tells images apart do not stop anybody.


def _lenient(values: Values, keyword: str) -> float:
    """Return a number to sort by, infinite where there is none."""
    try:
        return float(_get(values, keyword))
    except (NotUnderstood, TypeError, ValueError):
        return math.inf


def _order(frame: Frame) -> tuple[float, str, int]:
    return _lenient(frame.image.values, "InstanceNumber"), frame.sop_instance_uid, frame.number


def _series(uid: str, frames: list[Frame], images: Mapping[str, Stored]) -> Iterator[Series]:
    """Give the stacks of one series with their keys, the largest first."""
    read = PixelReader({frame.sop_instance_uid: images[frame.sop_instance_uid] for frame in frames})
    found: list[_Stack] = []
    for family in _families(sorted(frames, key=_order)):
        if family[0].position is None:
            found += [_Stack(alone) for _, alone in _grouped(family, lambda frame: frame.sop_instance_uid)]
        else:
            found += _told_apart(_Stack(family), DISCRIMINATORS)
    found.sort(key=lambda stack: (-len(stack.frames), min(map(_order, stack.frames))))
    for number, stack in enumerate(found, 1):
        along = along_normal(stack.frames) if stack.frames[0].position else np.zeros(len(stack.frames))
        ordered = tuple(stack.frames[index] for index in np.argsort(along, kind="stable"))
        series = Series(key=uid if number == 1 else f"{uid}#{number}", frames=ordered, read=read)
        yield replace(series, warnings=tuple(_warnings(series, stack, len(found))))


def _warnings(series: Series, stack: _Stack, stacks_of_series: int) -> Iterator[str]:
    if stack.told_by:
        yield f"one of {stacks_of_series} stacks of its series, told apart by {', '.join(stack.told_by)}"
    if "ModalityLUTSequence" in series.header:
        yield "values are as stored: the images have a Modality LUT, which is not applied"
    if series.frames[0].position is not None:
        try:
            series.affine()
        except UnsuitableSeries as error:
            yield str(error)


def _families(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Return the frames by all that always divides a series, whatever their positions."""
    orientation = _representatives(frame.orientation for frame in frames)
    spacing = _representatives(frame.spacing for frame in frames)
    formats: dict[str, tuple[Any, ...]] = {}

    def family(frame: Frame) -> tuple[Any, ...]:
        uid = frame.sop_instance_uid
        if uid not in formats:
            formats[uid] = _format(frame.image.values)
        return *formats[uid], orientation.get(frame.orientation), spacing.get(frame.spacing)

    return [group for _, group in _grouped(frames, family)]


def _format(values: Values) -> tuple[Any, ...]:
    return (
        *(str(_get(values, keyword)) for keyword in FORMAT),  # of one that has several values, too
        "LOCALIZER" in (values.get("ImageType") or ()),
    )


def _representatives(values: Iterable[tuple[float, ...] | None]) -> dict[tuple[float, ...] | None, tuple[float, ...]]:
    """Return for each value the first one that equals it up to rounding; no grid of rounding parts two neighbours."""
    found: dict[tuple[float, ...] | None, tuple[float, ...]] = {}
    for value in sorted({value for value in values if value is not None}):
        alike = (one for one in dict.fromkeys(found.values()) if max(map(abs, np.subtract(one, value))) < ROUNDING)
        found[value] = next(alike, value)
    return found


def _grouped(frames: Iterable[Frame], key: Callable[[Frame], Any]) -> list[tuple[Any, list[Frame]]]:
    """Return (value, frames) for each value of `key`, in the order of first appearance."""
    groups: dict[Any, list[Frame]] = defaultdict(list)
    for frame in frames:
        groups[key(frame)].append(frame)
    return list(groups.items())


def _places(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Return the frames by position along the normal."""
    along = along_normal(frames)
    order = np.argsort(along, kind="stable")
    starts = np.flatnonzero(np.diff(along[order]) >= SAME_PLACE) + 1
    return [[frames[index] for index in place] for place in np.split(order, starts)]


def _repeats(frames: Sequence[Frame]) -> int:
    return max(map(len, _places(frames)))


def _told_apart(stack: _Stack, table: Sequence[Row]) -> list[_Stack]:
    """Return the stack in parts without repeated positions, as far as the table tells its frames apart.

    A row counts if it has no more values than there are images at one position (else it differs from slice to slice,
    as a time may), and if its parts repeat positions less than the whole.
    """
    repeats = _repeats(stack.frames)
    if repeats == 1:
        return _regions(stack)
    for index, (name, where) in enumerate(table, 1):
        groups = _by_value(stack.frames, where)
        if 1 < len(groups) <= repeats and max(_repeats(group) for _, group in groups) < repeats:
            rest = table[index:]
            return [
                part
                for value, group in groups
                for part in _told_apart(_Stack(group, (*stack.told_by, f"{name} {value}")), rest)
            ]
    return _repetitions(stack)


def _by_value(frames: Sequence[Frame], where: tuple[tuple[str, str], ...]) -> list[tuple[str, list[Frame]]]:
    return _grouped(frames, lambda frame: _first_value(frame, where))


def _first_value(frame: Frame, where: tuple[tuple[str, str], ...]) -> str:
    for path, keyword in where:
        try:
            value = _found(frame.image.values, frame.number, path, keyword)
        except NotUnderstood:
            continue
        if value is not None:
            return str(value)
    return "unknown"


def _repetitions(stack: _Stack) -> list[_Stack]:
    """Return the first image of every position as one stack, the second as the next: by Instance Number and frame.

    Only where all positions repeat equally often; else some are duplicates, and no one can say which.
    """
    places = [sorted(place, key=_order) for place in _places(stack.frames)]
    numbered = all(len({_order(frame)[::2] for frame in place}) == len(place) for place in places)
    if len({len(place) for place in places}) > 1 or not numbered:
        return [stack]
    return [
        _Stack(list(frames), (*stack.told_by, f"repetition {number}"))
        for number, frames in enumerate(zip(*places, strict=True), 1)
    ]


def _regions(stack: _Stack) -> list[_Stack]:
    """Return the stack as it is if it is evenly spaced or cannot be divided into regions that are."""
    if _even(stack.frames):
        return [stack]
    for name, where in REGIONS:
        groups = _by_value(stack.frames, where)
        if 1 < len(groups) <= MOST_REGIONS and all(len(group) >= FEWEST_SLICES and _even(group) for _, group in groups):
            return [_Stack(group, (*stack.told_by, f"{name} {value}")) for value, group in groups]
    return [stack]


def _even(frames: Sequence[Frame]) -> bool:
    if len(frames) < FEWEST_SLICES:
        return True
    _, even = usual_distance(np.diff(np.sort(along_normal(frames))))
    return bool(even.all())
