"""Other forms of an object, made of the object itself, for destinations that do not take it: the same at every run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import UUID, uuid5

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID, SegmentationStorage

from node.codes import DCM, Code
from node.compose.ascii_text import concept, plain
from node.compose.object_references import by_study
from node.compose.seg_frames import Placed, bits, groups, pixel_data
from node.images.series import Frame, Volume
from node.profiles import SOP_CLASSES, Kind
from node.results import LABEL_LENGTH, Segment, Segmentation

_NAMESPACE = UUID("c2a5f2a8-9f1f-4d0a-8f0b-5a0cf6f5e0b4")
CLASSES = {kind: uid for uid, kind in SOP_CLASSES.items()}
VOLUMETRIC, IMAGE_LEVEL = "1411", "1501"
"""Templates of measurement groups (PS3.16): of a segment, and of the images."""
SEGMENT_REFERENCES = (DCM.ReferencedSegment, DCM.SourceSeriesForSegmentation, DCM.SourceImageForSegmentation)


def alone(report: Dataset, *, follows: bool) -> Dataset:
    """Return a report that names no Segmentation, for a destination that takes none and would look for it in vain.

    What is said of a segment is then said at image level (PS3.16 TID 1501), under the same Tracking UID.

    Parameters
    ----------
    follows
        Whether the report is there already: then this one replaces it (PS3.3 C.17.2).
    """
    earlier = by_study([report]) if follows else []
    (measurements,) = (item for item in report.ContentSequence if _named(item, DCM.ImagingMeasurements))
    groups: list[Dataset] = []
    for group in measurements.ContentSequence:
        if group.ContentTemplateSequence[0].TemplateIdentifier == VOLUMETRIC:
            group.ContentTemplateSequence[0].TemplateIdentifier = IMAGE_LEVEL
            group.ContentSequence = [item for item in group.ContentSequence if not _named(item, *SEGMENT_REFERENCES)]
        if not any(_adds_nothing(group, to=other) for other in groups):
            groups.append(group)
    measurements.ContentSequence = groups
    for study in report.CurrentRequestedProcedureEvidenceSequence:
        study.ReferencedSeriesSequence = [one for one in study.ReferencedSeriesSequence if not _of_segmentations(one)]
    made = _renamed(report, "alone", report.SOPClassUID)
    if earlier:
        made.PredecessorDocumentsSequence = [*earlier, *made.get("PredecessorDocumentsSequence", [])]
    return made


def names_segmentations(report: Dataset) -> bool:
    """Say whether a report refers to a Segmentation."""
    studies = report.CurrentRequestedProcedureEvidenceSequence
    return any(_of_segmentations(series) for study in studies for series in study.ReferencedSeriesSequence)


def _of_segmentations(series: Dataset) -> bool:
    return any(one.ReferencedSOPClassUID == SegmentationStorage for one in series.ReferencedSOPSequence)


def _named(item: Dataset, *names: Code) -> bool:
    return item.ConceptNameCodeSequence[0].CodeValue in {name.value for name in names}


def _adds_nothing(group: Dataset, *, to: Dataset) -> bool:
    """Say whether another group has all that a group says: one that only named a further part of a segment."""
    return all(item in to.ContentSequence for item in group.ContentSequence)


def comprehensive(report: Dataset) -> Dataset:
    """Return a report as a Comprehensive SR (PS3.3 A.35.3), which knows no coordinates in the patient."""
    return _report(report, "COMPREHENSIVE")


def enhanced(report: Dataset) -> Dataset:
    """Return a report as an Enhanced SR (PS3.3 A.35.2); what our reports hold, it may hold by value."""
    return _report(report, "ENHANCED")


def _report(report: Dataset, kind: Kind) -> Dataset:
    _flatten(report)
    return _renamed(report, kind, CLASSES[kind])


def _flatten(item: Dataset) -> None:
    """Say in words what is in patient coordinates: only Comprehensive 3D SR may hold SCOORD3D."""
    for below in item.get("ContentSequence") or ():
        _flatten(below)
    places = [one for one in item.get("ContentSequence") or () if one.get("ValueType") == "SCOORD3D"]
    if not places:
        return
    item.ContentTemplateSequence[0].TemplateIdentifier = IMAGE_LEVEL
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
    made = _renamed(labelmap, "SEG", CLASSES["SEG"])
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
class Referenced:
    """An image of which an object tells; its file is not read for what is made in the object's place."""

    header: Dataset

    @property
    def values(self) -> Dataset:
        """What is known of it."""
        return self.header


def _source(group: Dataset) -> Frame:
    """Return the image that a frame of a label map lies on."""
    reference = group.DerivationImageSequence[0].SourceImageSequence[0]
    header = Dataset()
    header.SOPClassUID = reference.ReferencedSOPClassUID
    header.SOPInstanceUID = reference.ReferencedSOPInstanceUID
    if "ReferencedFrameNumber" in reference:
        header.NumberOfFrames = reference.ReferencedFrameNumber
    number = int(reference.get("ReferencedFrameNumber") or 1)
    if "PlanePositionSequence" not in group:
        return Frame(image=Referenced(header), number=number)
    x, y, z = (float(value) for value in group.PlanePositionSequence[0].ImagePositionPatient)
    return Frame(image=Referenced(header), number=number, position=(x, y, z))


def _by_segment(made: Dataset) -> Dataset:
    item = Dataset()
    item.DimensionOrganizationUID = made.DimensionOrganizationSequence[0].DimensionOrganizationUID
    item.DimensionIndexPointer = 0x0062000B
    item.FunctionalGroupPointer = 0x0062000A
    item.DimensionDescriptionLabel = "Referenced Segment Number"
    return item


def _renamed(made: Dataset, name: str, sop_class: str) -> Dataset:
    """Give an object a SOP class, and names of its own that follow from those it had; what it replaces likewise.

    A destination that does not take the object has not taken those of an earlier revision: it has their stand-ins.
    """
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    uid = _uid(made.SOPInstanceUID, name)
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = UID(uid)
    made.SeriesInstanceUID = UID(_uid(made.SeriesInstanceUID, name))
    for study in made.get("PredecessorDocumentsSequence", []):
        for series in study.ReferencedSeriesSequence:
            series.SeriesInstanceUID = UID(_uid(series.SeriesInstanceUID, name))
            for one in series.ReferencedSOPSequence:
                one.ReferencedSOPClassUID = UID(sop_class)
                one.ReferencedSOPInstanceUID = UID(_uid(one.ReferencedSOPInstanceUID, name))
    return made


def _uid(of: str, kind: str) -> str:
    return f"2.25.{uuid5(_NAMESPACE, f'{of}|{kind}').int}"


FORMS: Mapping[Kind, Callable[[Dataset], Dataset]] = {
    "SEG": binary,
    "COMPREHENSIVE": comprehensive,
    "ENHANCED": enhanced,
}
"""What is made of a refused object itself."""
