"""Mammography CAD SR (PS3.3 A.35.5) of template TID 4000, for workstations that mark the findings of a CAD."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from highdicom import sr
from highdicom.sr import RelationshipTypeValues as Relationship
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import MammographyCADSRStorage

from node.codes import DCM, SCT, Code
from node.compose.ascii_text import LO, concept, plain
from node.compose.case import Case
from node.compose.content_items import code, container
from node.compose.finish import count_series, finish
from node.compose.object_references import by_study
from node.compose.outlines import Drawable, Shape, drawables
from node.compose.sr.context import LANGUAGE
from node.compose.sr.statement_items import score_in_digits
from node.images.contours import Loop, contours
from node.images.frame import Frame
from node.results import Finding, NotSuitable, Region, Segmentation
from node.results.figures import without_exponent

FINDINGS: dict[Code, Code] = {
    **{known: known for known in (getattr(codes.cid6014, name) for name in codes.cid6014.dir())},
    SCT.Mass: codes.cid6014.MammographyBreastDensity,
    SCT.Nodule: codes.cid6014.MammographyBreastDensity,
    SCT.CalcificationOfBreast: codes.cid6014.IndividualCalcification,
}
"""Type of a segment or region → single image finding (PS3.16 CID 6014); other types are not in the report."""

SIDES = {"L": SCT.LeftBreast, "R": SCT.RightBreast, "B": SCT.BothBreasts}
"""Image Laterality → side (PS3.16 CID 6022)."""

TO_PRESENT = codes.cid6034.PresentationRequiredRenderingDeviceIsExpectedToPresent
VIEWS = {getattr(codes.cid4014, name) for name in codes.cid4014.dir()}
MODALITY = "MG"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MammogramFindings:
    """The mammograms of a case, and what was found on them.

    Parameters
    ----------
    frames
        All frames, in the order of the image library.
    marks
        Shapes on those frames, each with the segment or region it belongs to.
    """

    case: Case
    frames: Sequence[Frame]
    marks: Sequence[tuple[Drawable, Shape]]

    @property
    def failed(self) -> bool:
        """Whether images were not suitable."""
        return bool(self.case.results_of(NotSuitable))


def compose_mgcad(case: Case, made: Sequence[Dataset]) -> Iterator[Dataset]:
    """Yield a report on the mammograms among the inputs, if there are any.

    Segments and regions that are not on a mammogram, or are no finding of the breast, are left out.
    """
    series = [series for series in case.inputs.values() if series.modality == MODALITY and case.is_in_study(series)]
    if not series:
        return
    frames = [frame for one_series in series for frame in one_series.frames]
    drawn = [drawable for drawable in drawables(case) if drawable.type in FINDINGS]
    marks = [(drawable, shape) for drawable in drawn for shape in _shapes_on(drawable, frames)]
    built = _report(MammogramFindings(case=case, frames=frames, marks=marks))
    yield finish(built, series[0].header, case.identity, kind="MG CAD", modality="SR", number=count_series(made))


def _report(findings: MammogramFindings) -> Dataset:
    content = [
        sr.CodeContentItem(concept(DCM.LanguageOfContentItemAndDescendants), LANGUAGE, Relationship.HAS_CONCEPT_MOD),
        _image_library(findings.frames),
        _findings_summary(findings),
        _detections_summary(findings),
        code(DCM.SummaryOfAnalyses, DCM.NotAttempted, Relationship.CONTAINS),
    ]
    built = container(DCM.MammographyCADReport, content, template="4000")
    built.SOPClassUID = MammographyCADSRStorage
    built.SOPInstanceUID = findings.case.identity.uid("mgcad")
    built.CompletionFlag = "COMPLETE"
    built.VerificationFlag = "UNVERIFIED"
    built.PreliminaryFlag = "PRELIMINARY"
    built.ReferencedPerformedProcedureStepSequence = []
    built.PerformedProcedureCodeSequence = []
    built.CurrentRequestedProcedureEvidenceSequence = by_study(frame.header for frame in findings.frames)
    return built


def _shapes_on(drawable: Drawable, frames: Sequence[Frame]) -> list[Shape]:
    keys = {(frame.sop_instance_uid, frame.number) for frame in frames}
    shapes = drawable.shapes(_outer_contours)
    return [shape for shape in shapes if (shape.frame.sop_instance_uid, shape.frame.number) in keys]


def _outer_contours(mask: NDArray[np.bool_]) -> list[Loop]:
    return contours(mask)[0]


def _image_library(frames: Sequence[Frame]) -> Dataset:
    """Return the images in their order: other items refer to an image by its position in the library (TID 4020)."""
    return container(DCM.ImageLibrary, [_library_entry(frame) for frame in frames], Relationship.CONTAINS)


def _library_entry(frame: Frame) -> Dataset:
    header = frame.header
    entry = Dataset()
    entry.RelationshipType = "CONTAINS"
    entry.ValueType = "IMAGE"
    reference = Dataset()
    reference.ReferencedSOPClassUID = header.SOPClassUID
    reference.ReferencedSOPInstanceUID = header.SOPInstanceUID
    if frame.multi_frame:
        reference.ReferencedFrameNumber = frame.number
    entry.ReferencedSOPSequence = [reference]
    if context := list(_acquisition_context(header)):
        entry.ContentSequence = context
    return entry


def _acquisition_context(header: Dataset) -> Iterator[Dataset]:
    """Yield side, view, orientation and dates of an image, if the header has them."""
    context = Relationship.HAS_ACQ_CONTEXT
    if side := SIDES.get(str(header.get("ImageLaterality") or "")):
        yield code(DCM.ImageLaterality, side, context)
    if view := _view(header):
        yield code(DCM.ImageView, view, context)
    for name, direction in zip(
        (DCM.PatientOrientationRow, DCM.PatientOrientationColumn), header.get("PatientOrientation") or (), strict=False
    ):
        yield sr.TextContentItem(concept(name), str(direction), context)
    for name, keyword in ((DCM.StudyDate, "StudyDate"), (DCM.ContentDate, "ContentDate")):
        value = str(header.get(keyword) or "")
        if len(value) == 8 and value.isdecimal():
            yield sr.DateContentItem(concept(name), value, context)


def _view(header: Dataset) -> Code | None:
    for item in header.get("ViewCodeSequence") or []:
        value = str(item.get("CodeValue") or "")
        return next((view for view in VIEWS if view.value == value), None)
    return None


def _findings_summary(findings: MammogramFindings) -> Dataset:
    value = DCM.AllAlgorithmsSucceededWithFindings if findings.marks else DCM.AllAlgorithmsSucceededWithoutFindings
    if findings.failed:
        value = DCM.NoAlgorithmsSucceededWithoutFindings
    notices = plain(" ".join(findings.case.identity.notices))
    content: list[Dataset] = [
        sr.TextContentItem(concept(DCM.ImpressionDescription), notices, Relationship.HAS_PROPERTIES),
        *_algorithm(findings.case),
    ]
    if findings.marks:
        impression = [
            code(DCM.RenderingIntent, TO_PRESENT, Relationship.HAS_CONCEPT_MOD),
            *(_finding(findings, drawable, shape) for drawable, shape in findings.marks),
        ]
        content.append(container(DCM.IndividualImpressionRecommendation, impression, Relationship.INFERRED_FROM))
    return code(DCM.CADProcessingAndFindingsSummary, value, Relationship.CONTAINS, content)


def _finding(findings: MammogramFindings, drawable: Drawable, shape: Shape) -> Dataset:
    """Return one finding on one image: its type, its centre and its outline (TID 4006, 4021)."""
    context = Relationship.HAS_OBS_CONTEXT
    centre = (shape.points[:-1] if _is_closed(shape) else shape.points).mean(axis=0)
    content: list[Dataset] = [
        code(DCM.RenderingIntent, TO_PRESENT, Relationship.HAS_CONCEPT_MOD),
        sr.TextContentItem(concept(DCM.TrackingIdentifier), plain(drawable.label, LO), context),
        sr.UIDRefContentItem(concept(DCM.TrackingUniqueIdentifier), drawable.tracking_uid, context),
        *_algorithm(findings.case, _score_in_words(drawable.result)),
    ]
    image = _image(findings, shape.frame, "SELECTED FROM")
    content.append(_coordinates(DCM.Center, "POINT", centre[None], image))
    if shape.kind != "POINT":
        content.append(_coordinates(DCM.Outline, shape.kind, shape.points, image))
    return code(DCM.SingleImageFinding, FINDINGS[drawable.type], Relationship.CONTAINS, content)


def _is_closed(shape: Shape) -> bool:
    return shape.kind == "POLYLINE" and bool((shape.points[0] == shape.points[-1]).all())


def _coordinates(name: Code, kind: str, points: Loop, image: Dataset) -> Dataset:
    item = Dataset()
    item.RelationshipType = "HAS PROPERTIES"
    item.ValueType = "SCOORD"
    item.ConceptNameCodeSequence = [concept(name)]
    item.GraphicType = kind
    item.GraphicData = [float(number) for number in points.ravel()]
    item.ContentSequence = [image]
    return item


def _image(findings: MammogramFindings, frame: Frame, relation: str) -> Dataset:
    """Return a reference to an image by its position in the image library, the second item below the root."""
    position = next(
        position
        for position, other in enumerate(findings.frames, 1)
        if other.header is frame.header and other.number == frame.number
    )
    item = Dataset()
    item.RelationshipType = relation
    item.ReferencedContentItemIdentifier = [1, 2, position]
    return item


def _detections_summary(findings: MammogramFindings) -> Dataset:
    """Return the kinds of findings that were looked for, and the images (TID 4015, 4017)."""
    sought = [finding.name for finding in findings.case.results_of(Finding) if finding.name in FINDINGS]
    kinds = list(
        dict.fromkeys(FINDINGS[kind] for kind in (*sought, *(drawable.type for drawable, _ in findings.marks)))
    )
    detections = [_detection(findings, kind) for kind in kinds or [codes.cid6014.MammographyBreastDensity]]
    name, status = (DCM.FailedDetections, DCM.Failed) if findings.failed else (DCM.SuccessfulDetections, DCM.Succeeded)
    performed = container(name, detections, Relationship.INFERRED_FROM)
    return code(DCM.SummaryOfDetections, status, Relationship.CONTAINS, [performed])


def _detection(findings: MammogramFindings, kind: Code) -> Dataset:
    images = (_image(findings, frame, "HAS PROPERTIES") for frame in findings.frames)
    return code(DCM.DetectionPerformed, kind, Relationship.CONTAINS, [*_algorithm(findings.case), *images])


def _score_in_words(result: Segmentation | Region) -> str:
    """Return the score for presence; TID 4006 has numbers only for certainty and probability, which it is not."""
    if not isinstance(result, Region) or result.score is None:
        return ""
    told = score_in_digits(result)
    return f"score for presence, 0 to 1: {without_exponent(told.score)}, threshold {without_exponent(told.threshold)}"


def _algorithm(case: Case, score: str = "") -> list[Dataset]:
    """Return name, version and parameters of the algorithm, with a score that it gave (TID 4019)."""
    identity = case.identity
    texts = [
        (DCM.AlgorithmName, identity.algorithm),
        (DCM.AlgorithmVersion, plain(identity.version, LO)),
        *((DCM.AlgorithmParameters, f"{name}: {value}") for name, value in identity.parameters.items()),
        *([(DCM.AlgorithmParameters, score)] if score else []),
    ]
    return [sr.TextContentItem(concept(name), text, Relationship.HAS_PROPERTIES) for name, text in texts]
