"""What a report says of the images as a whole: the summary and its limits, status, findings, measurements."""

from collections.abc import Sequence

from highdicom import sr
from highdicom.sr import RelationshipTypeValues as Relationship

from node.codes import DCM, SCT, Code
from node.compose.ascii_text import concept, plain
from node.compose.case import Case
from node.compose.seg import takes_segmentation
from node.compose.sr.context import comment
from node.compose.sr.statement_items import (
    GroupContent,
    evaluation_item,
    measurement_item,
    presence_item,
    score_items,
)
from node.compose.sr.subjects import ReportedSegment
from node.compose.summary import is_positive, summary_sentence
from node.results import Caveat, Finding, Measurement, NotSuitable, Region

QUALITATIVE = Code("C0034375", "UMLS", "Qualitative Evaluations")
NOT_CALIBRATED = "A score for presence is the model's own number from 0 to 1: it is not calibrated, and no probability."
NO_SEGMENTATION = "No segmentation object was stored, because the images have no frame of reference."

STATUS = {(True, False): DCM.Failed, (True, True): DCM.PartiallySucceeded}
"""(some images were not suitable, there are other results) → status of results (PS3.16 CID 6042); else Succeeded."""

SUMMARY = {
    (DCM.Succeeded, True): DCM.AllAlgorithmsSucceededWithFindings,
    (DCM.Succeeded, False): DCM.AllAlgorithmsSucceededWithoutFindings,
    (DCM.PartiallySucceeded, True): DCM.NotAllAlgorithmsSucceededWithFindings,
    (DCM.PartiallySucceeded, False): DCM.NotAllAlgorithmsSucceededWithoutFindings,
    (DCM.Failed, False): DCM.NoAlgorithmsSucceededWithoutFindings,
}
"""(status, whether anything was found) → CAD processing and findings summary (PS3.16 CID 6047)."""


def whole_images_content(case: Case, segments: Sequence[ReportedSegment]) -> GroupContent:
    """Return status, findings without a place, and numbers of the images as a whole.

    The scores of what is present come first: OHIF prints the first three numbers of a group.
    """
    measured = [result for result in case.results_of(Measurement) if result.of is None]
    findings = [finding for finding in case.results_of(Finding) if finding.of is None]
    scores = [score for finding in findings for score in score_items(finding, named=True)]
    return GroupContent(
        measurements=(*scores, *(measurement_item(result) for result in measured)),
        evaluations=(
            *_evaluations(case, segments, has_measurements=bool(measured)),
            *(presence_item(finding) for finding in findings),
        ),
    )


def summary_texts(case: Case, segments: Sequence[ReportedSegment]) -> sr.ContainerContentItem:
    """Return what a reader reads first: the summary, what stands behind it, and its limits (TID 1500 rows 12, 14)."""
    container = sr.ContainerContentItem(concept(QUALITATIVE), relationship_type=Relationship.CONTAINS)
    summary = sr.TextContentItem(concept(DCM.Summary), plain(summary_sentence(case)), Relationship.CONTAINS)
    container.ContentSequence = sr.ContentSequence([summary, *(comment(text) for text in _comments(case, segments))])
    return container


def _evaluations(
    case: Case, segments: Sequence[ReportedSegment], *, has_measurements: bool
) -> list[sr.QualitativeEvaluation]:
    findings, unsuitable = case.results_of(Finding), case.results_of(NotSuitable)
    found = any(map(is_positive, case.results))
    status = STATUS.get((bool(unsuitable), len(case.results) > len(unsuitable)), DCM.Succeeded)
    evaluations = [evaluation_item(DCM.SummaryOfAnalyses, status)]
    if found or segments or findings or not has_measurements:
        evaluations.append(evaluation_item(DCM.CADProcessingAndFindingsSummary, SUMMARY[status, found]))
        if not found and not unsuitable:
            evaluations.append(evaluation_item(SCT.ImagingFinding, SCT.Absent))
    return evaluations


def _comments(case: Case, segments: Sequence[ReportedSegment]) -> list[str]:
    comments = [*case.identity.notices, *case.incomplete]
    comments += [result.text for result in case.results_of(Caveat)]
    if any(segment.found and not takes_segmentation(segment.series) for segment in segments):
        comments.append(NO_SEGMENTATION)
    findings = case.results_of(Finding)
    scored_regions = [region for region in case.results_of(Region) if region.score is not None]
    if scored_regions or any(finding.score is not None and not finding.calibrated for finding in findings):
        comments.append(NOT_CALIBRATED)
    points = (finding.operating_point for finding in findings)
    comments += [f"Operating points were measured on {on}" for on in dict.fromkeys(one.on for one in points if one)]
    return comments
