"""How the instances of a study become `Series`: frames are grouped into stacks that belong together in space."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from node.arena import PROCESS_MEMORY, Memory
from node.errors import NotUnderstood, UnsuitableSeries
from node.images.agreement import MUST_AGREE, Remedy
from node.images.frame import Frame, Values
from node.images.frame_reading import frame_value, frames_of, is_image, required_text, value_of
from node.images.header_summary import KEYWORDS
from node.images.part10 import Part10
from node.images.pixels import PixelReader
from node.images.real_values import listed
from node.images.series import Series
from node.images.stack_geometry import along_normal, part_of_spacing, same_position, usual_distance
from node.images.stored_instance import StoredInstance
from node.images.usable_values import name_of

ROUNDING = 1e-3
"""Directions, and pixel spacings in mm, that differ by less are equal: headers have few digits.

Pixel spacings that differ by more than a twentieth are never equal.
"""

Location = tuple[str, str]
"""Where an attribute is: (sequence of the functional groups, empty for the top of the header; keyword)."""
Criterion = tuple[str, tuple[Location, ...]]
"""An attribute by which a series is split: its name in messages, and its locations. The first with a value counts."""

DISCRIMINATORS: tuple[Criterion, ...] = (
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
"""What distinguishes images at the same position, the most significant first (PS3.3 C.7.6.16, C.8.3.1, C.8.13)."""

FORMAT = tuple(rule.keyword for rule in MUST_AGREE if rule.remedy is Remedy.SPLIT)
"""What splits a series whatever the positions of its images."""

REGIONS: tuple[Criterion, ...] = (
    ("stack", (("FrameContentSequence", "StackID"),)),
    ("acquisition number", (("FrameContentSequence", "FrameAcquisitionNumber"), ("", "AcquisitionNumber"))),
    ("slice thickness", (("PixelMeasuresSequence", "SliceThickness"), ("", "SliceThickness"))),
)
"""What distinguishes regions that were acquired one after the other into one series, unevenly spaced as a whole."""
MOST_REGIONS = 4
"""More acquisitions than this are table positions of a step-and-shoot scan: if it is uneven, slices are missing."""
FEWEST_SLICES = 3
"""Two slices are always evenly spaced: a region has more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyStacks:
    """The instances of a study, grouped into stacks.

    Parameters
    ----------
    series
        The stacks, by Series Number, Series Instance UID and size.
    set_aside
        (SOP Instance UID, reason) of each instance that should be an image but cannot be used as an image. The UID is
        empty where the instance has none.
    """

    series: tuple[Series, ...]
    set_aside: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Stack:
    """Frames that become a `Series`, and by which values they were split from others at the same positions."""

    frames: list[Frame]
    split_by: tuple[str, ...] = ()


def group_into_stacks(instances: Iterable[Part10], memory: Memory = PROCESS_MEMORY) -> StudyStacks:
    """Group the instances of one study into stacks. Instances that are not images (SEG, SR, PDF …) are left out.

    A series is one stack if possible. It is split by SOP class, size, colour, orientation, pixel spacing, frame of
    reference and localizer; then, where positions repeat, by what distinguishes the images there (`DISCRIMINATORS`);
    then, where slices are unevenly spaced, into regions that are evenly spaced. Images that nothing distinguishes stay
    together, and `Series.volume` raises an error that says why. An image without a position is a stack of its own, with
    all its frames.

    Keys do not depend on the order of the instances: within a series the largest stack comes first, and among equally
    large stacks the one with the lowest Instance Number. Frames are ordered along row × column direction; without
    positions they are ordered by frame number. Volumes of the stacks are allocated in `memory`.
    """
    set_aside: list[tuple[str, str]] = []
    images: dict[str, StoredInstance] = {}
    by_series: dict[str, list[Frame]] = defaultdict(list)
    for part in instances:
        uid = ""
        try:
            stored = StoredInstance.read(part)
            uid = required_text(stored.values, "SOPInstanceUID")
            stored.check_readable()
            if not is_image(stored.values):
                continue
            series_uid, frames = required_text(stored.values, "SeriesInstanceUID"), frames_of(stored)
            if uid in images:
                set_aside.append((uid, "another instance has the same SOP Instance UID"))
                continue
            images[uid] = stored
            by_series[series_uid] += frames
        except NotUnderstood as error:
            set_aside.append((uid, str(error)))
    ordered = sorted(by_series.items(), key=lambda item: (_lenient(item[1][0].image.values, "SeriesNumber"), item[0]))
    return StudyStacks(
        series=tuple(stack for uid, frames in ordered for stack in _series(uid, frames, images, memory)),
        set_aside=tuple(set_aside),
    )


