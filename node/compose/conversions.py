"""Conversions of a stored object for destinations that do not take it; the bytes are the same at every run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import UUID, uuid5

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID, SegmentationStorage

from node.codes import DCM, Code
from node.compose.ascii_text import concept, plain
from node.compose.object_references import by_study
from node.compose.seg_frames import SegmentFrame, binary_pixels, per_frame_groups, pixel_data
from node.images.frame import Frame
from node.images.series import Volume
from node.profiles import SOP_CLASSES, Kind
from node.results import LABEL_LENGTH, Segment, Segmentation

_NAMESPACE = UUID("c2a5f2a8-9f1f-4d0a-8f0b-5a0cf6f5e0b4")
CLASSES = {kind: uid for uid, kind in SOP_CLASSES.items()}
"""Kind → SOP Class UID."""
VOLUMETRIC, IMAGE_LEVEL = "1411", "1501"
"""Template Identifiers of measurement groups (PS3.16): on a segment, and on images."""
SEGMENT_REFERENCES = (DCM.ReferencedSegment, DCM.SourceSeriesForSegmentation, DCM.SourceImageForSegmentation)


def without_segmentations(report: Dataset, *, follows: bool) -> Dataset:
    """Return a report without references to Segmentations, for a destination that takes none.

    Groups on a segment become groups at image level (PS3.16 TID 1501), with the same Tracking UID.

    Parameters
    ----------
    follows
        Whether the destination has the report already; then the new report replaces it (PS3.3 C.17.2).
    """
    earlier = by_study([report]) if follows else []
    (measurements,) = (item for item in report.ContentSequence if _named(item, DCM.ImagingMeasurements))
    groups: list[Dataset] = []
    for group in measurements.ContentSequence:
        if group.ContentTemplateSequence[0].TemplateIdentifier == VOLUMETRIC:
            group.ContentTemplateSequence[0].TemplateIdentifier = IMAGE_LEVEL
            group.ContentSequence = [item for item in group.ContentSequence if not _named(item, *SEGMENT_REFERENCES)]
        if not any(_repeats(group, other) for other in groups):
            groups.append(group)
    measurements.ContentSequence = groups
    for study in report.CurrentRequestedProcedureEvidenceSequence:
        study.ReferencedSeriesSequence = [
            series for series in study.ReferencedSeriesSequence if not _has_segmentations(series)
        ]
    converted = _with_new_uids(report, "alone", report.SOPClassUID)
    if earlier:
        converted.SOPInstanceUID = converted.file_meta.MediaStorageSOPInstanceUID = UID(
            _uid(converted.SOPInstanceUID, "follows")
        )
        converted.SeriesInstanceUID = UID(_uid(converted.SeriesInstanceUID, "follows"))
        converted.PredecessorDocumentsSequence = [*earlier, *converted.get("PredecessorDocumentsSequence", [])]
    return converted


def names_segmentations(report: Dataset) -> bool:
    """Return whether a report refers to a Segmentation."""
    studies = report.CurrentRequestedProcedureEvidenceSequence
    return any(_has_segmentations(series) for study in studies for series in study.ReferencedSeriesSequence)


def _has_segmentations(series: Dataset) -> bool:
    return any(item.ReferencedSOPClassUID == SegmentationStorage for item in series.ReferencedSOPSequence)


def _named(item: Dataset, *names: Code) -> bool:
    return item.ConceptNameCodeSequence[0].CodeValue in {name.value for name in names}


def _repeats(group: Dataset, other: Dataset) -> bool:
    """Return whether another group has all items of a group, as where it named a further object with the segment."""
    return all(item in other.ContentSequence for item in group.ContentSequence)


def as_comprehensive(report: Dataset) -> Dataset:
    """Return a report as a Comprehensive SR (PS3.3 A.35.3), which has no coordinates in the patient."""
    return _report(report, "COMPREHENSIVE")


def as_enhanced(report: Dataset) -> Dataset:
    """Return a report as an Enhanced SR (PS3.3 A.35.2); it may hold all items of our reports, which are by value."""
    return _report(report, "ENHANCED")


def _report(report: Dataset, kind: Kind) -> Dataset:
    _flatten(report)
    return _with_new_uids(report, kind, CLASSES[kind])


def _flatten(item: Dataset) -> None:
    """Replace coordinates in the patient by comments: only Comprehensive 3D SR may hold SCOORD3D."""
    for below in item.get("ContentSequence") or ():
        _flatten(below)
    content = item.get("ContentSequence") or ()
    coordinates = [below for below in content if below.get("ValueType") == "SCOORD3D"]
    if not coordinates:
        return
    item.ContentTemplateSequence[0].TemplateIdentifier = IMAGE_LEVEL
    others = [below for below in content if below.get("ValueType") != "SCOORD3D"]
    item.ContentSequence = [*others, *(_as_comment(below) for below in coordinates)]


def _as_comment(coordinates: Dataset) -> Dataset:
    points = np.reshape(coordinates.GraphicData, (-1, 3)).tolist()
    text = "; ".join(f"{x:.1f}, {y:.1f}, {z:.1f}" for x, y, z in points)
    comment = Dataset()
    comment.RelationshipType = "CONTAINS"
    comment.ValueType = "TEXT"
    comment.ConceptNameCodeSequence = [concept(DCM.Comment)]
    comment.TextValue = f"{coordinates.GraphicType} in the patient, mm (LPS): {text}"
    return comment


def labelmap_as_binary(labelmap: Dataset) -> Dataset:
    """Return a label map as a BINARY Segmentation, with a frame for each segment on each slice where it has a pixel."""
    number, planes = int(labelmap.NumberOfFrames), labelmap.pixel_array
    values = planes.reshape(number, labelmap.Rows, labelmap.Columns)
    items = [item for item in labelmap.SegmentSequence if item.SegmentNumber != 0]
    result = Segmentation(labels=Volume(array=values, affine=np.eye(4)), segments=[_segment(item) for item in items])
    sources = [_source(group) for group in labelmap.PerFrameFunctionalGroupsSequence]
    frames = [
        SegmentFrame(segment, index)
        for segment in range(1, len(items) + 1)
        for index in range(number)
        if result.plane(index, segment).any()
    ]
    made = _with_new_uids(labelmap, "SEG", CLASSES["SEG"])
    made.SegmentSequence = items
    made.SegmentationType = "BINARY"
    made.BitsAllocated, made.BitsStored, made.HighBit = 1, 1, 0
    made.NumberOfFrames = len(frames)
    for keyword in ("PixelPaddingValue", "DimensionOrganizationType"):
        made.pop(keyword, None)
    several = len(items) > 1
    if not several:
        identification = Dataset()
        identification.ReferencedSegmentNumber = items[0].SegmentNumber
        made.SharedFunctionalGroupsSequence[0].SegmentIdentificationSequence = [identification]
    made.DimensionIndexSequence = [_by_segment(made), *made.DimensionIndexSequence]
    made["PerFrameFunctionalGroupsSequence"] = per_frame_groups(frames, sources, range(number), several=several)
    made["PixelData"] = pixel_data(binary_pixels(result, frames))
    return made


def _segment(item: Dataset) -> Segment:
    kind, category = item.SegmentedPropertyTypeCodeSequence[0], item.SegmentedPropertyCategoryCodeSequence[0]
    # only numbers matter here: the items are copied unchanged, and labels only have to be unique
    label = plain(f"{item.SegmentNumber} {item.SegmentLabel}", LABEL_LENGTH)
    return Segment(label=label, type=_coded(kind), category=_coded(category))


def _coded(item: Dataset) -> Code:
    return Code(item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning)


@dataclass(frozen=True, slots=True)
class ReferencedImage:
    """An image that is known by a reference in an object; its file is not read."""

    header: Dataset

    @property
    def values(self) -> Dataset:
        """The attributes that are known."""
        return self.header


def _source(group: Dataset) -> Frame:
    """Return the image that a frame of a label map lies on, as far as its functional groups describe it."""
    reference = group.DerivationImageSequence[0].SourceImageSequence[0]
    header = Dataset()
    header.SOPClassUID = reference.ReferencedSOPClassUID
    header.SOPInstanceUID = reference.ReferencedSOPInstanceUID
    if "ReferencedFrameNumber" in reference:
        header.NumberOfFrames = reference.ReferencedFrameNumber
    number = int(reference.get("ReferencedFrameNumber") or 1)
    if "PlanePositionSequence" not in group:
        return Frame(image=ReferencedImage(header), number=number)
    x, y, z = (float(value) for value in group.PlanePositionSequence[0].ImagePositionPatient)
    return Frame(image=ReferencedImage(header), number=number, position=(x, y, z))


def _by_segment(made: Dataset) -> Dataset:
    item = Dataset()
    item.DimensionOrganizationUID = made.DimensionOrganizationSequence[0].DimensionOrganizationUID
    item.DimensionIndexPointer = 0x0062000B
    item.FunctionalGroupPointer = 0x0062000A
    item.DimensionDescriptionLabel = "Referenced Segment Number"
    return item


def _with_new_uids(made: Dataset, name: str, sop_class: str) -> Dataset:
    """Give an object a SOP class, and UIDs derived from those it has; likewise the predecessors it names.

    A destination that does not take the object has not taken its predecessors, but their conversions.
    """
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    uid = _uid(made.SOPInstanceUID, name)
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = UID(uid)
    made.SeriesInstanceUID = UID(_uid(made.SeriesInstanceUID, name))
    for study in made.get("PredecessorDocumentsSequence", []):
        for series in study.ReferencedSeriesSequence:
            series.SeriesInstanceUID = UID(_uid(series.SeriesInstanceUID, name))
            for item in series.ReferencedSOPSequence:
                item.ReferencedSOPClassUID = UID(sop_class)
                item.ReferencedSOPInstanceUID = UID(_uid(item.ReferencedSOPInstanceUID, name))
    return made


def _uid(of: str, kind: str) -> str:
    return f"2.25.{uuid5(_NAMESPACE, f'{of}|{kind}').int}"


CONVERSIONS: Mapping[Kind, Callable[[Dataset], Dataset]] = {
    "SEG": labelmap_as_binary,
    "COMPREHENSIVE": as_comprehensive,
    "ENHANCED": as_enhanced,
}
"""Kind → function that makes an object of the kind from a refused object."""
