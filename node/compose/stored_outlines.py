"""Outlines read back from kept objects: what a presentation state is made of when an object is not taken."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from highdicom.color import CIELabColor
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import iter_pixels

from node.codes import DCM
from node.compose.content_items import walk
from node.compose.gsps import Drawn
from node.compose.outlines import Graphic, Mark, Shape, closed
from node.compose.seg import PALETTE
from node.images.contours import Loop, contours
from node.images.series import Frame
from node.results import MASK_THRESHOLD

Place = tuple[str, int]
"""SOP Instance UID and frame number of an image."""
TYPES = ("BINARY", "LABELMAP", "FRACTIONAL")
"""Segmentation Types, the best to draw by first."""
BACKGROUND = 0


Line = tuple[Mark, Place, Graphic, Loop]
"""One outline: of what, on which image, and as `Shape` has it."""


def recall(objects: Sequence[Dataset], frames: Mapping[Place, Frame]) -> list[Drawn]:
    """Return what the Segmentations and reports of a job draw on images, frame by frame.

    A segment is outlined on every slice where a Segmentation has it; a report knows it on one. Regions have the colours
    of the palette, in the order of the report: it tells no others.
    """
    shapes: dict[Place, dict[str, tuple[Mark, list[Shape]]]] = {}
    known: set[str] = set()
    for lines in _sources(objects):
        new = [line for line in lines if line[0].tracking_uid not in known and line[1] in frames]
        for mark, place, kind, points in new:
            _, drawn = shapes.setdefault(place, {}).setdefault(mark.tracking_uid, (mark, []))
            if not any(np.array_equal(one.points, points) for one in drawn):  # a report has a group per finding
                drawn.append(Shape(frame=frames[place], kind=kind, points=points))
        known |= {mark.tracking_uid for mark, *_ in new}
    return [(frame, *one) for place, frame in frames.items() for one in shapes.get(place, {}).values()]


def _sources(objects: Sequence[Dataset]) -> Iterator[Iterator[Line]]:
    """Return the outlines, from what knows most of a thing on."""
    for kind in TYPES:
        yield chain.from_iterable(_segments(one) for one in objects if one.get("SegmentationType") == kind)
    for report in objects:
        if report.Modality == "SR":
            yield _regions(report)


def _segments(made: Dataset) -> Iterator[Line]:
    items = [item for item in made.SegmentSequence if item.SegmentNumber != BACKGROUND]
    marks = {int(item.SegmentNumber): _mark_of(item) for item in items}
    shared = made.SharedFunctionalGroupsSequence[0]
    for pixels, group in zip(iter_pixels(made), made.PerFrameFunctionalGroupsSequence, strict=True):
        reference = group.DerivationImageSequence[0].SourceImageSequence[0]
        place = str(reference.ReferencedSOPInstanceUID), int(reference.get("ReferencedFrameNumber") or 1)
        for number, mask in _masks(made, pixels, group, shared):
            for loop in chain(*contours(mask)):
                yield marks[number], place, "POLYLINE", closed(loop)


def _masks(
    made: Dataset, pixels: NDArray[Any], group: Dataset, shared: Dataset
) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Return which segments are in a frame, by number, and which pixels are theirs."""
    if made.SegmentationType == "LABELMAP":
        for number in np.unique(pixels[pixels != BACKGROUND]):
            yield int(number), pixels == number
        return
    holder = group if "SegmentIdentificationSequence" in group else shared
    least = MASK_THRESHOLD * int(made.get("MaximumFractionalValue") or 1)
    yield int(holder.SegmentIdentificationSequence[0].ReferencedSegmentNumber), pixels >= least


def _mark_of(item: Dataset) -> Mark:
    color = CIELabColor.from_dicom_value(item.RecommendedDisplayCIELabValue).to_rgb()
    return Mark(label=str(item.SegmentLabel), color=color, tracking_uid=str(item.TrackingUID))


def _regions(report: Dataset) -> Iterator[Line]:
    marks: dict[str, Mark] = {}
    for group in walk(report):
        named = {item.ConceptNameCodeSequence[0].CodeValue: item for item in group.get("ContentSequence") or ()}
        place = next((item for item in named.values() if item.ValueType == "SCOORD"), None)
        if place is None or DCM.TrackingUniqueIdentifier.value not in named:
            continue
        uid = str(named[DCM.TrackingUniqueIdentifier.value].UID)
        label = str(named[DCM.TrackingIdentifier.value].TextValue)
        mark = marks.setdefault(uid, Mark(label=label, color=PALETTE[len(marks) % len(PALETTE)], tracking_uid=uid))
        reference = place.ContentSequence[0].ReferencedSOPSequence[0]
        image = str(reference.ReferencedSOPInstanceUID), int(reference.get("ReferencedFrameNumber") or 1)
        yield mark, image, place.GraphicType, np.reshape(np.array(place.GraphicData, np.float64), (-1, 2))
