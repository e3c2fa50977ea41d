"""Comprehensive 3D SR (PS3.3 A.35.13) of template TID 1500: what was found, measured, ruled out, or not possible.

Two reports: OHIF loses a whole one, and shows a black screen, over a single group without coordinates. So what has a
place on an image comes once more in a report of its own, with coordinates in every group and the same Tracking UIDs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from highdicom import sr
from highdicom.sr import RelationshipTypeValues as Relationship
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import Comprehensive3DSRStorage

from node.codes import DCM, LN, SCT, UCUM, Code, own
from node.compose.ascii_text import LO, concept, plain
from node.compose.content_items import walk
from node.compose.finish import finish
from node.compose.identity import MANUFACTURER, MODEL_NAME, RESEARCH_USE, Identity
from node.compose.outlines import Shape, closed, region_tracking_uid, things
from node.compose.seg import Outline, segmentable
from node.compose.source_images import copy_element
from node.errors import BrokenResult
from node.images.contours import contours
from node.images.frame import Frame
from node.images.series import Series
from node.results import Comparison, Finding, Measurement, NotSuitable, Region, Result, Segment

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

PRIOR_VALUE = own("PRIOR", "Value in the prior")
PRIOR_AGE = own("PRIOR_AGE", "Time since the prior")
CHANGE = own("CHANGE", "Change since the prior")
DOUBLING_TIME = own("DOUBLING_TIME", "Doubling time")
"""What a comparison tells beside the measurement; no public table has codes for it."""

AFTER_R_WAVE = own("AFTER_R_WAVE", "Time after the R wave")

MOST_POINTS = 4000
"""Of one outline; a spatial coordinate holds 8,191 (PS3.5 section 7.1.2: its length has two bytes)."""

_Group = (
    sr.MeasurementsAndQualitativeEvaluations
    | sr.PlanarROIMeasurementsAndQualitativeEvaluations
    | sr.VolumetricROIMeasurementsAndQualitativeEvaluations
)
About = Measurement | Finding | Comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class _Thing:
    """What a measurement group is about, whatever its place."""

    label: str
    tracking_uid: str
    type: Code
    category: Code | None = None
    site: Code | None = None
    laterality: Code | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What one group says of a thing: numbers, and what is present or absent."""

    measurements: tuple[sr.Measurement, ...] = ()
    evaluations: tuple[sr.QualitativeEvaluation, ...] = ()


def reports(
    inputs: Mapping[str, Series],
    results: Sequence[Result],
    outlines: Sequence[Outline],
    identity: Identity,
    *,
    number: int,
    predecessors: Sequence[Dataset] = (),
) -> list[Dataset]:
    """Return the report of a job, and where something has a place on an image a second one with coordinates.

    The first has a measurement group per segment, 3-D region and finding, and one on the images as a whole. The second
    has one per segment, its outline on the slice where it is largest, and one per region.

    Parameters
    ----------
    outlines
        Every segment of every segmentation among the results.
    number
        How many objects of the job come before them.
    predecessors
        Reports of the study's earlier revision, which these replace (PS3.3 C.17.2).

    Raises
    ------
    BrokenResult
        A measurement or finding is of something that is not among the results, or a code is none.
    """
    header = _first(inputs, identity).header
    _check_owners(results, outlines, identity)
    try:
        general = _general(results, outlines, identity)
        planar = _planar(inputs, results, outlines, identity)
        library = _library(inputs)
        trees = [("sr", "SR", _content(inputs, library, general, identity))]
        if planar:
            planar[0][0].ContentSequence.append(_comment(RESEARCH_USE))
            trees.append(("sr planar", "SR planar", _content(inputs, library, planar, identity)))
    except (TypeError, ValueError) as error:
        raise BrokenResult(f"plugin {identity.plugin} returned a result that DICOM cannot hold: {error}") from error
    made: list[Dataset] = []
    for order, (name, called, content) in enumerate(trees):
        built = _document(content, header, identity.uid(name))
        _evidence(built, inputs, outlines if name == "sr" else (), identity)
        earlier = [
            one
            for one in predecessors
            if one.SOPClassUID == Comprehensive3DSRStorage and is_planar(one) == (name != "sr")
        ]
        if earlier:
            built.PredecessorDocumentsSequence = _hierarchy(earlier)
        made.append(finish(built, header, identity, kind=called, modality="SR", number=number + order))
    return made


