"""Comprehensive 3D SR (PS3.3 A.35.13) of template TID 1500: what was found, measured, ruled out, or not possible."""

from collections.abc import Mapping, Sequence
from typing import Any

from highdicom import sr
from highdicom.sr import RelationshipTypeValues as Relationship
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import Comprehensive3DSRStorage

from node.codes import DCM, LN, SCT, UCUM, Code
from node.compose.finish import finish
from node.compose.identity import MANUFACTURER, MODEL_NAME, RESEARCH_USE, Identity
from node.compose.seg import Outline
from node.compose.source import copy_element
from node.compose.text import LO, concept, plain
from node.errors import BrokenResult
from node.results import Finding, Measurement, NotSuitable, Result, Segment
from node.series import Series

PROCEDURES = {
    "CT": LN.CTUnspecifiedBodyRegion,
    "MR": LN.MRIUnspecifiedBodyRegion,
    "PT": LN.PETUnspecifiedBodyRegion,
    "NM": LN.NMUnspecifiedBodyRegion,
    "CR": LN.XRUnspecifiedBodyRegion,
    "DX": LN.XRUnspecifiedBodyRegion,
}
"""Procedure Reported by Modality (PS3.16 CID 100); any other is an "imaging procedure"."""

MODALITIES = {code.value: code for code in (getattr(codes.cid29, name) for name in codes.cid29.dir())}
"""Acquisition modalities by their code value, which Modality (0008,0060) holds (PS3.16 CID 29)."""

NOT_CALIBRATED = "The certainty of a finding is the model's own score: it is not calibrated, and no probability."
NO_SEGMENTATION = "No segmentation object was stored, because the images have no frame of reference."

LANGUAGE = sr.CodedConcept("en-US", "RFC5646", "English (United States)")
"""Language of the report (PS3.16 TID 1204)."""

_STATUS = {(True, False): DCM.Failed, (True, True): DCM.PartiallySucceeded}
"""Status of results (PS3.16 CID 6042) by (some images were not suitable, there are other results); else Succeeded."""

_SUMMARY = {
    (DCM.Succeeded, True): DCM.AllAlgorithmsSucceededWithFindings,
    (DCM.Succeeded, False): DCM.AllAlgorithmsSucceededWithoutFindings,
    (DCM.PartiallySucceeded, True): DCM.NotAllAlgorithmsSucceededWithFindings,
    (DCM.PartiallySucceeded, False): DCM.NotAllAlgorithmsSucceededWithoutFindings,
    (DCM.Failed, False): DCM.NoAlgorithmsSucceededWithoutFindings,
}
"""CAD processing and findings summary (PS3.16 CID 6047) by (status, whether anything was found)."""

_Group = sr.MeasurementsAndQualitativeEvaluations | sr.VolumetricROIMeasurementsAndQualitativeEvaluations


def report(
    inputs: Mapping[str, Series],
    results: Sequence[Result],
    outlines: Sequence[Outline],
    identity: Identity,
    *,
    number: int,
    predecessors: Sequence[Dataset] = (),
) -> Dataset:
    """Return the report of a job: a measurement group per segment and per finding, and one on the images as a whole.

    Parameters
    ----------
    outlines
        Every segment of every segmentation among the results.
    number
        How many objects of the job come before it.
    predecessors
        Reports of the study's earlier revision, which this one replaces (PS3.3 C.17.2).

    Raises
    ------
    BrokenResult
        A measurement or finding is of a segment that is in no segmentation, or a code is none.
    """
    header = _first(inputs, identity).header
    try:
        content = _content(inputs, results, outlines, identity)
    except (TypeError, ValueError) as error:
        raise BrokenResult(f"plugin {identity.plugin} returned a result that DICOM cannot hold: {error}") from error
    built = Dataset()
    built.update({element.tag: element for element in content})
    built.SOPClassUID = Comprehensive3DSRStorage
    built.SOPInstanceUID = identity.uid("sr")
    built.CompletionFlag = "COMPLETE"
    built.VerificationFlag = "UNVERIFIED"
    built.PreliminaryFlag = "PRELIMINARY"
    built.ReferencedPerformedProcedureStepSequence = []
    built.PerformedProcedureCodeSequence = []
    _evidence(built, inputs, outlines, identity)
    if requests := _requests(header):
        built.ReferencedRequestSequence = requests
    if predecessors:
        built.PredecessorDocumentsSequence = _hierarchy(predecessors)
    return finish(built, header, identity, kind="SR", number=number)


