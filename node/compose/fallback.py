"""What stands for an object that a destination does not take, made of what lies in the spool: the same at every run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID

from node.codes import DCM, Code
from node.compose.frames import Placed, bits, groups, pixel_data
from node.compose.identity import Identity
from node.compose.kept import PART_NUMBERS, keep, pages
from node.compose.pdf import document
from node.compose.sc import summary
from node.compose.source import carry
from node.compose.text import concept, plain
from node.profiles import SOP_CLASSES, Kind, Profile
from node.records import Declined, ResultObject
from node.results import LABEL_LENGTH, Segment, Segmentation
from node.series import Frame, Series, Volume
from node.spool import Spool

_NAMESPACE = UUID("c2a5f2a8-9f1f-4d0a-8f0b-5a0cf6f5e0b4")
LAST_NUMBER = PART_NUMBERS - 1
"""Among the series of a job's run: where nothing else is likely to be."""
CLASSES = {kind: uid for uid, kind in SOP_CLASSES.items()}


class Declining(Protocol):
    """The part of the ledger that knows what destinations refused by SOP class."""

    def declined(self, destination: str) -> list[Declined]:
        """Return what a destination refused and has nothing in its place of."""

    def replace(self, refused: Declined, objects: Sequence[ResultObject], reason: str) -> None:
        """Put objects in the place of a refused one."""

    def park_declined(self, refused: Declined, reason: str) -> None:
        """Stop at the end of the chain."""


def fall_back(ledger: Declining, spool: Spool, destination: str, profile: Profile) -> int:
    """Find something else for all that a destination does not take; return for how much it was found.

    What the job has composed already is taken as it is; what it has not is made of its objects, or of its page. Where
    the chain ends, the delivery is parked with a sentence for a person.
    """
    found = 0
    for refused in ledger.declined(destination):
        sent = refused.delivery
        kind = SOP_CLASSES.get(sent.object.sop_class_uid)
        chain = profile.after(kind) if kind else ()
        for other in chain:
            if objects := _composed(other, refused) or _made(other, refused, spool):
                ledger.replace(refused, objects, f"{sent.reason}; {other} in its place")
                found += 1
                break
        else:
            tried = f", nor is there {' or '.join(chain)} in its place" if chain else ""
            mend = f"enable its SOP class there, or change destinations.{destination}.objects, and requeue"
            ledger.park_declined(refused, f"{sent.reason}{tried}; {mend}")
    return found


def _composed(kind: Kind, refused: Declined) -> list[ResultObject]:
    """Return what the job has of a kind already; a form of the object itself is made of just that one."""
    if kind not in ("GSPS", "SC", "PDF"):
        return []
    return [made for made in refused.objects if SOP_CLASSES.get(made.sop_class_uid) == kind]


def _made(kind: Kind, refused: Declined, spool: Spool) -> list[ResultObject]:
    source = spool.path / refused.delivery.object.path
    if kind in FORMS:
        if not source.is_file():
            return []
        return [keep(spool, FORMS[kind](dcmread(source)))]
    if kind not in PICTURES:
        return []
    report = next((one for one in refused.objects if SOP_CLASSES.get(one.sop_class_uid) == "SR"), None)
    if report is None or not (spool.path / report.path).is_file():
        return []
    images = _images(dcmread(spool.path / report.path))
    study_uid = refused.delivery.study_uid
    return [
        keep(spool, PICTURES[kind](page, images, identity))
        for page, identity in pages(spool, study_uid, refused.job_id)
    ]


def comprehensive(report: Dataset) -> Dataset:
    """Return a report as a Comprehensive SR (PS3.3 A.35.3), which knows no coordinates in the patient."""
    return _report(report, "COMPREHENSIVE")


def enhanced(report: Dataset) -> Dataset:
    """Return a report as an Enhanced SR (PS3.3 A.35.2); what our reports hold, it may hold by value."""
    return _report(report, "ENHANCED")


def _report(report: Dataset, kind: Kind) -> Dataset:
    _flatten(report)
    return _renamed(report, kind)


def _flatten(item: Dataset) -> None:
    """Say in words what is in patient coordinates: only Comprehensive 3D SR may hold SCOORD3D."""
    for below in item.get("ContentSequence") or ():
        _flatten(below)
    places = [one for one in item.get("ContentSequence") or () if one.get("ValueType") == "SCOORD3D"]
    if not places:
        return
    item.ContentTemplateSequence[0].TemplateIdentifier = "1501"
    kept = [one for one in item.ContentSequence if one.get("ValueType") != "SCOORD3D"]
    item.ContentSequence = [*kept, *(_in_words(place) for place in places)]


def _in_words(place: Dataset) -> Dataset:
    points = np.reshape(place.GraphicData, (-1, 3)).tolist()
    said = "; ".join(f"{x:.1f}, {y:.1f}, {z:.1f}" for x, y, z in points)
    words = Dataset()
    words.RelationshipType = "CONTAINS"
    words.ValueType = "TEXT"
    words.ConceptNameCodeSequence = [concept(DCM.Comment)]
    words.TextValue = f"{place.GraphicType} in the patient, mm (LPS): {said}"
    return words


