"""Mammography CAD SR (PS3.3 A.35.5) of template TID 4000, for workstations that mark what a CAD has found."""

from collections.abc import Mapping, Sequence

import numpy as np
from highdicom import sr
from highdicom.sr import RelationshipTypeValues as Relationship
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import MammographyCADSRStorage

from node.codes import DCM, SCT, UCUM, Code
from node.compose.ascii_text import LO, concept, plain
from node.compose.content_items import code, container
from node.compose.finish import finish
from node.compose.identity import RESEARCH_USE, Identity
from node.compose.object_references import by_study
from node.compose.outlines import Shape, Thing
from node.compose.sr.groups import LANGUAGE
from node.images.contours import Loop, contours
from node.images.frame import Frame
from node.images.series import Series
from node.results import NotSuitable, Region, Result

FINDINGS: dict[Code, Code] = {
    **{known: known for known in (getattr(codes.cid6014, name) for name in codes.cid6014.dir())},
    SCT.Mass: codes.cid6014.MammographyBreastDensity,
    SCT.Nodule: codes.cid6014.MammographyBreastDensity,
    SCT.CalcificationOfBreast: codes.cid6014.IndividualCalcification,
}
"""Type of a segment or region → single image finding (PS3.16 CID 6014); what has none is not in the report."""

SIDES = {"L": SCT.LeftBreast, "R": SCT.RightBreast, "B": SCT.BothBreasts}
"""Image Laterality → side (PS3.16 CID 6022)."""

TO_PRESENT = codes.cid6034.PresentationRequiredRenderingDeviceIsExpectedToPresent
VIEWS = {getattr(codes.cid4014, name) for name in codes.cid4014.dir()}
MODALITY = "MG"


def mammography_cad(
    inputs: Mapping[str, Series],
    things: Sequence[Thing],
    results: Sequence[Result],
    identity: Identity,
    *,
    number: int,
) -> Dataset | None:
    """Return the report on the mammograms among the inputs; None where there are none.

    Parameters
    ----------
    things
        What was drawn, as `things` gives it; what is not on a mammogram or no breast finding is left out.
    number
        How many series of the job come before it.
    """
    series = [one for one in inputs.values() if one.modality == MODALITY and one.study_uid == identity.study_uid]
    if not series:
        return None
    frames = [frame for one in series for frame in one.frames]
    failed = any(isinstance(result, NotSuitable) for result in results)
    found = [(thing, shape) for thing in things if thing.type in FINDINGS for shape in _on(thing, frames)]
    content = [
        sr.CodeContentItem(concept(DCM.LanguageOfContentItemAndDescendants), LANGUAGE, Relationship.HAS_CONCEPT_MOD),
        _library(frames),
        _findings(found, frames, identity, failed=failed),
        _detections(found, frames, identity, failed=failed),
        code(DCM.SummaryOfAnalyses, DCM.NotAttempted, Relationship.CONTAINS),
    ]
    built = container(DCM.MammographyCADReport, content, template="4000")
    built.SOPClassUID = MammographyCADSRStorage
    built.SOPInstanceUID = identity.uid("mgcad")
    built.CompletionFlag = "COMPLETE"
    built.VerificationFlag = "UNVERIFIED"
    built.PreliminaryFlag = "PRELIMINARY"
    built.ReferencedPerformedProcedureStepSequence = []
    built.PerformedProcedureCodeSequence = []
    built.CurrentRequestedProcedureEvidenceSequence = by_study(frame.header for frame in frames)
    return finish(built, series[0].header, identity, kind="MG CAD", modality="SR", number=number)


def _on(thing: Thing, frames: Sequence[Frame]) -> list[Shape]:
    places = {(frame.sop_instance_uid, frame.number) for frame in frames}
    return [one for one in thing.shapes(_outer) if (one.frame.sop_instance_uid, one.frame.number) in places]


def _outer(mask: NDArray[np.bool_]) -> list[Loop]:
    return contours(mask)[0]


def _library(frames: Sequence[Frame]) -> Dataset:
    """Return the images in their order: other items refer to them by their place in it (TID 4020)."""
    return container(DCM.ImageLibrary, [_entry(frame) for frame in frames], Relationship.CONTAINS)


def _entry(frame: Frame) -> Dataset:
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
    context = Relationship.HAS_ACQ_CONTEXT
    said: list[Dataset] = []
    if side := SIDES.get(str(header.get("ImageLaterality") or "")):
        said.append(code(DCM.ImageLaterality, side, context))
    if view := _view(header):
        said.append(code(DCM.ImageView, view, context))
    for name, direction in zip(
        (DCM.PatientOrientationRow, DCM.PatientOrientationColumn), header.get("PatientOrientation") or (), strict=False
    ):
        said.append(sr.TextContentItem(concept(name), str(direction), context))
    for name, keyword in ((DCM.StudyDate, "StudyDate"), (DCM.ContentDate, "ContentDate")):
        value = str(header.get(keyword) or "")
        if len(value) == 8 and value.isdecimal():
            said.append(sr.DateContentItem(concept(name), value, context))
    if said:
        entry.ContentSequence = said
    return entry