# Sorting frames. A malformed value that only distinguishes images is no error.


def _lenient(values: Values, keyword: str) -> float:
    """Return a number to sort by, infinite if there is none."""
    try:
        return float(value_of(values, keyword))
    except (NotUnderstood, TypeError, ValueError):
        return math.inf


def _order(frame: Frame) -> tuple[float, str, int]:
    return _lenient(frame.image.values, "InstanceNumber"), frame.sop_instance_uid, frame.number


def _series(uid: str, frames: list[Frame], images: Mapping[str, StoredInstance], memory: Memory) -> Iterator[Series]:
    """Yield the stacks of one series with their keys, the largest first."""
    read = PixelReader({frame.sop_instance_uid: images[frame.sop_instance_uid] for frame in frames})
    found: list[_Stack] = []
    for family in _families(sorted(frames, key=_order)):
        if family[0].position is None:
            found += [_Stack(image) for _, image in _grouped(family, lambda frame: frame.sop_instance_uid)]
        else:
            found += _split(_Stack(family), DISCRIMINATORS)
    found.sort(key=lambda stack: (-len(stack.frames), min(map(_order, stack.frames))))
    for number, stack in enumerate(found, 1):
        along = along_normal(stack.frames) if stack.frames[0].position else np.zeros(len(stack.frames))
        ordered = tuple(stack.frames[index] for index in np.argsort(along, kind="stable"))
        series = Series(key=uid if number == 1 else f"{uid}#{number}", frames=ordered, read=read, memory=memory)
        left_out = images[ordered[0].sop_instance_uid].left_out
        yield replace(series, warnings=tuple(_warnings(series, stack, len(found), left_out)))


def _warnings(series: Series, stack: _Stack, stacks_of_series: int, left_out: Mapping[str, str]) -> Iterator[str]:
    if stack.split_by:
        yield f"one of {stacks_of_series} stacks of its series, separated by {', '.join(stack.split_by)}"
    if series.meaning_fault:
        yield series.meaning_fault
    yield from _not_usable(series, left_out)
    if series.frames[0].position is not None:
        try:
            series.affine()
        except UnsuitableSeries as error:
            yield str(error)


def _not_usable(series: Series, left_out: Mapping[str, str]) -> Iterator[str]:
    """Yield what of the headers counts as absent: of all images what stacks need, of the first image everything."""
    for sentence in dict.fromkeys(sentence for frame in series.frames for sentence in frame.ignored):
        frames = [frame for frame in series.frames if sentence in frame.ignored]
        yield f"{sentence}; it counts as absent in {len(frames)} of {len(series.frames)} images, {listed(frames)}"
    for keyword, reason in left_out.items():
        if keyword not in KEYWORDS:
            yield f"{name_of(keyword)} cannot be used: {reason}; it counts as absent ({series.frames[0]})"