def is_planar(report: Dataset) -> bool:
    """Say whether every measurement group of a report has coordinates on an image (PS3.16 TID 1410)."""
    groups = [item for item in walk(report) if "ContentTemplateSequence" in item]
    templates = {str(item.ContentTemplateSequence[0].TemplateIdentifier) for item in groups}
    return "1410" in templates and not templates & {"1411", "1501"}


def _document(content: Dataset, header: Dataset, uid: str) -> Dataset:
    built = Dataset()
    built.update({element.tag: element for element in content})
    built.SOPClassUID = Comprehensive3DSRStorage
    built.SOPInstanceUID = uid
    built.CompletionFlag = "COMPLETE"
    built.VerificationFlag = "UNVERIFIED"
    built.PreliminaryFlag = "PRELIMINARY"
    built.ReferencedPerformedProcedureStepSequence = []
    built.PerformedProcedureCodeSequence = []
    if requests := _requests(header):
        built.ReferencedRequestSequence = requests
    return built


def _first(inputs: Mapping[str, Series], identity: Identity) -> Series:
    for series in inputs.values():
        if series.study_uid == identity.study_uid:
            return series
    raise BrokenResult(f"no input of plugin {identity.plugin} is of study {identity.study_uid}, which the job is for")


def _check_owners(results: Sequence[Result], outlines: Sequence[Outline], identity: Identity) -> None:
    """See that all that is measured is among the results, and once."""
    segments = [outline.segment for outline in outlines]
    for result in results:
        about = result.measurement if isinstance(result, Comparison) else result
        if not isinstance(about, Measurement | Finding) or about.of is None:
            continue
        if isinstance(about.of, Region):
            known = sum(about.of is other for other in results)
        else:
            known = segments.count(about.of)
        if not known:
            raise BrokenResult(
                f"plugin {identity.plugin} returned {plain(about.name.meaning)!r} of {plain(about.of.label)!r}, "
                "a segment in none of its segmentations: whoever made the plugin must yield that segmentation too"
            )
        if known > 1 and not isinstance(about.of, Region):
            raise BrokenResult(
                f"two segmentations have a segment {plain(about.of.label)!r}, so that its measurements belong to "
                "neither: whoever made the plugin must give them labels of their own"
            )


def _general(results: Sequence[Result], outlines: Sequence[Outline], identity: Identity) -> list[_Group]:
    """Return the groups of all that is not on one image: segments, places in the patient, findings, the whole."""
    groups: list[_Group] = []
    for outline in outlines:
        thing, said = _segment(outline), _bundles(_of(outline.segment, results))
        if outline.found and outline.objects:
            groups += [_volumetric(outline, thing, one, identity) for one in said]
            groups += [_volumetric(outline, thing, _Said(), identity, part) for part in outline.objects[1:]]
        else:
            absent = () if outline.found else (_evaluation(outline.segment.type, SCT.Absent),)
            groups += [_image_level(thing, _and(one, absent), identity) for one in said]
    for thing, region, said in _regions(results, identity):
        if region.in_patient:
            groups += [_on_plane(thing, one, _in_patient(region), identity) for one in said]
    loose = [result for result in results if isinstance(result, Finding) and result.of is None]
    groups += [_finding_group(order, finding, identity) for order, finding in enumerate(loose)]
    groups.append(_images_group(results, outlines, identity))
    return groups