def _first(inputs: Mapping[str, Series], identity: Identity) -> Series:
    for series in inputs.values():
        if series.study_uid == identity.study_uid:
            return series
    raise BrokenResult(f"no input of plugin {identity.plugin} is of study {identity.study_uid}, which the job is for")


def _content(
    inputs: Mapping[str, Series], results: Sequence[Result], outlines: Sequence[Outline], identity: Identity
) -> Dataset:
    groups: list[_Group] = []
    for outline in outlines:
        groups += _segment_groups(outline, _of(outline.segment, results, outlines), identity)
    loose = [result for result in results if isinstance(result, Finding) and result.of is None]
    groups += [_finding_group(order, finding, identity) for order, finding in enumerate(loose)]
    groups.append(_images_group(results, outlines, identity))
    known = {outline.segment for outline in outlines}
    for result in results:
        if isinstance(result, Measurement | Finding) and result.of is not None and result.of not in known:
            raise BrokenResult(
                f"plugin {identity.plugin} returned {plain(result.name.meaning)!r} of {plain(result.of.label)!r}, "
                "a segment in none of its segmentations: whoever made the plugin must yield that segmentation too"
            )
    report_ = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=_observer(identity)),
        procedure_reported=[concept(code) for code in _procedures(inputs)],
        imaging_measurements=groups,
        title=concept(DCM.ImagingMeasurementReport),
        language_of_content_item_and_descendants=sr.LanguageOfContentItemAndDescendants(LANGUAGE),
    )
    content: Dataset = report_[0]
    items = list(content.ContentSequence)
    content.ContentSequence = [*items[:-1], _library(inputs), items[-1]]
    return content


def _of(segment: Segment, results: Sequence[Result], outlines: Sequence[Outline]) -> list[Measurement | Finding]:
    found = [result for result in results if isinstance(result, Measurement | Finding) and result.of == segment]
    if found and sum(outline.segment == segment for outline in outlines) > 1:
        raise BrokenResult(
            f"two segmentations have a segment {plain(segment.label)!r}, so that its measurements belong to neither: "
            "whoever made the plugin must give them labels of their own"
        )
    return found


def _segment_groups(outline: Outline, results: Sequence[Measurement | Finding], identity: Identity) -> list[_Group]:
    """Return the group of a segment, and one more for each further finding with a number: a group has one at most."""
    findings = [result for result in results if isinstance(result, Finding)]
    scored = [finding for finding in findings if finding.probability is not None]
    together = [finding for finding in findings if finding not in scored[1:]]
    measured = [_measurement(result) for result in results if isinstance(result, Measurement)]
    first = _segment_group(outline, measured, together, identity)
    return [first, *(_segment_group(outline, [], [finding], identity) for finding in scored[1:])]


def _segment_group(
    outline: Outline, measurements: list[sr.Measurement], findings: Sequence[Finding], identity: Identity
) -> _Group:
    segment = outline.segment
    evaluations = [evaluation for finding in findings for evaluation in _evaluations(finding)]
    if not outline.found:
        evaluations.append(sr.QualitativeEvaluation(concept(segment.type), concept(SCT.Absent)))
    common: dict[str, Any] = {
        "tracking_identifier": sr.TrackingIdentifier(uid=outline.tracking_uid, identifier=plain(segment.label, LO)),
        "finding_type": concept(segment.type),
        "finding_category": concept(segment.category),
        "finding_sites": _sites(segment),
        "algorithm_id": _algorithm(identity),
        "measurements": measurements + [score for finding in findings for score in _scores(finding)],
        "qualitative_evaluations": evaluations,
    }
    if outline.object is None or not outline.found:
        return sr.MeasurementsAndQualitativeEvaluations(**common)
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=outline.object.SOPClassUID,
            sop_instance_uid=outline.object.SOPInstanceUID,
            segment_number=outline.number,
            source_series=sr.SourceSeriesForSegmentation(outline.series.series_uid),
        ),
        **common,
    )


def _finding_group(order: int, finding: Finding, identity: Identity) -> _Group:
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=identity.uid("tracking", "finding", str(order)), identifier=plain(finding.name.meaning, LO)
        ),
        finding_type=concept(finding.name),
        algorithm_id=_algorithm(identity),
        measurements=_scores(finding),
        qualitative_evaluations=_evaluations(finding),
    )