def _families(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Return the frames in families. Frames of two families are never in one stack, whatever their positions."""
    orientation = _representatives(frame.orientation for frame in frames)
    spacing = _representatives((frame.spacing for frame in frames), relative=True)
    formats: dict[str, tuple[Any, ...]] = {}

    def family(frame: Frame) -> tuple[Any, ...]:
        uid = frame.sop_instance_uid
        if uid not in formats:
            formats[uid] = _format(frame.image.values)
        return *formats[uid], orientation.get(frame.orientation), spacing.get(frame.spacing)

    return [group for _, group in _grouped(frames, family)]


def _format(values: Values) -> tuple[Any, ...]:
    return (
        *(str(value_of(values, keyword)) for keyword in FORMAT),  # str, since a malformed value may be a list
        "LOCALIZER" in (values.get("ImageType") or ()),
    )


def _representatives(
    values: Iterable[tuple[float, ...] | None], *, relative: bool = False
) -> dict[tuple[float, ...] | None, tuple[float, ...]]:
    """Return for each value the first that equals it up to rounding. (A grid of rounding could separate neighbours.)"""
    found: dict[tuple[float, ...] | None, tuple[float, ...]] = {}
    for value in sorted({value for value in values if value is not None}):
        known = dict.fromkeys(found.values())
        allowed = part_of_spacing(ROUNDING, value) if relative else ROUNDING
        found[value] = next((old for old in known if max(map(abs, np.subtract(old, value))) < allowed), value)
    return found


def _grouped(frames: Iterable[Frame], key: Callable[[Frame], Any]) -> list[tuple[Any, list[Frame]]]:
    """Return (value, frames) for each value of `key`, in the order of first appearance."""
    groups: dict[Any, list[Frame]] = defaultdict(list)
    for frame in frames:
        groups[key(frame)].append(frame)
    return list(groups.items())


def _by_position(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Return the frames at each position along the normal, in order."""
    along = along_normal(frames)
    order = np.argsort(along, kind="stable")
    starts = np.flatnonzero(np.diff(along[order]) >= same_position(frames)) + 1
    return [[frames[index] for index in indices] for indices in np.split(order, starts)]


def _repeats(frames: Sequence[Frame]) -> int:
    return max(map(len, _by_position(frames)))


def _split(stack: _Stack, criteria: Sequence[Criterion]) -> list[_Stack]:
    """Return the stack in parts without repeated positions, as far as the criteria distinguish its frames.

    A criterion is used if it has no more values than there are images at one position (else it differs from slice to
    slice, as a time may), and if its parts repeat positions less often than the whole.
    """
    repeats = _repeats(stack.frames)
    if repeats == 1:
        return _regions(stack)
    for index, (name, where) in enumerate(criteria, 1):
        groups = _by_value(stack.frames, where)
        if 1 < len(groups) <= repeats and max(_repeats(group) for _, group in groups) < repeats:
            rest = criteria[index:]
            return [
                part
                for value, group in groups
                for part in _split(_Stack(group, (*stack.split_by, f"{name} {value}")), rest)
            ]
    return _repetitions(stack)


def _by_value(frames: Sequence[Frame], where: tuple[Location, ...]) -> list[tuple[str, list[Frame]]]:
    return _grouped(frames, lambda frame: _first_value(frame, where))


def _first_value(frame: Frame, where: tuple[Location, ...]) -> str:
    for path, keyword in where:
        try:
            value = frame_value(frame.image.values, frame.number, path, keyword)
        except NotUnderstood:
            continue
        if value is not None:
            return str(value)
    return "unknown"


def _repetitions(stack: _Stack) -> list[_Stack]:
    """Return the first image of every position as one stack, the second images as the next: by Instance Number.

    This is done only if all positions repeat equally often. Else some images are duplicates, and nothing says which.
    """
    positions = [sorted(images, key=_order) for images in _by_position(stack.frames)]
    numbered = all(len({_order(frame)[::2] for frame in images}) == len(images) for images in positions)
    if len({len(images) for images in positions}) > 1 or not numbered:
        return [stack]
    return [
        _Stack(list(frames), (*stack.split_by, f"repetition {number}"))
        for number, frames in enumerate(zip(*positions, strict=True), 1)
    ]


def _regions(stack: _Stack) -> list[_Stack]:
    """Return the stack split into evenly spaced regions; unchanged if it is even, or if that is not possible."""
    if _even(stack.frames):
        return [stack]
    for name, where in REGIONS:
        groups = _by_value(stack.frames, where)
        if 1 < len(groups) <= MOST_REGIONS and all(len(group) >= FEWEST_SLICES and _even(group) for _, group in groups):
            return [_Stack(group, (*stack.split_by, f"{name} {value}")) for value, group in groups]
    return [stack]


def _even(frames: Sequence[Frame]) -> bool:
    if len(frames) < FEWEST_SLICES:
        return True
    _, even = usual_distance(np.diff(np.sort(along_normal(frames))))
    return bool(even.all())