def _view(header: Dataset) -> Code | None:
    for item in header.get("ViewCodeSequence") or []:
        given = str(item.get("CodeValue") or "")
        return next((view for view in VIEWS if view.value == given), None)
    return None


def _findings(
    found: Sequence[tuple[Thing, Shape]], frames: Sequence[Frame], identity: Identity, *, failed: bool
) -> Dataset:
    value = DCM.AllAlgorithmsSucceededWithFindings if found else DCM.AllAlgorithmsSucceededWithoutFindings
    if failed:
        value = DCM.NoAlgorithmsSucceededWithoutFindings
    said: list[Dataset] = [
        sr.TextContentItem(concept(DCM.ImpressionDescription), RESEARCH_USE, Relationship.HAS_PROPERTIES),
        *_algorithm(identity),
    ]
    if found:
        impression = [
            code(DCM.RenderingIntent, TO_PRESENT, Relationship.HAS_CONCEPT_MOD),
            *(_finding(thing, shape, frames, identity) for thing, shape in found),
        ]
        said.append(container(DCM.IndividualImpressionRecommendation, impression, Relationship.INFERRED_FROM))
    return code(DCM.CADProcessingAndFindingsSummary, value, Relationship.CONTAINS, said)


def _finding(thing: Thing, shape: Shape, frames: Sequence[Frame], identity: Identity) -> Dataset:
    """Return one finding on one image: what, where its centre is, and its outline (TID 4006, 4021)."""
    context = Relationship.HAS_OBS_CONTEXT
    centre = (shape.points[:-1] if _is_closed(shape) else shape.points).mean(axis=0)
    said: list[Dataset] = [
        code(DCM.RenderingIntent, TO_PRESENT, Relationship.HAS_CONCEPT_MOD),
        sr.TextContentItem(concept(DCM.TrackingIdentifier), plain(thing.label, LO), context),
        sr.UIDRefContentItem(concept(DCM.TrackingUniqueIdentifier), thing.tracking_uid, context),
        *_algorithm(identity),
    ]
    if isinstance(thing.result, Region) and thing.result.probability is not None:
        percent = round(thing.result.probability * 100, 6)
        said.append(
            sr.NumContentItem(
                concept(DCM.CertaintyOfFinding),
                percent,
                concept(UCUM.Percent),
                relationship_type=Relationship.HAS_PROPERTIES,
            )
        )
    said.append(_coordinates(DCM.Center, "POINT", centre[None], shape.frame, frames))
    if shape.kind != "POINT":
        said.append(_coordinates(DCM.Outline, shape.kind, shape.points, shape.frame, frames))
    return code(DCM.SingleImageFinding, FINDINGS[thing.type], Relationship.CONTAINS, said)


def _is_closed(shape: Shape) -> bool:
    return shape.kind == "POLYLINE" and bool((shape.points[0] == shape.points[-1]).all())


def _coordinates(name: Code, kind: str, points: Loop, frame: Frame, frames: Sequence[Frame]) -> Dataset:
    item = Dataset()
    item.RelationshipType = "HAS PROPERTIES"
    item.ValueType = "SCOORD"
    item.ConceptNameCodeSequence = [concept(name)]
    item.GraphicType = kind
    item.GraphicData = [float(number) for number in points.ravel()]
    item.ContentSequence = [_image(frame, frames, "SELECTED FROM")]
    return item


def _image(frame: Frame, frames: Sequence[Frame], relation: str) -> Dataset:
    """Return a reference to an image by its place in the image library, the second item below the root."""
    place = next(
        place for place, one in enumerate(frames, 1) if (one.header is frame.header and one.number == frame.number)
    )
    item = Dataset()
    item.RelationshipType = relation
    item.ReferencedContentItemIdentifier = [1, 2, place]
    return item


def _detections(
    found: Sequence[tuple[Thing, Shape]], frames: Sequence[Frame], identity: Identity, *, failed: bool
) -> Dataset:
    """Return which kinds of finding were looked for, on which images (TID 4015, 4017)."""
    kinds = list(dict.fromkeys(FINDINGS[thing.type] for thing, _ in found))
    looked_for = [_detection(kind, frames, identity) for kind in kinds or [codes.cid6014.MammographyBreastDensity]]
    name, status = (DCM.FailedDetections, DCM.Failed) if failed else (DCM.SuccessfulDetections, DCM.Succeeded)
    performed = container(name, looked_for, Relationship.INFERRED_FROM)
    return code(DCM.SummaryOfDetections, status, Relationship.CONTAINS, [performed])


def _detection(kind: Code, frames: Sequence[Frame], identity: Identity) -> Dataset:
    said = [*_algorithm(identity), *(_image(frame, frames, "HAS PROPERTIES") for frame in frames)]
    return code(DCM.DetectionPerformed, kind, Relationship.CONTAINS, said)


def _algorithm(identity: Identity) -> list[Dataset]:
    """Return name, version and parameters of the algorithm (TID 4019)."""
    words = [
        (DCM.AlgorithmName, identity.algorithm),
        (DCM.AlgorithmVersion, plain(identity.version, LO)),
        *((DCM.AlgorithmParameters, f"{name}: {value}") for name, value in identity.parameters.items()),
    ]
    return [sr.TextContentItem(concept(name), text, Relationship.HAS_PROPERTIES) for name, text in words]
