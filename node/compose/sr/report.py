"""The report of a case: what was found, measured, ruled out, or not possible. There is one, and it is whole."""

from collections.abc import Iterator, Mapping, Sequence

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.uid import (
    ColorSoftcopyPresentationStateStorage,
    Comprehensive3DSRStorage,
    DeformableSpatialRegistrationStorage,
    KeyObjectSelectionDocumentStorage,
    MammographyCADSRStorage,
    ParametricMapStorage,
    RTStructureSetStorage,
    SpatialRegistrationStorage,
)

from node.codes import DCM
from node.compose.ascii_text import concept
from node.compose.case import Case
from node.compose.content_items import walk
from node.compose.finish import count_series, finish
from node.compose.object_references import by_study
from node.compose.sc import heatmap_uid
from node.compose.sr.context import LANGUAGE, observer_context, procedures_reported
from node.compose.sr.evidence import add_evidence, referenced_requests
from node.compose.sr.groups import measurement_groups
from node.compose.sr.image_library import image_library
from node.compose.sr.subjects import ReportedSegment, check_subjects, reported_segments
from node.compose.sr.whole_images import summary_texts
from node.compose.summary import glance
from node.errors import BrokenResult
from node.profiles import NAMED, SOP_CLASSES, Kind
from node.results import Heatmap

KINDS: Mapping[str, Kind] = {
    **SOP_CLASSES,
    ColorSoftcopyPresentationStateStorage: "GSPS",
    DeformableSpatialRegistrationStorage: "DEFORMABLE",
    KeyObjectSelectionDocumentStorage: "KO",
    MammographyCADSRStorage: "MGCAD",
    ParametricMapStorage: "PM",
    RTStructureSetStorage: "RTSTRUCT",
    SpatialRegistrationStorage: "REG",
}
"""SOP Class UID → kind; derived images have the SOP class of their source."""


def compose_sr(case: Case, made: Sequence[Dataset]) -> Iterator[Dataset]:
    """Yield the report of a case (PS3.16 TID 1500).

    It begins with the summary and its limits. Then come measurement groups on the images as a whole, on segments and on
    regions, each of which has coordinates on an image. It refers to the Segmentations in `made`, and lists the other
    objects there as evidence, if they are of the kinds that `NAMED` has. The picture of a heat map is listed where it
    stands in for a Parametric Map.

    Raises
    ------
    BrokenResult
        A measurement or finding is of a segment or region that is not among the results, or a code is invalid.
    """
    segments = reported_segments(case, made)
    check_subjects(case, segments)
    try:
        content = _content(case, segments)
    except (TypeError, ValueError) as error:
        raise BrokenResult(
            f"plugin {case.identity.plugin} returned a result that DICOM cannot hold: {error}"
        ) from error
    report = _report(case, content)
    named = [seg for segment in segments for seg, _ in segment.objects]
    pictures = _pictures_of_maps(case)
    named += [one for one in made if KINDS.get(one.SOPClassUID, "DERIVED") in NAMED or one.SOPInstanceUID in pictures]
    add_evidence(report, case, named)
    done = finish(report, case.header, case.identity, kind="SR", modality="SR", number=count_series(made))
    done.SeriesDescription = case.identity.report_description(glance(case))
    yield done


def _pictures_of_maps(case: Case) -> set[str]:
    """Return the UIDs of pictures that stand in for Parametric Maps: every destination of the report gets them."""
    if "PM" not in case.identity.objects:
        return set()
    return {heatmap_uid(case.identity, order) for order in range(len(case.results_of(Heatmap)))}


def _content(case: Case, segments: Sequence[ReportedSegment]) -> Dataset:
    """Return the content tree: after its context the summary, the image library, and the measurement groups."""
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer_context(case.identity)),
        procedure_reported=[concept(code) for code in procedures_reported(case)],
        imaging_measurements=measurement_groups(case, segments),
        title=concept(DCM.ImagingMeasurementReport),
        language_of_content_item_and_descendants=sr.LanguageOfContentItemAndDescendants(LANGUAGE),
    )
    content: Dataset = report[0]
    items = list(content.ContentSequence)
    content.ContentSequence = [*items[:-1], summary_texts(case, segments), image_library(case), items[-1]]
    for container in walk(content):
        if container.ValueType == "CONTAINER":
            container.ContinuityOfContent = "SEPARATE"  # items are no running text, and viewers print their names
    return content


def _report(case: Case, content: Dataset) -> Dataset:
    built = Dataset()
    built.update({element.tag: element for element in content})
    built.SOPClassUID = Comprehensive3DSRStorage
    built.SOPInstanceUID = case.identity.uid("sr")
    built.CompletionFlag = "COMPLETE"
    built.VerificationFlag = "UNVERIFIED"
    built.PreliminaryFlag = "PRELIMINARY"
    built.ReferencedPerformedProcedureStepSequence = []
    built.PerformedProcedureCodeSequence = []
    if requests := referenced_requests(case.header):
        built.ReferencedRequestSequence = requests
    earlier = [report for report in case.predecessors if report.SOPClassUID == Comprehensive3DSRStorage]
    if earlier:
        built.PredecessorDocumentsSequence = by_study(earlier)
    return built