def _images_group(results: Sequence[Result], outlines: Sequence[Outline], identity: Identity) -> _Group:
    """Say how the analysis went: status, whether anything was found, measurements of the images as a whole, remarks."""
    reasons = [result.reason for result in results if isinstance(result, NotSuitable)]
    findings = [result for result in results if isinstance(result, Finding)]
    measured = [result for result in results if isinstance(result, Measurement) and result.of is None]
    found = any(outline.found for outline in outlines) or any(finding.present for finding in findings)
    status = _STATUS.get((bool(reasons), len(results) > len(reasons)), DCM.Succeeded)
    evaluations = [sr.QualitativeEvaluation(concept(DCM.SummaryOfAnalyses), concept(status))]
    if found or outlines or findings or not measured:
        evaluations.append(
            sr.QualitativeEvaluation(concept(DCM.CADProcessingAndFindingsSummary), concept(_SUMMARY[status, found]))
        )
        if not found and not reasons:
            evaluations.append(sr.QualitativeEvaluation(concept(SCT.ImagingFinding), concept(SCT.Absent)))
    remarks = [RESEARCH_USE, *(f"Not suitable, because {reason}" for reason in reasons)]
    if any(outline.found and outline.object is None for outline in outlines):
        remarks.append(NO_SEGMENTATION)
    if any(finding.probability is not None and not finding.calibrated for finding in findings):
        remarks.append(NOT_CALIBRATED)
    tracking = sr.TrackingIdentifier(uid=identity.uid("tracking", "images"), identifier="Images as a whole")
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking,
        finding_type=concept(SCT.ImagingFinding),
        algorithm_id=_algorithm(identity),
        measurements=[_measurement(result) for result in measured],
        qualitative_evaluations=evaluations,
    )
    group[0].ContentSequence.extend(
        sr.TextContentItem(concept(DCM.Comment), plain(remark), Relationship.CONTAINS) for remark in remarks
    )
    return group


def _measurement(result: Measurement) -> sr.Measurement:
    measurement = sr.Measurement(
        name=concept(result.name),
        value=result.value,
        unit=concept(result.unit),
        derivation=concept(result.derivation) if result.derivation else None,
        finding_sites=[_site(result.site, result.laterality)] if result.site else None,
    )
    if result.percentile is not None:
        (item,) = measurement
        item.ContentSequence = sr.ContentSequence([*item.get("ContentSequence", ()), _percentile(result.percentile)])
    return measurement


def _percentile(rank: float) -> sr.NumContentItem:
    """Return which percentile of what was measured a value is: the parameter it was derived with (TID 1419 row 13)."""
    return sr.NumContentItem(
        name=concept(DCM.PercentileRankingOfMeasurement),
        value=rank,
        unit=concept(UCUM.Percent),
        relationship_type=Relationship.INFERRED_FROM,
    )


def _evaluations(finding: Finding) -> list[sr.QualitativeEvaluation]:
    return [sr.QualitativeEvaluation(concept(finding.name), concept(SCT.Present if finding.present else SCT.Absent))]


def _scores(finding: Finding) -> list[sr.Measurement]:
    """Return a calibrated probability as one, any other as the certainty that the device claims (DCM 111012)."""
    if finding.probability is None:
        return []
    if finding.calibrated:
        return [sr.Measurement(concept(DCM.Probability), float(finding.probability), concept(UCUM.NoUnits))]
    percent = round(finding.probability * 100, 6)
    return [sr.Measurement(concept(DCM.CertaintyOfFinding), percent, concept(UCUM.Percent))]


def _sites(segment: Segment) -> list[sr.FindingSite] | None:
    if segment.region is None and segment.laterality is None:
        return None
    return [_site(segment.region or segment.type, segment.laterality)]


def _site(where: Code, laterality: Code | None) -> sr.FindingSite:
    return sr.FindingSite(concept(where), laterality=concept(laterality) if laterality else None)


def _algorithm(identity: Identity) -> sr.AlgorithmIdentification:
    return sr.AlgorithmIdentification(
        name=identity.algorithm,
        version=plain(identity.version, LO),
        parameters=[f"{name}: {value}" for name, value in identity.parameters.items()],
        family=concept(identity.family),
        manufacturer=plain(identity.manufacturer, LO) or None,
    )


def _observer(identity: Identity) -> sr.ObserverContext:
    return sr.ObserverContext(
        observer_type=concept(DCM.Device),
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=identity.device_uid,
            name=identity.algorithm,
            manufacturer_name=MANUFACTURER,
            model_name=MODEL_NAME,
            serial_number=identity.device_uid,
        ),
    )


def _procedures(inputs: Mapping[str, Series]) -> list[Code]:
    modalities = (series.modality for series in inputs.values())
    return list(dict.fromkeys(PROCEDURES.get(modality, codes.cid100.ImagingProcedure) for modality in modalities))


