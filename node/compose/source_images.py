"""What objects take from their source images: headers for highdicom, and attributes copied byte for byte.

highdicom refuses ordinary clinical headers: an absent Type 2 attribute, a sex of "U", Asian character sets. So it is
given stand-in headers, made here of checked values. Attributes of the patient and the study are copied without it.
"""

from collections.abc import Sequence
from copy import deepcopy

import numpy as np
from pydicom.charset import convert_encodings
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, ComputedRadiographyImageStorage, CTImageStorage
from pydicom.valuerep import DSfloat, PersonName

from node.images.frame import Frame
from node.images.series import Series

PATIENT_AND_STUDY = {
    "C.7.1.1 Patient": (
        "PatientName",
        "PatientID",
        "IssuerOfPatientID",
        "TypeOfPatientID",
        "IssuerOfPatientIDQualifiersSequence",
        "PatientBirthDate",
        "PatientBirthTime",
        "PatientSex",
        "OtherPatientIDsSequence",
        "OtherPatientNames",
        "EthnicGroup",
        "EthnicGroupCodeSequence",
        "PatientComments",
        "PatientSpeciesDescription",
        "PatientSpeciesCodeSequence",
        "PatientBreedDescription",
        "PatientBreedCodeSequence",
        "BreedRegistrationSequence",
        "ResponsiblePerson",
        "ResponsiblePersonRole",
        "ResponsibleOrganization",
        "PatientIdentityRemoved",
        "DeidentificationMethod",
        "DeidentificationMethodCodeSequence",
        "QualityControlSubject",
    ),
    "C.7.1.3 Clinical Trial Subject": (
        "ClinicalTrialSponsorName",
        "ClinicalTrialProtocolID",
        "ClinicalTrialProtocolName",
        "ClinicalTrialSiteID",
        "ClinicalTrialSiteName",
        "ClinicalTrialSubjectID",
        "ClinicalTrialSubjectReadingID",
        "ClinicalTrialProtocolEthicsCommitteeName",
        "ClinicalTrialProtocolEthicsCommitteeApprovalNumber",
    ),
    "C.7.2.1 General Study": (
        "StudyInstanceUID",
        "StudyDate",
        "StudyTime",
        "StudyID",
        "AccessionNumber",
        "IssuerOfAccessionNumberSequence",
        "ReferringPhysicianName",
        "ReferringPhysicianIdentificationSequence",
        "ConsultingPhysicianName",
        "StudyDescription",
        "ProcedureCodeSequence",
        "PhysiciansOfRecord",
        "PhysiciansOfRecordIdentificationSequence",
        "NameOfPhysiciansReadingStudy",
        "PhysiciansReadingStudyIdentificationSequence",
        "RequestingService",
        "RequestingServiceCodeSequence",
        "ReasonForPerformedProcedureCodeSequence",
    ),
    "C.7.2.2 Patient Study": (
        "AdmittingDiagnosesDescription",
        "AdmittingDiagnosesCodeSequence",
        "PatientAge",
        "PatientSize",
        "PatientSizeCodeSequence",
        "PatientBodyMassIndex",
        "PatientWeight",
        "MedicalAlerts",
        "Allergies",
        "Occupation",
        "SmokingStatus",
        "AdditionalPatientHistory",
        "PregnancyStatus",
        "LastMenstrualDate",
        "PatientSexNeutered",
        "ReasonForVisit",
        "ReasonForVisitCodeSequence",
        "AdmissionID",
        "IssuerOfAdmissionIDSequence",
        "ServiceEpisodeID",
        "ServiceEpisodeDescription",
        "IssuerOfServiceEpisodeIDSequence",
        "PatientState",
    ),
    "C.7.2.3 Clinical Trial Study": (
        "ClinicalTrialTimePointID",
        "ClinicalTrialTimePointDescription",
        "LongitudinalTemporalOffsetFromEvent",
        "LongitudinalTemporalEventType",
        "ConsentForClinicalTrialUseSequence",
    ),
    "C.12.1 SOP Common": ("SpecificCharacterSet", "TimezoneOffsetFromUTC"),
}
"""Attributes of the patient and the study by their modules of PS3.3: an object has those that its images have.

Retired attributes and references to the retired patient and study management classes are not copied.
"""

TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""Present in every object, empty where unknown (PS3.3 C.7.1.1 and C.7.2.1)."""
ORIENTATION_TOLERANCE = 1e-4
"""Of a direction cosine: at 512 pixels of 1 mm the far corner is then off by 0.05 mm."""

_TEXT = frozenset({"AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UT"})


def stand_ins(series: Series) -> list[Dataset]:
    """Return a header of a single-frame CT image for each frame, in order, for highdicom to place frames on.

    Their SOP Instance UIDs are those of `stand_in_uid`; the caller replaces them by the true references afterwards.
    """
    step, thickness = _distances(series)
    return [_stand_in(index, frame, series, thickness, step) for index, frame in enumerate(series.frames)]


def stand_in(series: Series) -> Dataset:
    """Return the first of `stand_ins` alone: it has all that does not depend on the slice.

    For images without a position it is the header of a radiograph.
    """
    if not series.placed:
        return _unplaced(series)
    step, thickness = _distances(series)
    return _stand_in(0, series.frames[0], series, thickness, step)


def _distances(series: Series) -> tuple[float, float]:
    """Return distance and thickness of the slices in mm."""
    step = float(np.linalg.norm(series.affine()[:3, 0]))
    return step, _thickness(series.header) or step


def stand_in_uid(index: int) -> str:
    """Return the SOP Instance UID of the stand-in for the frame at an index."""
    return f"2.25.{index + 1}"


def _stand_in(index: int, frame: Frame, series: Series, thickness: float, step: float) -> Dataset:
    image = _like(series, CTImageStorage, "CT")
    image.SOPInstanceUID = stand_in_uid(index)
    image.FrameOfReferenceUID = series.frame_of_reference_uid
    image.ImagePositionPatient = _decimals(frame.position or ())
    image.ImageOrientationPatient = _decimals(frame.orientation or ())
    image.PixelSpacing = _decimals(frame.spacing or ())
    image.SliceThickness = DSfloat(thickness, auto_format=True)
    image.SpacingBetweenSlices = DSfloat(step, auto_format=True)
    return image


def _unplaced(series: Series) -> Dataset:
    image = _like(series, ComputedRadiographyImageStorage, "CR")
    image.SOPInstanceUID = stand_in_uid(0)
    return image


def _like(series: Series, sop_class: UID, modality: str) -> Dataset:
    image = Dataset()
    image.SOPClassUID = sop_class
    image.StudyInstanceUID = series.study_uid
    image.SeriesInstanceUID = series.series_uid
    image.Modality = modality
    for keyword in TYPE_2:
        setattr(image, keyword, None)
    values = series.frames[0].image.values
    image.Rows, image.Columns = values.get("Rows"), values.get("Columns")
    return image


def _decimals(numbers: tuple[float, ...]) -> list[DSfloat]:
    return [DSfloat(number, auto_format=True) for number in numbers]


def _thickness(header: Dataset) -> float:
    """Return Slice Thickness in mm, 0 where the header has none."""
    for holder in (header, *functional_groups(header, 0, "PixelMeasuresSequence")):
        value = holder.get("SliceThickness")
        if isinstance(value, int | float) and value > 0:
            return float(value)
    return 0.0


def functional_groups(header: Dataset, frame: int, keyword: str) -> list[Dataset]:
    """Return the items of a functional group of a frame, from 0: its own before the shared (PS3.3 C.7.6.16.1)."""
    per_frame = list(header.get("PerFrameFunctionalGroupsSequence") or [])
    groups = [*per_frame[frame : frame + 1], *(header.get("SharedFunctionalGroupsSequence") or [])]
    return [item for group in groups for item in group.get(keyword) or []]


def copy_body_part(header: Dataset, target: Dataset) -> None:
    """Copy the body part and, for a paired one, its side (PS3.3 C.7.3.1: Laterality is Type 2C)."""
    if header.get("BodyPartExamined"):
        copy_element(header, target, "BodyPartExamined")
    side = str(header.get("Laterality") or header.get("ImageLaterality") or "")
    if side in ("L", "R"):
        target.Laterality = side
    elif "BodyPartExamined" not in target:
        target.Laterality = None


def copy_patient_and_study(header: Dataset, target: Dataset) -> None:
    """Copy the attributes of the patient and the study, text with its bytes; absent Type 2 attributes become empty."""
    for keywords in PATIENT_AND_STUDY.values():
        for keyword in keywords:
            copy_element(header, target, keyword)
    for keyword in TYPE_2:
        if keyword not in target:
            setattr(target, keyword, None)
    # so that text that is still bytes is written unchanged, not decoded and encoded again
    declared = target.get("SpecificCharacterSet")
    encodings = convert_encodings(declared) if declared else None
    target.set_original_encoding(is_implicit_vr=False, is_little_endian=True, character_encoding=encodings)


def copy_element(header: Dataset, target: Dataset, keyword: str) -> None:
    """Copy an attribute, if the header has it; text keeps its bytes, so that no character set can be misread."""
    tag = Tag(tag_for_keyword(keyword) or 0)
    if tag not in header:
        return
    vr = dictionary_VR(tag)
    text = _text(header.get_item(tag)) if vr in _TEXT else None
    if text is not None:
        target[tag] = _raw(tag, vr, text)
        return
    element = header[tag]
    if element.VR in vr.split(" or "):
        target[tag] = deepcopy(element)
        if vr == "SQ":
            _decode(target[tag].value)


def _text(element: RawDataElement | DataElement | None) -> bytes | None:
    """Return the bytes that a text element was read from, None if they are no longer known."""
    if isinstance(element, RawDataElement):
        return element.value if isinstance(element.value, bytes) else b""
    name = element.value if element is not None else None
    if isinstance(name, PersonName) and isinstance(name.original_string, bytes):
        return name.original_string
    return None


def _raw(tag: BaseTag, vr: str, value: bytes) -> RawDataElement:
    if len(value) % 2:
        value += b"\0" if vr == "UI" else b" "
    return RawDataElement(tag, vr, len(value), value, 0, False, True)  # noqa: FBT003


def _decode(items: list[Dataset]) -> None:
    """Decode every element: one from an implicit VR file gets its value representation."""
    for item in items:
        for element in item:
            if element.VR == "SQ":
                _decode(element.value)


def copy_body_and_compression(header: Dataset, target: Dataset) -> None:
    """Copy what the images say of the body and of lossy compression, if they do (PS3.3 C.7.3.1, C.8.20.2)."""
    for keyword in ("BodyPartExamined", "Laterality", "PositionReferenceIndicator"):
        if header.get(keyword):
            copy_element(header, target, keyword)
    if header.get("LossyImageCompression") == "01":
        for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            copy_element(header, target, keyword)


def set_dimension_uid(built: Dataset, uid: str) -> None:
    """Give the dimensions a UID that is the same at every run; highdicom draws a random UID."""
    for item in (*built.DimensionOrganizationSequence, *built.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid


def is_close(first: Sequence[float] | None, second: Sequence[float] | None, tolerance: float) -> bool:
    """Return whether two positions or orientations are known and differ by at most a tolerance in each number."""
    if first is None or second is None:
        return False
    return all(abs(float(a) - b) <= tolerance for a, b in zip(first, second, strict=True))


def is_same_direction(first: Sequence[float] | None, second: Sequence[float] | None) -> bool:
    """Return whether two Image Orientations (Patient) are known and equal within `ORIENTATION_TOLERANCE`."""
    return is_close(first, second, ORIENTATION_TOLERANCE)
