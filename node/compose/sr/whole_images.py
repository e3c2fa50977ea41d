"""The measurement group on the images as a whole: status of the analysis, summary, measurements, comments."""

from collections.abc import Sequence

from highdicom import sr

from node.codes import DCM, SCT
from node.compose.ascii_text import concept
from node.compose.case import Case
from node.compose.seg import takes_segmentation
from node.compose.sr.context import algorithm_identification, comment
from node.compose.sr.statement_items import evaluation_item, measurement_item
from node.compose.sr.subjects import ReportedSegment
from node.results import Caveat, Finding, Measurement, NotSuitable, Region

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


def whole_images_group(case: Case, segments: Sequence[ReportedSegment]) -> sr.MeasurementsAndQualitativeEvaluations:
    """Return the group (PS3.16 TID 1501)."""
    measured = [result for result in case.results_of(Measurement) if result.of is None]
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=case.identity.tracking_uid("images"), identifier="Images as a whole"
        ),
        finding_type=concept(SCT.ImagingFinding),
        algorithm_id=algorithm_identification(case.identity),
        measurements=[measurement_item(result) for result in measured],
        qualitative_evaluations=_evaluations(case, segments, has_measurements=bool(measured)),
    )
    group[0].ContentSequence.extend(comment(text) for text in _comments(case, segments))
    return group


def _evaluations(
    case: Case, segments: Sequence[ReportedSegment], *, has_measurements: bool
) -> list[sr.QualitativeEvaluation]:
    findings, unsuitable = case.results_of(Finding), case.results_of(NotSuitable)
    found = (
        bool(case.results_of(Region))
        or any(segment.found for segment in segments)
        or any(finding.present for finding in findings)
    )
    status = STATUS.get((bool(unsuitable), len(case.results) > len(unsuitable)), DCM.Succeeded)
    evaluations = [evaluation_item(DCM.SummaryOfAnalyses, status)]
    if found or segments or findings or not has_measurements:
        evaluations.append(evaluation_item(DCM.CADProcessingAndFindingsSummary, SUMMARY[status, found]))
        if not found and not unsuitable:
            evaluations.append(evaluation_item(SCT.ImagingFinding, SCT.Absent))
    return evaluations


def _comments(case: Case, segments: Sequence[ReportedSegment]) -> list[str]:
    comments = [*case.identity.notices, *case.incomplete]
    comments += [f"Not suitable, because {result.reason}" for result in case.results_of(NotSuitable)]
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
