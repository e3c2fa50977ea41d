"""The two reports of a case: what was found, measured, ruled out, or not possible.

OHIF loses a whole report, and shows a black screen, if a single group has no coordinates. So everything that lies on an
image comes once more in a second report, with coordinates in every group and the same Tracking UIDs.
"""

from collections.abc import Iterator, Sequence

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from node.codes import DCM
from node.compose.ascii_text import concept
from node.compose.case import Case
from node.compose.content_items import walk
from node.compose.finish import count_series, finish
from node.compose.object_references import by_study
from node.compose.sr.context import LANGUAGE, comment, observer_context, procedures_reported
from node.compose.sr.evidence import add_evidence, referenced_requests
from node.compose.sr.groups import Group, general_groups, planar_groups
from node.compose.sr.image_library import image_library
from node.compose.sr.subjects import ReportedSegment, check_subjects, reported_segments
from node.errors import BrokenResult


def compose_sr(case: Case, made: Sequence[Dataset]) -> Iterator[Dataset]:
    """Yield the report of a case, and a second one with coordinates if something lies on an image.

    The first has a measurement group for each segment, region in the patient and finding, and one on the images as a
    whole. The second has a group for each segment, with its outline on the slice where it is largest, and for each
    region. The reports refer to the Segmentations in `made`.

    Raises
    ------
    BrokenResult
        A measurement or finding is of a segment or region that is not among the results, or a code is invalid.
    """
    segments = reported_segments(case, made)
    check_subjects(case, segments)
    try:
        general = _content(case, general_groups(case, segments))
        planar = _planar_content(case, segments)
    except (TypeError, ValueError) as error:
        raise BrokenResult(
            f"plugin {case.identity.plugin} returned a result that DICOM cannot hold: {error}"
        ) from error
    report = _report(case, general, "sr", planar=False)
    add_evidence(report, case, [seg for segment in segments for seg, _ in segment.objects])
    yield finish(report, case.header, case.identity, kind="SR", modality="SR", number=count_series(made))
    if planar is not None:
        report = _report(case, planar, "sr planar", planar=True)
        add_evidence(report, case)
        yield finish(report, case.header, case.identity, kind="SR planar", modality="SR", number=count_series(made))


def is_planar(report: Dataset) -> bool:
    """Return whether every measurement group of a report has coordinates on an image (PS3.16 TID 1410)."""
    groups = [item for item in walk(report) if "ContentTemplateSequence" in item]
    templates = {str(item.ContentTemplateSequence[0].TemplateIdentifier) for item in groups}
    return "1410" in templates and not templates & {"1411", "1501"}


def _planar_content(case: Case, segments: Sequence[ReportedSegment]) -> Dataset | None:
    groups = planar_groups(case, segments)
    if not groups:
        return None
    groups[0][0].ContentSequence.extend(comment(text) for text in (*case.identity.notices, *case.incomplete))
    return _content(case, groups)


def _content(case: Case, groups: Sequence[Group]) -> Dataset:
    """Return the content tree (PS3.16 TID 1500), with the image library before the measurement groups."""
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer_context(case.identity)),
        procedure_reported=[concept(code) for code in procedures_reported(case)],
        imaging_measurements=groups,
        title=concept(DCM.ImagingMeasurementReport),
        language_of_content_item_and_descendants=sr.LanguageOfContentItemAndDescendants(LANGUAGE),
    )
    content: Dataset = report[0]
    items = list(content.ContentSequence)
    content.ContentSequence = [*items[:-1], image_library(case), items[-1]]
    return content


def _report(case: Case, content: Dataset, name: str, *, planar: bool) -> Dataset:
    built = Dataset()
    built.update({element.tag: element for element in content})
    built.SOPClassUID = Comprehensive3DSRStorage
    built.SOPInstanceUID = case.identity.uid(name)
    built.CompletionFlag = "COMPLETE"
    built.VerificationFlag = "UNVERIFIED"
    built.PreliminaryFlag = "PRELIMINARY"
    built.ReferencedPerformedProcedureStepSequence = []
    built.PerformedProcedureCodeSequence = []
    if requests := referenced_requests(case.header):
        built.ReferencedRequestSequence = requests
    earlier = [report for report in case.predecessors if _is_predecessor(report, planar=planar)]
    if earlier:
        built.PredecessorDocumentsSequence = by_study(earlier)
    return built


def _is_predecessor(report: Dataset, *, planar: bool) -> bool:
    return bool(report.SOPClassUID == Comprehensive3DSRStorage) and is_planar(report) == planar