def _library(inputs: Mapping[str, Series]) -> sr.ContainerContentItem:
    """Return the Image Library (PS3.16 TID 1600): every image that was analysed, in a group per series."""
    library = sr.ContainerContentItem(concept(DCM.ImageLibrary), relationship_type=Relationship.CONTAINS)
    library.ContentSequence = sr.ContentSequence([_library_group(series) for series in inputs.values()])
    return library


def _library_group(series: Series) -> sr.ContainerContentItem:
    group = sr.ContainerContentItem(concept(DCM.ImageLibraryGroup), relationship_type=Relationship.CONTAINS)
    group.ContentSequence = sr.ContentSequence()
    context = Relationship.HAS_ACQ_CONTEXT
    if modality := MODALITIES.get(series.modality):
        group.ContentSequence.append(sr.CodeContentItem(concept(DCM.Modality), concept(modality), context))
    if series.frame_of_reference_uid:
        name = concept(DCM.FrameOfReferenceUID)
        group.ContentSequence.append(sr.UIDRefContentItem(name, series.frame_of_reference_uid, context))
    group.ContentSequence.extend(_library_entry(header) for header in series.identities)
    return group


def _library_entry(header: Dataset) -> sr.ImageContentItem:
    return sr.ImageContentItem(
        name=concept(SCT.Source),
        referenced_sop_class_uid=header.SOPClassUID,
        referenced_sop_instance_uid=header.SOPInstanceUID,
        relationship_type=Relationship.CONTAINS,
    )


def _evidence(built: Dataset, inputs: Mapping[str, Series], outlines: Sequence[Outline], identity: Identity) -> None:
    """List all that the tree refers to: of this study, and of others such as priors (PS3.3 C.17.2.3)."""
    images = [header for series in inputs.values() for header in series.identities]
    objects = [outline.object for outline in outlines if outline.object is not None]
    evidence = [*images, *objects]
    here = [dataset for dataset in evidence if dataset.StudyInstanceUID == identity.study_uid]
    elsewhere = [dataset for dataset in evidence if dataset.StudyInstanceUID != identity.study_uid]
    built.CurrentRequestedProcedureEvidenceSequence = _hierarchy(here)
    if elsewhere:
        built.PertinentOtherEvidenceSequence = _hierarchy(elsewhere)


def _hierarchy(datasets: Sequence[Dataset]) -> list[Dataset]:
    """Return references by study and series, each instance once (PS3.3 10.4, Table 10-3b)."""
    studies: dict[str, dict[str, dict[str, Dataset]]] = {}
    for dataset in datasets:
        item = Dataset()
        item.ReferencedSOPClassUID = dataset.SOPClassUID
        item.ReferencedSOPInstanceUID = dataset.SOPInstanceUID
        study = studies.setdefault(dataset.StudyInstanceUID, {})
        study.setdefault(dataset.SeriesInstanceUID, {})[dataset.SOPInstanceUID] = item
    return [_study(uid, series) for uid, series in studies.items()]


def _study(uid: str, by_series: Mapping[str, Mapping[str, Dataset]]) -> Dataset:
    study = Dataset()
    study.StudyInstanceUID = uid
    study.ReferencedSeriesSequence = []
    for series_uid, instances in by_series.items():
        series = Dataset()
        series.SeriesInstanceUID = series_uid
        series.ReferencedSOPSequence = list(instances.values())
        study.ReferencedSeriesSequence.append(series)
    return study


_REQUEST_TYPE_2 = (
    "AccessionNumber",
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
    "RequestedProcedureCodeSequence",
)


def _requests(header: Dataset) -> list[Dataset]:
    """Return the requests that the images answer, as Referenced Request items (PS3.3 C.17.2, Type 2 ones empty)."""
    requests = []
    for attributes in header.get("RequestAttributesSequence") or []:
        request = Dataset()
        request.StudyInstanceUID = attributes.get("StudyInstanceUID") or header.StudyInstanceUID
        request.ReferencedStudySequence = []
        for keyword in _REQUEST_TYPE_2:
            setattr(request, keyword, [] if keyword.endswith("Sequence") else None)
            for holder in (header, attributes):
                copy_element(holder, request, keyword)
        for code in request.RequestedProcedureCodeSequence:
            _drop_empty(code)
        requests.append(request)
    return requests


def _drop_empty(code: Dataset) -> None:
    """Take away what a code item has without a value, such as a version of its scheme (PS3.3 8.8: Type 1C)."""
    for element in list(code):
        if element.is_empty:
            del code[element.tag]
