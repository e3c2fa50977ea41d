"""The images a result is about: which input it belongs to, what highdicom may see of it, what is copied from it.

highdicom refuses ordinary clinical headers: an absent Type 2 attribute, a sex of "U", Asian character sets. So it sees
stand-ins made here of what was checked before, and the attributes of patient and study go past it, byte for byte.
"""

from collections.abc import Mapping
from copy import deepcopy

import numpy as np
from pydicom.charset import convert_encodings
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, ComputedRadiographyImageStorage, CTImageStorage
from pydicom.valuerep import DSfloat, PersonName

from node.errors import BrokenResult
from node.images.frame import Frame
from node.images.series import Series
from node.results import Segmentation

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
"""Attributes of the patient and the study by their modules of PS3.3: a result has the same as its images, or none.

Retired ones and references to the retired patient and study management classes stay behind.
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
"""Present in every object, if empty (PS3.3 C.7.1.1 and C.7.2.1)."""

_TEXT = frozenset({"AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UT"})


def series_of(result: Segmentation, inputs: Mapping[str, Series], study_uid: str) -> Series:
    """Return the input that a segmentation lies on: same shape, affine and frame of reference, and its source.

    Raises
    ------
    BrokenResult
        No input of the study has that grid.
    """
    for series in inputs.values():
        if series.study_uid == study_uid and result.lies_on(series):
            return series
    shape = " × ".join(str(length) for length in result.labels.array.shape)
    raise BrokenResult(
        f"the plugin returned labels of {shape} on a grid that is none of its input images of study {study_uid}: "
        "whoever made the plugin must return them on the grid of one of them"
    )


def stand_ins(series: Series) -> list[Dataset]:
    """Return one image header per frame for highdicom to place a segmentation on: single-frame CT, in order.

    Each names itself by `stand_in_uid`; whoever uses them puts in the true references afterwards.
    """
    step, thickness = _distances(series)
    return [_stand_in(index, frame, series, thickness, step) for index, frame in enumerate(series.frames)]


def stand_in(series: Series) -> Dataset:
    """Return the first of `stand_ins` alone: what does not depend on the slice can be learnt from it.

    Where the images have no place in the patient it is a radiograph.
    """
    if not series.placed:
        return _unplaced(series)
    step, thickness = _distances(series)
    return _stand_in(0, series.frames[0], series, thickness, step)


def _distances(series: Series) -> tuple[float, float]:
    """Return how far slices are apart, and how thick they are, in mm."""
    step = float(np.linalg.norm(series.affine()[:3, 0]))
    return step, _thickness(series.header) or step


def stand_in_uid(index: int) -> str:
    """Return the UID by which the stand-in of the frame at that place in the stack goes."""
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
    """Return the thickness in mm that the images give, 0 where they give none."""
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


def body_part(header: Dataset, target: Dataset) -> None:
    """Say which part of the body was examined and, of a pair, on which side (PS3.3 C.7.3.1: Laterality is Type 2C)."""
    if header.get("BodyPartExamined"):
        copy_element(header, target, "BodyPartExamined")
    side = str(header.get("Laterality") or header.get("ImageLaterality") or "")
    if side in ("L", "R"):
        target.Laterality = side
    elif "BodyPartExamined" not in target:
        target.Laterality = None


def carry(header: Dataset, target: Dataset) -> None:
    """Copy the attributes of patient and study, text with the bytes it has; absent Type 2 ones come out empty."""
    for keywords in PATIENT_AND_STUDY.values():
        for keyword in keywords:
            copy_element(header, target, keyword)
    for keyword in TYPE_2:
        if keyword not in target:
            setattr(target, keyword, None)
    # text that is still bytes is then written as it is, not decoded and encoded again
    declared = target.get("SpecificCharacterSet")
    encodings = convert_encodings(declared) if declared else None
    target.set_original_encoding(is_implicit_vr=False, is_little_endian=True, character_encoding=encodings)


def copy_element(header: Dataset, target: Dataset, keyword: str) -> None:
    """Copy one attribute; text keeps its bytes, so that no character set can be misread on the way."""
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
    """Return the bytes that a text element was read from, None where they are no longer known."""
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
    """Give every element its value representation, which an implicit VR file leaves open."""
    for item in items:
        for element in item:
            if element.VR == "SQ":
                _decode(element.value)
