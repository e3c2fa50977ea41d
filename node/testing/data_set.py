"""What all made data sets have in common: UIDs, patient, study, series, plane and pixel data."""

import uuid
from collections.abc import Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian

from node.images.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.images.synthetic import CREATOR, CREATOR_TAG, MARK_TAG, mark_of

Orientation = tuple[float, float, float, float, float, float]

AXIAL: Orientation = (1, 0, 0, 0, 1, 0)
CORONAL: Orientation = (1, 0, 0, 0, 0, -1)
SAGITTAL: Orientation = (0, 1, 0, 0, 0, -1)
"""Image Orientation (Patient) as viewers show them: direction of a row, then of a column, LPS."""

NAMESPACE = uuid.UUID("5b0c0f0e-6c5d-5d0b-9a50-3f5f6f1f1c11")


def uid(*parts: object) -> UID:
    """Return a UID that is derived from the arguments: 2.25 and a UUID of version 5 (PS3.5 B.2)."""
    return UID(f"2.25.{uuid.uuid5(NAMESPACE, '/'.join(map(str, parts))).int}")


def new_image(
    sop_class: UID,
    *,
    modality: str,
    description: str,
    seed: str,
    series: str,
    number: int = 1,
    study_uid: str | None = None,
    series_uid: str | None = None,
    patient_name: str = "PHANTOM^CHEST",
    patient_id: str = "PHANTOM",
    character_set: str | Sequence[str] = "ISO_IR 192",
) -> Dataset:
    """Return an instance with patient, study, series and file meta information, and without pixel data."""
    image = Dataset()
    image.SpecificCharacterSet = character_set if isinstance(character_set, str) else list(character_set)
    assign(
        image,
        PatientName=patient_name,
        PatientID=patient_id,
        PatientBirthDate="19500101",
        PatientSex="O",
        StudyInstanceUID=study_uid or uid(seed, "study"),
        StudyDate="20240102",
        StudyTime="101112",
        StudyID="1",
        AccessionNumber="A1",
        ReferringPhysicianName="",
        StudyDescription="Phantom study",
        Modality=modality,
        SeriesInstanceUID=series_uid or uid(seed, series, "series"),
        SeriesNumber=1 + sum(series.encode()) % 900,
        SeriesDescription=description,
        SeriesDate="20240102",
        SeriesTime="101300",
        Manufacturer="ISOCENTER PHANTOM",
        ManufacturerModelName="PHANTOM",
        BodyPartExamined="CHEST",
        SOPClassUID=sop_class,
        SOPInstanceUID=uid(f"{seed}/{series}", "instance", number),
        InstanceNumber=number,
        ContentDate="20240102",
        ContentTime="101500",
        PatientOrientation="",
        LossyImageCompression="00",
    )
    image.file_meta = FileMetaDataset()
    image.file_meta.MediaStorageSOPClassUID = sop_class
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    image.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return marked(image)


def marked(image: Dataset) -> Dataset:
    """Mark an image as made (`node.images.synthetic`), and return it; again where its SOP Instance UID changes."""
    image.add_new(CREATOR_TAG, "LO", CREATOR)
    image.add_new(MARK_TAG, "LO", mark_of(str(image.SOPInstanceUID)))
    return image


def unmarked(images: Iterable[Dataset]) -> list[Dataset]:
    """Return copies without the mark that they were made, such as made headers with the pixels of a patient."""
    copies = [deepcopy(image) for image in images]
    for copy in copies:
        del copy[CREATOR_TAG], copy[MARK_TAG]
    return copies


def set_sop_class(image: Dataset, sop_class: UID) -> None:
    """Make an instance one of another SOP class, in its data set and in its file meta information."""
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = sop_class


def set_plane(
    image: Dataset, *, position: NDArray[np.float64], orientation: Orientation, spacing: tuple[float, float]
) -> None:
    """Set the Image Plane Module: position, orientation and spacing in mm."""
    assign(
        image,
        FrameOfReferenceUID=uid(image.StudyInstanceUID, "frame of reference"),
        PositionReferenceIndicator="",
        ImagePositionPatient=decimals(position),
        ImageOrientationPatient=decimals(orientation),
        PixelSpacing=decimals(spacing),
        SliceLocation=decimals([float(np.cross(orientation[:3], orientation[3:]) @ position)])[0],
    )


def set_pixels(
    image: Dataset, values: NDArray[np.uint16], *, bits_stored: int, photometric: str = "MONOCHROME2"
) -> None:
    """Set the Image Pixel Module: grey values in 16 bits."""
    assign(
        image,
        SamplesPerPixel=1,
        PhotometricInterpretation=photometric,
        Rows=values.shape[-2],
        Columns=values.shape[-1],
        BitsAllocated=16,
        BitsStored=bits_stored,
        HighBit=bits_stored - 1,
        PixelRepresentation=0,
        PixelData=values.tobytes(),
    )


def encoded(image: Dataset, transfer_syntax: str) -> Dataset:
    """Return the data set with its pixel data encoded in a transfer syntax."""
    syntax = UID(transfer_syntax)
    if syntax.is_compressed and not syntax.is_deflated:
        image.compress(syntax, generate_instance_uid=False)
    elif syntax == ExplicitVRBigEndian:
        image.PixelData = np.frombuffer(image.PixelData, np.uint16).byteswap().tobytes()
    image["PixelData"].VR = "OB" if syntax.is_encapsulated else "OW"
    image.file_meta.TransferSyntaxUID = syntax
    return image


def renamed(image: Dataset, *parts: object) -> Dataset:
    """Return a copy with another SOP Instance UID, derived from the arguments."""
    copy = deepcopy(image)
    copy.SOPInstanceUID = copy.file_meta.MediaStorageSOPInstanceUID = uid(image.SOPInstanceUID, *parts)
    return marked(copy)


def assign(dataset: Dataset, **values: Any) -> Dataset:
    """Set attributes by keyword, and return the data set."""
    for keyword, value in values.items():
        setattr(dataset, keyword, DicomSequence(value) if keyword.endswith("Sequence") else value)
    return dataset


def item(**values: Any) -> Dataset:
    """Return an item of a sequence with these attributes."""
    return assign(Dataset(), **values)


def decimals(numbers: Iterable[float]) -> list[str]:
    """Return numbers as decimal strings (VR DS): 16 characters at most (PS3.5 section 6.2)."""
    return [f"{float(number):.8g}" for number in numbers]


def code_item(value: str, scheme: str, meaning: str) -> Dataset:
    """Return an item of a code sequence (PS3.3 8.8)."""
    return item(**code_values(value, scheme, meaning))


def code_values(value: str, scheme: str, meaning: str) -> dict[str, str]:
    """Return the attributes of an item of a code sequence (PS3.3 8.8)."""
    return {"CodeValue": value, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning}


def pattern(slices: int, rows: int, columns: int) -> NDArray[np.int16]:
    """Return values from -1000 to 2000 HU that differ along every axis, so that no turned or shifted volume passes."""
    slice_, row, column = np.ogrid[:slices, :rows, :columns]
    values: NDArray[np.int64] = (slice_ * 211 + row * 17 + column * 3 + row * column // 7) % 3000 - 1000
    return values.astype(np.int16)


def write(datasets: Iterable[Dataset], folder: Path) -> list[Path]:
    """Write data sets as Part 10 files named by their SOP Instance UIDs, and return their paths in the same order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for dataset in datasets:
        path = folder / f"{dataset.SOPInstanceUID}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths
