"""Measurement groups of a report: on the images as a whole, on segments and on regions."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from highdicom import sr
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node.codes import SCT, UCUM
from node.compose.ascii_text import LO, concept, plain
from node.compose.case import Case
from node.compose.outlines import Shape, closed, drawables
from node.compose.sr.context import algorithm_identification
from node.compose.sr.places import centre_on_image, in_patient, key_frame, on_image, whole_image
from node.compose.sr.statement_items import (
    GroupContent,
    divide_statements,
    evaluation_item,
    finding_site,
)
from node.compose.sr.subjects import GroupSubject, ReportedSegment, reported_regions, statements_on
from node.compose.sr.whole_images import whole_images_content
from node.images.contours import contours
from node.images.frame import Frame
from node.results import Finding, Region
from node.results.figures import reported

MOST_POINTS = 4000
"""Greatest number of points of an outline; a spatial coordinate holds 8,191 (its length has two bytes, PS3.5 7.1.2)."""

Group = (
    sr.MeasurementsAndQualitativeEvaluations
    | sr.PlanarROIMeasurementsAndQualitativeEvaluations
    | sr.VolumetricROIMeasurementsAndQualitativeEvaluations
)
Place = sr.ImageRegion | sr.ImageRegion3D


def measurement_groups(case: Case, segments: Sequence[ReportedSegment]) -> list[Group]:
    """Return the groups of a report, each with coordinates on an image, or beside one that has.

    First comes the group on the images as a whole. A segment has a volumetric group, which refers to the Segmentation
    and has all numbers, and with the same Tracking UID a planar group, with its outline on the slice where it is
    largest. So has a region in the patient: one group on the image, one in space. What was looked for and is on no
    image has the whole image as its place.
    """
    frame = key_frame(case, segments)
    groups: list[Group] = [_whole_images_group(case, segments, frame)]
    for segment in segments:
        groups += _segment_groups(case, segment, frame)
    drawn = {id(drawable.result): drawable for drawable in drawables(case) if isinstance(drawable.result, Region)}
    for subject, region in reported_regions(case):
        shapes = list(drawn[id(region)].shapes(_no_outlines)) if id(region) in drawn else []
        places: list[Place] = [on_image(shape) for shape in shapes]
        if not places:
            places = [centre_on_image(case, region) or whole_image(frame)]
        groups += [_planar_group(case, subject, content, places[0]) for content in _region_contents(case, region)]
        further = [*places[1:], *([in_patient(region)] if region.in_patient else [])]
        groups += [_planar_group(case, subject, GroupContent(), place) for place in further]
    return groups


def border(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the outer border of the largest area of a mask (row, column), with at most `MOST_POINTS` points."""
    outer, _ = contours(mask)
    largest = max(outer, key=lambda loop: float(np.prod(np.ptp(loop, axis=0))))
    return largest[:: -(-len(largest) // MOST_POINTS)]


def _no_outlines(_: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    return []


def _segment_groups(case: Case, segment: ReportedSegment, frame: Frame) -> list[Group]:
    """Return the groups of a segment: volumetric ones, and its outline; that of the whole image if it was not found.

    If several Segmentations hold it, each has a group, and the first has the content. If none does, the content is at
    image level, with the same Tracking UID.
    """
    contents = divide_statements(statements_on(case, segment.segment))
    if not segment.found:
        absent = evaluation_item(segment.segment.type, SCT.Absent)
        contents = [replace(content, evaluations=(*content.evaluations, absent)) for content in contents]
        return [_planar_group(case, segment.subject, content, whole_image(frame)) for content in contents]
    largest = segment.series.frames[segment.largest]
    outline = border(segment.result.plane(segment.largest, segment.number))
    place = on_image(Shape(frame=largest, kind="POLYLINE", points=closed(outline)))
    outlined = _planar_group(case, segment.subject, GroupContent(measurements=tuple(_area(segment))), place)
    if not segment.objects:
        return [*(_image_level_group(case, segment.subject, content) for content in contents), outlined]
    first, *others = segment.objects
    return [
        *(_volumetric_group(case, segment, content, *first) for content in contents),
        *(_volumetric_group(case, segment, GroupContent(), *other) for other in others),
        outlined,
    ]


def _region_contents(case: Case, region: Region) -> list[GroupContent]:
    """Return what is stated of a region, its own score first."""
    statements = statements_on(case, region)
    if region.score is not None:
        own = Finding(name=region.type, score=region.score, threshold=region.threshold)
        statements.insert(0, own)
    return divide_statements(statements)


def _whole_images_group(case: Case, segments: Sequence[ReportedSegment], frame: Frame) -> Group:
    """Return the group on the images as a whole: status, findings without a place, and their numbers."""
    subject = GroupSubject(
        label="Images as a whole", tracking_uid=case.identity.uid("tracking", "images"), type=SCT.ImagingFinding
    )
    return _planar_group(case, subject, whole_images_content(case, segments), whole_image(frame))


def _image_level_group(case: Case, subject: GroupSubject, content: GroupContent) -> Group:
    return sr.MeasurementsAndQualitativeEvaluations(**_common(case, subject, content))


def _volumetric_group(case: Case, segment: ReportedSegment, content: GroupContent, seg: Dataset, number: int) -> Group:
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=seg.SOPClassUID,
            sop_instance_uid=seg.SOPInstanceUID,
            segment_number=number,
            source_series=sr.SourceSeriesForSegmentation(segment.series.series_uid),
        ),
        **_common(case, segment.subject, content),
    )


def _planar_group(case: Case, subject: GroupSubject, content: GroupContent, place: Place) -> Group:
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(referenced_region=place, **_common(case, subject, content))


def _common(case: Case, subject: GroupSubject, content: GroupContent) -> dict[str, Any]:
    return {
        "tracking_identifier": sr.TrackingIdentifier(uid=subject.tracking_uid, identifier=plain(subject.label, LO)),
        "finding_type": concept(subject.type),
        "finding_category": concept(subject.category) if subject.category else None,
        "finding_sites": [finding_site(subject.site, subject.laterality)] if subject.site else None,
        "algorithm_id": algorithm_identification(case.identity),
        "measurements": list(content.measurements),
        "qualitative_evaluations": list(content.evaluations),
    }


def _area(segment: ReportedSegment) -> list[sr.Measurement]:
    """Return the area in mm² of a segment on the slice where it is largest; empty without a pixel spacing."""
    spacing = segment.series.frames[segment.largest].spacing
    if spacing is None:
        return []
    pixels = int(np.count_nonzero(segment.result.plane(segment.largest, segment.number)))
    area = reported(pixels * spacing[0] * spacing[1])
    return [sr.Measurement(concept(SCT.Area), area, concept(UCUM.SquareMillimeter))]