def binary(labelmap: Dataset) -> Dataset:
    """Return a label map as a BINARY Segmentation with the same segments: a frame for each of them where it is."""
    number, planes = int(labelmap.NumberOfFrames), labelmap.pixel_array
    values = planes.reshape(number, labelmap.Rows, labelmap.Columns)
    items = [item for item in labelmap.SegmentSequence if item.SegmentNumber != 0]
    result = Segmentation(labels=Volume(array=values, affine=np.eye(4)), segments=[_segment(item) for item in items])
    sources = [_source(group) for group in labelmap.PerFrameFunctionalGroupsSequence]
    placed = [
        Placed(segment, place)
        for segment in range(1, len(items) + 1)
        for place in range(number)
        if result.plane(place, segment).any()
    ]
    made = _renamed(labelmap, "SEG")
    made.SegmentSequence = items
    made.SegmentationType = "BINARY"
    made.BitsAllocated, made.BitsStored, made.HighBit = 1, 1, 0
    made.NumberOfFrames = len(placed)
    for keyword in ("PixelPaddingValue", "DimensionOrganizationType"):
        made.pop(keyword, None)
    several = len(items) > 1
    if not several:
        (alone,) = items
        identification = Dataset()
        identification.ReferencedSegmentNumber = alone.SegmentNumber
        made.SharedFunctionalGroupsSequence[0].SegmentIdentificationSequence = [identification]
    made.DimensionIndexSequence = [_by_segment(made), *made.DimensionIndexSequence]
    made["PerFrameFunctionalGroupsSequence"] = groups(placed, sources, range(number), several=several)
    made["PixelData"] = pixel_data(bits(result, placed))
    return made


def _segment(item: Dataset) -> Segment:
    kind, category = item.SegmentedPropertyTypeCodeSequence[0], item.SegmentedPropertyCategoryCodeSequence[0]
    # only numbers matter here: the items go over as they are, labels only have to be unlike one another
    label = plain(f"{item.SegmentNumber} {item.SegmentLabel}", LABEL_LENGTH)
    return Segment(label=label, type=_coded(kind), category=_coded(category))


def _coded(item: Dataset) -> Code:
    return Code(item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning)


@dataclass(frozen=True, slots=True)
class _Referenced:
    """An image of which an object tells; its file is not read for what is made in the object's place."""

    header: Dataset

    @property
    def values(self) -> Dataset:
        """What is known of it."""
        return self.header


def _no_pixels(frames: Sequence[Frame], into: NDArray[Any] | None = None) -> tuple[NDArray[Any], ...]:  # noqa: ARG001
    return ()


def _source(group: Dataset) -> Frame:
    """Return the image that a frame of a label map lies on."""
    reference = group.DerivationImageSequence[0].SourceImageSequence[0]
    header = Dataset()
    header.SOPClassUID = reference.ReferencedSOPClassUID
    header.SOPInstanceUID = reference.ReferencedSOPInstanceUID
    if "ReferencedFrameNumber" in reference:
        header.NumberOfFrames = reference.ReferencedFrameNumber
    x, y, z = (float(value) for value in group.PlanePositionSequence[0].ImagePositionPatient)
    return Frame(image=_Referenced(header), number=int(reference.get("ReferencedFrameNumber") or 1), position=(x, y, z))


def _by_segment(made: Dataset) -> Dataset:
    item = Dataset()
    item.DimensionOrganizationUID = made.DimensionOrganizationSequence[0].DimensionOrganizationUID
    item.DimensionIndexPointer = 0x0062000B
    item.FunctionalGroupPointer = 0x0062000A
    item.DimensionDescriptionLabel = "Referenced Segment Number"
    return item


def _renamed(made: Dataset, kind: Kind) -> Dataset:
    """Give an object the SOP class of a kind, and names of its own that follow from those it had."""
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = UID(CLASSES[kind])
    uid = _uid(made.SOPInstanceUID, kind)
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = UID(uid)
    made.SeriesInstanceUID = UID(_uid(made.SeriesInstanceUID, kind))
    return made


def _uid(of: str, kind: str) -> str:
    return f"2.25.{uuid5(_NAMESPACE, f'{of}|{kind}').int}"


def _images(report: Dataset) -> Series:
    """Return the images of the study that a report is about, as far as it knows them: the first says who and when."""
    study = report.CurrentRequestedProcedureEvidenceSequence[0]
    references = [one for series in study.ReferencedSeriesSequence for one in series.ReferencedSOPSequence]
    headers = []
    for reference in references:
        if reference.ReferencedSOPClassUID not in SOP_CLASSES:  # it is an image, and no object of ours
            header = Dataset()
            header.SOPClassUID = reference.ReferencedSOPClassUID
            header.SOPInstanceUID = reference.ReferencedSOPInstanceUID
            headers.append(header)
    carry(report, headers[0])
    for contributor in report.get("ContributingEquipmentSequence") or ():
        if contributor.PurposeOfReferenceCodeSequence[0].CodeValue == DCM.AcquisitionEquipment.value:
            headers[0].update({element.tag: element for element in contributor})
            del headers[0].PurposeOfReferenceCodeSequence
    return Series(key="", frames=tuple(Frame(image=_Referenced(header)) for header in headers), read=_no_pixels)


FORMS: Mapping[Kind, Callable[[Dataset], Dataset]] = {
    "SEG": binary,
    "COMPREHENSIVE": comprehensive,
    "ENHANCED": enhanced,
}
"""What is made of the refused object itself."""
PICTURES: Mapping[Kind, Callable[[bytes, Series, Identity], Dataset]] = {
    "SC": lambda page, images, identity: summary(page, images.header, identity, number=LAST_NUMBER - 1),
    "PDF": lambda page, images, identity: document(page, images, identity, number=LAST_NUMBER),
}
"""What is made of the job's page."""
