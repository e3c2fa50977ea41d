"""Measurement groups of the reports: on segments, regions and findings, with or without coordinates."""

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
from node.compose.sr.statement_items import (
    GroupContent,
    divide_statements,
    evaluation_item,
    finding_site,
    presence_item,
    score_items,
)
from node.compose.sr.subjects import GroupSubject, ReportedSegment, reported_regions, statements_on
from node.compose.sr.whole_images import whole_images_group
from node.images.contours import contours
from node.results import Finding, Region
from node.results.figures import reported

MOST_POINTS = 4000
"""Greatest number of points of an outline; a spatial coordinate holds 8,191 (its length has two bytes, PS3.5 7.1.2)."""

Group = (
    sr.MeasurementsAndQualitativeEvaluations
    | sr.PlanarROIMeasurementsAndQualitativeEvaluations
    | sr.VolumetricROIMeasurementsAndQualitativeEvaluations
)


def general_groups(case: Case, segments: Sequence[ReportedSegment]) -> list[Group]:
    """Return the groups without coordinates on an image: segments, regions in the patient, findings, all images."""
    groups: list[Group] = []
    for segment in segments:
        groups += _segment_groups(case, segment)
    for subject, region in reported_regions(case):
        if region.in_patient:
            place = _region_in_patient(region)
            groups += [_planar_group(case, subject, content, place) for content in _region_contents(case, region)]
    findings = [finding for finding in case.results_of(Finding) if finding.of is None]
    groups += [_finding_group(case, order, finding) for order, finding in enumerate(findings)]
    groups.append(whole_images_group(case, segments))
    return groups


def planar_groups(case: Case, segments: Sequence[ReportedSegment]) -> list[Group]:
    """Return the groups of all segments and regions that lie on an image, with their coordinates there."""
    groups: list[Group] = []
    for segment in (segment for segment in segments if segment.found):
        frame = segment.series.frames[segment.largest]
        outline = border(segment.result.plane(segment.largest, segment.number))
        place = _region_on_image(Shape(frame=frame, kind="POLYLINE", points=closed(outline)))
        first, *further = divide_statements(statements_on(case, segment.segment))
        first = replace(first, measurements=(*first.measurements, *_area(segment)))
        groups += [_planar_group(case, segment.subject, content, place) for content in (first, *further)]
    drawn = {id(drawable.result): drawable for drawable in drawables(case) if isinstance(drawable.result, Region)}
    for subject, region in reported_regions(case):
        for shape in drawn[id(region)].shapes(_no_outlines) if id(region) in drawn else ():
            place = _region_on_image(shape)
            groups += [_planar_group(case, subject, content, place) for content in _region_contents(case, region)]
    return groups


def border(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the outer border of the largest area of a mask (row, column), with at most `MOST_POINTS` points."""
    outer, _ = contours(mask)
    largest = max(outer, key=lambda loop: float(np.prod(np.ptp(loop, axis=0))))
    return largest[:: -(-len(largest) // MOST_POINTS)]


def _no_outlines(_: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    return []


def _segment_groups(case: Case, segment: ReportedSegment) -> list[Group]:
    """Return the groups of a segment: volumetric, or image-level if no Segmentation holds it.

    If several Segmentations hold it, each has a group, and the first has the content.
    """
    contents = divide_statements(statements_on(case, segment.segment))
    if segment.found and segment.objects:
        first, *others = segment.objects
        groups: list[Group] = [_volumetric_group(case, segment, content, *first) for content in contents]
        return groups + [_volumetric_group(case, segment, GroupContent(), *other) for other in others]
    absent = () if segment.found else (evaluation_item(segment.segment.type, SCT.Absent),)
    return [
        _image_level_group(case, segment.subject, replace(content, evaluations=(*content.evaluations, *absent)))
        for content in contents
    ]


def _region_contents(case: Case, region: Region) -> list[GroupContent]:
    """Return what is stated of a region, its own score first."""
    statements = statements_on(case, region)
    if region.score is not None:
        own = Finding(name=region.type, score=region.score, threshold=region.threshold)
        statements.insert(0, own)
    return divide_statements(statements)


def _finding_group(case: Case, order: int, finding: Finding) -> Group:
    subject = GroupSubject(
        label=finding.name.meaning,
        tracking_uid=case.identity.tracking_uid("finding", str(order)),
        type=finding.name,
    )
    content = GroupContent(measurements=tuple(score_items(finding)), evaluations=(presence_item(finding),))
    return _image_level_group(case, subject, content)


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


def _planar_group(
    case: Case, subject: GroupSubject, content: GroupContent, place: sr.ImageRegion | sr.ImageRegion3D
) -> Group:
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


def _region_on_image(shape: Shape) -> sr.ImageRegion:
    frame = shape.frame
    return sr.ImageRegion(
        graphic_type=sr.GraphicTypeValues(shape.kind),
        graphic_data=shape.points,
        source_image=sr.SourceImageForRegion(
            referenced_sop_class_uid=frame.sop_class_uid,
            referenced_sop_instance_uid=frame.sop_instance_uid,
            referenced_frame_numbers=[frame.number] if frame.multi_frame else None,
        ),
    )


def _region_in_patient(region: Region) -> sr.ImageRegion3D:
    point = region.kind == "point3d"
    return sr.ImageRegion3D(
        graphic_type=sr.GraphicTypeValues3D.POINT if point else sr.GraphicTypeValues3D.POLYGON,
        graphic_data=region.points if point else closed(region.points),
        frame_of_reference_uid=region.frame_of_reference_uid,
    )


def _area(segment: ReportedSegment) -> list[sr.Measurement]:
    """Return the area in mm² of a segment on the slice where it is largest; empty without a pixel spacing."""
    spacing = segment.series.frames[segment.largest].spacing
    if spacing is None:
        return []
    pixels = int(np.count_nonzero(segment.result.plane(segment.largest, segment.number)))
    area = reported(pixels * spacing[0] * spacing[1])
    return [sr.Measurement(concept(SCT.Area), area, concept(UCUM.SquareMillimeter))]
