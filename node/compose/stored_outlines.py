"""Outlines read from stored objects, from which a presentation state is made if a destination refuses an object."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

import numpy as np
from highdicom.color import CIELabColor
from pydicom.dataset import Dataset

from node.codes import DCM
from node.compose.content_items import walk
from node.compose.outlines import Annotation, Drawing, Graphic, Shape, closed
from node.compose.palette import palette_color
from node.images.contours import Loop, contours
from node.images.frame import Frame
from node.results.stored_masks import BACKGROUND, FrameKey, frame_key, read_masks

TYPES = ("BINARY", "LABELMAP", "FRACTIONAL")
"""Segmentation Types, the best to draw from first."""

StoredOutline = tuple[Annotation, FrameKey, Graphic, Loop]
"""One outline: its annotation, its image, and kind and points as in `Shape`."""


def read_stored_outlines(objects: Sequence[Dataset], frames: Mapping[FrameKey, Frame]) -> list[Drawing]:
    """Return what the Segmentations and reports of a job outline on images, frame by frame.

    A Segmentation has the outline of a segment on every slice, a report has it on one slice; so Segmentations are read
    first. Regions get the colours of the palette in the order of the report, which stores no colours.
    """
    shapes: dict[FrameKey, dict[str, tuple[Annotation, list[Shape]]]] = {}
    known: set[str] = set()
    for outlines in _sources(objects):
        new = [outline for outline in outlines if outline[0].tracking_uid not in known and outline[1] in frames]
        for annotation, key, kind, points in new:
            of_frame = shapes.setdefault(key, {})
            _, drawn = of_frame.setdefault(annotation.tracking_uid, (annotation, []))
            if _is_border(frames[key], points):  # the place of what has none
                continue
            if not any(np.array_equal(shape.points, points) for shape in drawn):  # a report has a group per finding
                drawn.append(Shape(frame=frames[key], kind=kind, points=points))
        known |= {annotation.tracking_uid for annotation, *_ in new}
    return [
        (frame, annotation, drawn)
        for key, frame in frames.items()
        for annotation, drawn in shapes.get(key, {}).values()
        if drawn
    ]


def _is_border(frame: Frame, points: Loop) -> bool:
    corner = frame.header.get("Columns"), frame.header.get("Rows")
    return len(points) == 5 and not points.min() and tuple(points.max(axis=0)) == corner and not points[0].any()


def _sources(objects: Sequence[Dataset]) -> Iterator[Iterator[StoredOutline]]:
    """Yield the outlines of one kind of object after the other, the most complete kind first."""
    for kind in TYPES:
        yield chain.from_iterable(_segments(seg) for seg in objects if seg.get("SegmentationType") == kind)
    for report in objects:
        if report.Modality == "SR":
            yield _regions(report)


def _segments(made: Dataset) -> Iterator[StoredOutline]:
    items = [item for item in made.SegmentSequence if item.SegmentNumber != BACKGROUND]
    annotations = {int(item.SegmentNumber): _annotation(item) for item in items}
    for key, number, mask in read_masks(made):
        for loop in chain(*contours(mask)):
            yield annotations[number], key, "POLYLINE", closed(loop)


def _annotation(item: Dataset) -> Annotation:
    color = CIELabColor.from_dicom_value(item.RecommendedDisplayCIELabValue).to_rgb()
    return Annotation(label=str(item.SegmentLabel), color=color, tracking_uid=str(item.TrackingUID))


def _regions(report: Dataset) -> Iterator[StoredOutline]:
    annotations: dict[str, Annotation] = {}
    for group in walk(report):
        items = {item.ConceptNameCodeSequence[0].CodeValue: item for item in group.get("ContentSequence") or ()}
        outline = next((item for item in items.values() if item.ValueType == "SCOORD"), None)
        if outline is None or DCM.TrackingUniqueIdentifier.value not in items:
            continue
        uid = str(items[DCM.TrackingUniqueIdentifier.value].UID)
        label = str(items[DCM.TrackingIdentifier.value].TextValue)
        color = palette_color(len(annotations))
        annotation = annotations.setdefault(uid, Annotation(label=label, color=color, tracking_uid=uid))
        reference = outline.ContentSequence[0].ReferencedSOPSequence[0]
        points = np.reshape(np.array(outline.GraphicData, np.float64), (-1, 2))
        yield annotation, frame_key(reference), outline.GraphicType, points