def _planar(
    inputs: Mapping[str, Series], results: Sequence[Result], outlines: Sequence[Outline], identity: Identity
) -> list[_Group]:
    """Return the groups of all that has a place on an image, each with its coordinates there."""
    groups: list[_Group] = []
    for outline in outlines:
        if not outline.found:
            continue
        frame = outline.series.frames[outline.largest]
        border = _border(outline.result.plane(outline.largest, outline.number))
        place = _on_image(Shape(frame=frame, kind="POLYLINE", points=closed(border)))
        said = _bundles(_of(outline.segment, results))
        said[0] = _Said(measurements=(*said[0].measurements, *_area(outline, frame)), evaluations=said[0].evaluations)
        groups += [_on_plane(_segment(outline), one, place, identity) for one in said]
    drawn = {id(one.result): one for one in things(inputs, results, identity) if isinstance(one.result, Region)}
    for thing, region, said in _regions(results, identity):
        for shape in drawn[id(region)].shapes(_no_trace) if id(region) in drawn else ():
            groups += [_on_plane(thing, one, _on_image(shape), identity) for one in said]
    return groups


def _no_trace(_: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    return []


def _border(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the outer border of the largest area of a mask, of no more points than a report holds."""
    outer, _ = contours(mask)
    largest = max(outer, key=lambda loop: float(np.prod(np.ptp(loop, axis=0))))
    return largest[:: -(-len(largest) // MOST_POINTS)]


def _content(
    inputs: Mapping[str, Series], library: sr.ContainerContentItem, groups: Sequence[_Group], identity: Identity
) -> Dataset:
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer(identity)),
        procedure_reported=[concept(code) for code in _procedures(inputs)],
        imaging_measurements=groups,
        title=concept(DCM.ImagingMeasurementReport),
        language_of_content_item_and_descendants=sr.LanguageOfContentItemAndDescendants(LANGUAGE),
    )
    content: Dataset = report[0]
    items = list(content.ContentSequence)
    content.ContentSequence = [*items[:-1], library, items[-1]]
    return content


def _of(thing: Segment | Region, results: Sequence[Result]) -> list[About]:
    """Return what is said of a segment, or of that very region."""
    found: list[About] = []
    for result in results:
        about = result.measurement if isinstance(result, Comparison) else result
        if isinstance(result, About) and isinstance(about, Measurement | Finding) and about.of == thing:
            found.append(result)
    return found


def _bundles(about: Sequence[About]) -> list[_Said]:
    """Share out what is said of a thing among groups: a group has one finding with a number, or one comparison."""
    findings = [result for result in about if isinstance(result, Finding)]
    scored = [finding for finding in findings if finding.probability is not None]
    together = [finding for finding in findings if finding not in scored[1:]]
    measured = [_measurement(result) for result in about if isinstance(result, Measurement)]
    first = _Said(
        measurements=(*measured, *(score for finding in together for score in _scores(finding))),
        evaluations=tuple(_found(finding) for finding in together),
    )
    further = [_Said(measurements=tuple(_scores(one)), evaluations=(_found(one),)) for one in scored[1:]]
    compared = [_Said(measurements=tuple(_compared(one))) for one in about if isinstance(one, Comparison)]
    said = [first, *further, *compared]
    return said if first.measurements or first.evaluations or len(said) == 1 else said[1:]


def _and(said: _Said, evaluations: Sequence[sr.QualitativeEvaluation]) -> _Said:
    return _Said(measurements=said.measurements, evaluations=(*said.evaluations, *evaluations))


def _segment(outline: Outline) -> _Thing:
    segment = outline.segment
    placed = segment.region is not None or segment.laterality is not None
    return _Thing(
        label=segment.label,
        tracking_uid=outline.tracking_uid,
        type=segment.type,
        category=segment.category,
        site=(segment.region or segment.type) if placed else None,
        laterality=segment.laterality,
    )


def _regions(results: Sequence[Result], identity: Identity) -> Iterator[tuple[_Thing, Region, list[_Said]]]:
    for order, region in enumerate(result for result in results if isinstance(result, Region)):
        thing = _Thing(
            label=region.label,
            tracking_uid=region_tracking_uid(region, identity, order),
            type=region.type,
            category=region.category,
            site=region.site,
            laterality=region.laterality,
        )
        about = _of(region, results)
        if region.probability is not None:
            about.insert(
                0, Finding(name=region.type, present=True, probability=region.probability, calibrated=region.calibrated)
            )
        yield thing, region, _bundles(about)


def _common(thing: _Thing, said: _Said, identity: Identity) -> dict[str, Any]:
    return {
        "tracking_identifier": sr.TrackingIdentifier(uid=thing.tracking_uid, identifier=plain(thing.label, LO)),
        "finding_type": concept(thing.type),
        "finding_category": concept(thing.category) if thing.category else None,
        "finding_sites": [_site(thing.site, thing.laterality)] if thing.site else None,
        "algorithm_id": _algorithm(identity),
        "measurements": list(said.measurements),
        "qualitative_evaluations": list(said.evaluations),
    }


def _image_level(thing: _Thing, said: _Said, identity: Identity) -> _Group:
    return sr.MeasurementsAndQualitativeEvaluations(**_common(thing, said, identity))


def _volumetric(
    outline: Outline, thing: _Thing, said: _Said, identity: Identity, part: tuple[Dataset, int] | None = None
) -> _Group:
    made, number = part or outline.objects[0]
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=made.SOPClassUID,
            sop_instance_uid=made.SOPInstanceUID,
            segment_number=number,
            source_series=sr.SourceSeriesForSegmentation(outline.series.series_uid),
        ),
        **_common(thing, said, identity),
    )


def _on_plane(thing: _Thing, said: _Said, place: sr.ImageRegion | sr.ImageRegion3D, identity: Identity) -> _Group:
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(referenced_region=place, **_common(thing, said, identity))


def _on_image(shape: Shape) -> sr.ImageRegion:
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


def _in_patient(region: Region) -> sr.ImageRegion3D:
    point = region.kind == "point3d"
    return sr.ImageRegion3D(
        graphic_type=sr.GraphicTypeValues3D.POINT if point else sr.GraphicTypeValues3D.POLYGON,
        graphic_data=region.points if point else closed(region.points),
        frame_of_reference_uid=region.frame_of_reference_uid,
    )


def _area(outline: Outline, frame: Frame) -> list[sr.Measurement]:
    """Return the area in mm² of a segment on the slice where it is largest."""
    if frame.spacing is None:
        return []
    pixels = int(np.count_nonzero(outline.result.plane(outline.largest, outline.number)))
    square = round(pixels * frame.spacing[0] * frame.spacing[1], 6)
    return [sr.Measurement(concept(SCT.Area), square, concept(UCUM.SquareMillimeter))]


def _finding_group(order: int, finding: Finding, identity: Identity) -> _Group:
    thing = _Thing(
        label=finding.name.meaning,
        tracking_uid=identity.uid("tracking", "finding", str(order)),
        type=finding.name,
    )
    return _image_level(thing, _Said(measurements=tuple(_scores(finding)), evaluations=(_found(finding),)), identity)


def _compared(result: Comparison) -> Iterator[sr.Measurement]:
    """Return the measurement, and how it differs from the prior's."""
    unit = concept(result.measurement.unit)
    yield _measurement(result.measurement)
    yield sr.Measurement(concept(PRIOR_VALUE), result.prior, unit)
    yield sr.Measurement(concept(PRIOR_AGE), result.days, concept(UCUM.Day))
    yield sr.Measurement(concept(CHANGE), result.change, unit)
    if result.percent is not None:
        yield sr.Measurement(concept(CHANGE), round(result.percent, 6), concept(UCUM.Percent))
    if result.doubling_days is not None:
        yield sr.Measurement(concept(DOUBLING_TIME), round(result.doubling_days, 6), concept(UCUM.Day))


def _images_group(results: Sequence[Result], outlines: Sequence[Outline], identity: Identity) -> _Group:
    """Say how the analysis went: status, whether anything was found, measurements of the images as a whole, remarks."""
    reasons = [result.reason for result in results if isinstance(result, NotSuitable)]
    findings = [result for result in results if isinstance(result, Finding)]
    measured = [result for result in results if isinstance(result, Measurement) and result.of is None]
    regions = any(isinstance(result, Region) for result in results)
    found = regions or any(outline.found for outline in outlines) or any(finding.present for finding in findings)
    status = _STATUS.get((bool(reasons), len(results) > len(reasons)), DCM.Succeeded)
    evaluations = [sr.QualitativeEvaluation(concept(DCM.SummaryOfAnalyses), concept(status))]
    if found or outlines or findings or not measured:
        evaluations.append(
            sr.QualitativeEvaluation(concept(DCM.CADProcessingAndFindingsSummary), concept(_SUMMARY[status, found]))
        )
        if not found and not reasons:
            evaluations.append(sr.QualitativeEvaluation(concept(SCT.ImagingFinding), concept(SCT.Absent)))
    remarks = [RESEARCH_USE, *(f"Not suitable, because {reason}" for reason in reasons)]
    if any(outline.found and not segmentable(outline.series) for outline in outlines):
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
    group[0].ContentSequence.extend(_comment(remark) for remark in remarks)
    return group


def _comment(words: str) -> sr.TextContentItem:
    return sr.TextContentItem(concept(DCM.Comment), plain(words), Relationship.CONTAINS)


def _measurement(result: Measurement) -> sr.Measurement:
    measurement = sr.Measurement(
        name=concept(result.name),
        value=result.value,
        unit=concept(result.unit),
        derivation=concept(result.derivation) if result.derivation else None,
        finding_sites=[_site(result.site, result.laterality)] if result.site else None,
    )
    (item,) = measurement
    parameters = [
        _parameter(name, value, unit)
        for name, value, unit in (
            (DCM.PercentileRankingOfMeasurement, result.percentile, UCUM.Percent),
            (AFTER_R_WAVE, result.after_r_wave, UCUM.Millisecond),
        )
        if value is not None
    ]
    if parameters:
        item.ContentSequence = sr.ContentSequence([*item.get("ContentSequence", ()), *parameters])
    return measurement


def _parameter(name: Code, value: float, unit: Code) -> sr.NumContentItem:
    """Return what a value was derived with: which percentile it is, when in a heartbeat it was (TID 1419 row 13)."""
    return sr.NumContentItem(
        name=concept(name),
        value=value,
        unit=concept(unit),
        relationship_type=Relationship.INFERRED_FROM,
    )


def _found(finding: Finding) -> sr.QualitativeEvaluation:
    return _evaluation(finding.name, SCT.Present if finding.present else SCT.Absent)


def _evaluation(name: Code, value: Code) -> sr.QualitativeEvaluation:
    return sr.QualitativeEvaluation(concept(name), concept(value))


def _scores(finding: Finding) -> list[sr.Measurement]:
    """Return a calibrated probability as one, any other as the certainty that the device claims (DCM 111012)."""
    if finding.probability is None:
        return []
    if finding.calibrated:
        return [sr.Measurement(concept(DCM.Probability), float(finding.probability), concept(UCUM.NoUnits))]
    percent = round(finding.probability * 100, 6)
    return [sr.Measurement(concept(DCM.CertaintyOfFinding), percent, concept(UCUM.Percent))]


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


def observer(identity: Identity) -> sr.ObserverContext:
    """Return who observed: this node, with the algorithm as its name (PS3.16 TID 1004)."""
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
    source = concept(SCT.Source)
    group.ContentSequence.extend(_library_entry(header, source) for header in series.identities)
    return group


def _library_entry(header: Dataset, name: sr.CodedConcept) -> sr.ImageContentItem:
    return sr.ImageContentItem(
        name=name,
        referenced_sop_class_uid=header.SOPClassUID,
        referenced_sop_instance_uid=header.SOPInstanceUID,
        relationship_type=Relationship.CONTAINS,
    )


def _evidence(built: Dataset, inputs: Mapping[str, Series], outlines: Sequence[Outline], identity: Identity) -> None:
    """List all that the tree refers to: of this study, and of others such as priors (PS3.3 C.17.2.3)."""
    images = [header for series in inputs.values() for header in series.identities]
    objects = [made for outline in outlines for made, _ in outline.objects]
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
