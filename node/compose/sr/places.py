"""Where measurement groups have their place: outlines on images, and whole images for what has no place of its own.

OHIF shows no report, but a black viewport, if one group has no coordinates: docs/decisions/0007-one-report.md.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from highdicom import sr

from node.compose.case import Case
from node.compose.outlines import Shape, closed, locate_region
from node.compose.sr.subjects import ReportedSegment
from node.images.frame import Frame
from node.results import KeyImages, Region


def key_frame(case: Case, segments: Sequence[ReportedSegment]) -> Frame:
    """Return the image that a report opens on.

    The first key image of the study, else that of the first region, else where the first segment is largest, else the
    middle one.
    """
    middle = case.study_series[0].frames[len(case.study_series[0].frames) // 2]
    return next(_key_frames(case, segments), middle)


def _key_frames(case: Case, segments: Sequence[ReportedSegment]) -> Iterator[Frame]:
    """Yield the images that a report may open on, the best first; a region is located when it is asked for."""
    own = {frame.sop_instance_uid for series in case.study_series for frame in series.frames}
    for result in case.results_of(KeyImages):
        yield from (frame for frame in result.images if frame.sop_instance_uid in own)
    for region in case.results_of(Region):
        for series in case.study_series:
            if (position := locate_region(region, series)) is not None:
                yield series.frames[position.index]
    yield from (segment.series.frames[segment.largest] for segment in segments if segment.found)


def on_image(shape: Shape) -> sr.ImageRegion:
    """Return a shape on a frame (PS3.16 TID 1410: Image Region)."""
    return sr.ImageRegion(
        graphic_type=sr.GraphicTypeValues(shape.kind), graphic_data=shape.points, source_image=_source(shape.frame)
    )


def whole_image(frame: Frame) -> sr.ImageRegion:
    """Return the border of a frame; of a slide, that of all tiles (PS3.3 C.18.6.1)."""
    header = frame.header
    total = header.get("TotalPixelMatrixColumns"), header.get("TotalPixelMatrixRows")
    columns, rows = total if all(total) else (header.Columns, header.Rows)
    corners = closed(np.array([(0, 0), (columns, 0), (columns, rows), (0, rows)], float))
    if not all(total):
        return on_image(Shape(frame=frame, kind="POLYLINE", points=corners))
    return sr.ImageRegion(
        graphic_type=sr.GraphicTypeValues.POLYLINE,
        graphic_data=corners,
        source_image=sr.SourceImageForRegion(frame.sop_class_uid, frame.sop_instance_uid),
        pixel_origin_interpretation=sr.PixelOriginInterpretationValues.VOLUME,
    )


def in_patient(region: Region) -> sr.ImageRegion3D:
    """Return a region in the patient (PS3.16 TID 1410, SCOORD3D)."""
    point = region.kind == "point3d"
    return sr.ImageRegion3D(
        graphic_type=sr.GraphicTypeValues3D.POINT if point else sr.GraphicTypeValues3D.POLYGON,
        graphic_data=region.points if point else closed(region.points),
        frame_of_reference_uid=region.frame_of_reference_uid,
    )


def centre_on_image(case: Case, region: Region) -> sr.ImageRegion | None:
    """Return the centre of a region on the nearest image; None where it lies on none."""
    for series in case.study_series:
        if position := locate_region(region, series):
            frame = series.frames[position.index]
            return on_image(Shape(frame=frame, kind="POINT", points=position.points.mean(axis=0)[None]))
    return None


def _source(frame: Frame) -> sr.SourceImageForRegion:
    return sr.SourceImageForRegion(
        referenced_sop_class_uid=frame.sop_class_uid,
        referenced_sop_instance_uid=frame.sop_instance_uid,
        referenced_frame_numbers=[frame.number] if frame.multi_frame else None,
    )
