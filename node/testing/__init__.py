"""DICOM data made on the spot: for tests, for the demo, and for whoever writes a plugin.

Nothing here comes from a patient. The same arguments give the same bytes and UIDs, so that a test can name them.
"""

import math
import tempfile
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalXRayImageStorageForPresentation,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    MRImageStorage,
    OphthalmicPhotography8BitImageStorage,
    PositronEmissionTomographyImageStorage,
    UltrasoundMultiFrameImageStorage,
    VLEndoscopicImageStorage,
    VLPhotographicImageStorage,
    VLWholeSlideMicroscopyImageStorage,
)

from node.host import read_plugin
from node.images.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, Part10
from node.images.series import Series
from node.images.stacks import group_into_stacks
from node.infer.run import run
from node.results import Result
from node.triton.fake import FakeTriton

__all__ = [
    "AXIAL",
    "CORONAL",
    "SAGITTAL",
    "FakeTriton",
    "chest_ct",
    "chest_phantom",
    "ct_series",
    "digital_radiograph",
    "duplicated",
    "enhanced_ct",
    "enhanced_mr",
    "fundus_photograph",
    "late",
    "mammogram",
    "mr_series",
    "pet_series",
    "photograph",
    "radiograph",
    "repeated",
    "run_plugin",
    "slide",
    "tilted",
    "uid",
    "ultrasound",
    "without",
    "write",
]

Orientation = tuple[float, float, float, float, float, float]

AXIAL: Orientation = (1, 0, 0, 0, 1, 0)
CORONAL: Orientation = (1, 0, 0, 0, 0, -1)
SAGITTAL: Orientation = (0, 1, 0, 0, 0, -1)
"""Image Orientation (Patient) as viewers show them: direction of a row, then of a column, LPS."""

NAMESPACE = uuid.UUID("5b0c0f0e-6c5d-5d0b-9a50-3f5f6f1f1c11")
CHEST_FIELD = 400.0
CHEST_HEIGHT = 300.0
"""Extent of the chest phantom in mm: width and depth, height."""


def uid(*words: object) -> UID:
    """Return a UID that is the same for the same words: 2.25 and a UUID of version 5 (PS3.5 B.2)."""
    return UID(f"2.25.{uuid.uuid5(NAMESPACE, '/'.join(map(str, words))).int}")


def ct_series(
    *,
    slices: int = 8,
    rows: int = 32,
    columns: int = 32,
    spacing: tuple[float, float, float] = (2.5, 0.8, 0.8),
    orientation: Orientation = AXIAL,
    origin: tuple[float, float, float] = (-120.0, -110.0, -50.0),
    array: NDArray[Any] | None = None,
    seed: str = "phantom",
    series: str = "1",
    study_uid: str | None = None,
    series_uid: str | None = None,
    patient_name: str = "PHANTOM^CHEST",
    patient_id: str = "PHANTOM",
    description: str = "Phantom 2.5 mm",
    transfer_syntax: str = ExplicitVRLittleEndian,
    character_set: str | Sequence[str] = "ISO_IR 192",
) -> list[Dataset]:
    """Return a CT series, one data set per slice, in the order of their positions.

    Parameters
    ----------
    spacing
        mm: from slice to slice, row to row, column to column.
    orientation, origin
        Image Orientation (Patient), and the position of the first slice, LPS in mm. Further slices follow along row ×
        column direction.
    array
        (slice, row, column), HU, whole numbers in int16; a pattern unlike in every voxel's neighbourhood without it.
    seed, series
        Make the UIDs: another seed is another study, another series is another series of it.
    transfer_syntax
        Compressed ones are encoded with pydicom's encoders: RLE, JPEG-LS lossless, JPEG 2000 lossless.
    """
    if array is None:
        array = _pattern(slices, rows, columns)
    values = np.asarray(array, dtype=np.int16)
    normal = np.cross(orientation[:3], orientation[3:])
    images = []
    for index, plane in enumerate(values):
        image = _patient_and_study(
            seed=seed,
            study_uid=study_uid,
            patient_name=patient_name,
            patient_id=patient_id,
            character_set=character_set,
        )
        _series_of(image, seed=seed, series=series, series_uid=series_uid, modality="CT", description=description)
        _instance_of(image, CTImageStorage, number=index + 1, seed=f"{seed}/{series}")
        image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        image.AcquisitionNumber = 1
        image.AcquisitionDate, image.AcquisitionTime = image.StudyDate, "101500"
        image.KVP = 120
        image.PatientPosition = "HFS"
        image.SliceThickness = spacing[0]
        image.ConvolutionKernel = "PHANTOM"
        position = np.add(origin, normal * spacing[0] * index)
        _place(image, position=position, orientation=orientation, spacing=spacing[1:])
        image.RescaleIntercept, image.RescaleSlope, image.RescaleType = -1024, 1, "HU"
        image.WindowCenter, image.WindowWidth = 40, 400
        _pixels(image, np.clip(plane.astype(np.int32) + 1024, 0, 4095).astype(np.uint16), bits_stored=12)
        images.append(_encoded(image, transfer_syntax))
    return images


def mr_series(
    *, array: NDArray[Any] | None = None, series: str = "mr", description: str = "Phantom T1", **wanted: Any
) -> list[Dataset]:
    """Return an MR series; all as in `ct_series`, but `array` is signal from 0 to 4095, stored without a rescale."""
    signal = None if array is None else np.asarray(array, dtype=np.int16) - 1024
    images = ct_series(array=signal, series=series, description=description, **wanted)
    for image in images:
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = MRImageStorage
        image.Modality = "MR"
        image.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
        for keyword in ("KVP", "ConvolutionKernel", "RescaleIntercept", "RescaleSlope", "RescaleType"):
            delattr(image, keyword)
        image.ScanningSequence, image.SequenceVariant, image.ScanOptions = "GR", "SP", None
        image.MRAcquisitionType, image.EchoTrainLength = "2D", 1
        image.RepetitionTime, image.EchoTime, image.EchoNumbers, image.FlipAngle = 500, 12, 1, 70
        image.MagneticFieldStrength = 1.5
    return images


def radiograph(
    *,
    rows: int = 64,
    columns: int = 48,
    array: NDArray[Any] | None = None,
    photometric: str = "MONOCHROME2",
    seed: str = "phantom",
    series: str = "cr",
    patient_name: str = "PHANTOM^CHEST",
    character_set: str | Sequence[str] = "ISO_IR 192",
    transfer_syntax: str = ExplicitVRLittleEndian,
) -> Dataset:
    """Return one computed radiograph, posterior to anterior; `array` is (row, column), 0 to 4095."""
    if array is None:
        array = _pattern(1, rows, columns)[0] + 1024
    image = _patient_and_study(
        seed=seed, study_uid=None, patient_name=patient_name, patient_id="PHANTOM", character_set=character_set
    )
    _series_of(image, seed=seed, series=series, series_uid=None, modality="CR", description="Phantom PA")
    _instance_of(image, ComputedRadiographyImageStorage, number=1, seed=f"{seed}/{series}")
    image.ImageType = ["ORIGINAL", "PRIMARY"]
    image.ViewPosition = "PA"
    image.PatientOrientation = ["L", "F"]
    image.KVP, image.PlateID, image.CassetteOrientation, image.CassetteSize = 120, "1", "PORTRAIT", "35CMX43CM"
    image.ImagerPixelSpacing = [0.2, 0.2]
    image.WindowCenter, image.WindowWidth = 2048, 4096
    _pixels(image, np.asarray(array, dtype=np.uint16), bits_stored=12, photometric=photometric)
    return _encoded(image, transfer_syntax)


def enhanced_ct(
    *,
    slices: int = 6,
    rows: int = 32,
    columns: int = 24,
    spacing: tuple[float, float, float] = (2.5, 0.8, 0.8),
    orientation: Orientation = AXIAL,
    origin: tuple[float, float, float] = (-120.0, -110.0, -50.0),
    array: NDArray[Any] | None = None,
    times: int = 1,
    seed: str = "phantom",
    series: str = "enhanced",
    patient_name: str = "PHANTOM^CHEST",
    character_set: str | Sequence[str] = "ISO_IR 192",
    transfer_syntax: str = ExplicitVRLittleEndian,
) -> Dataset:
    """Return one multi-frame Enhanced CT image (PS3.3 A.38) of the slices of `ct_series`.

    With `times` above 1 every slice comes that often, slice by slice, with Temporal Position Index 1, 2 and so on.
    """
    if array is None:
        array = _pattern(slices, rows, columns)
    values = np.repeat(np.asarray(array, dtype=np.int16), times, axis=0)
    image = _patient_and_study(
        seed=seed, study_uid=None, patient_name=patient_name, patient_id="PHANTOM", character_set=character_set
    )
    _series_of(image, seed=seed, series=series, series_uid=None, modality="CT", description="Phantom enhanced")
    _instance_of(image, EnhancedCTImageStorage, number=1, seed=f"{seed}/{series}")
    del image.LossyImageCompression, image.PatientOrientation
    kind = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    shown = {
        "PixelPresentation": "MONOCHROME",
        "VolumetricProperties": "VOLUME",
        "VolumeBasedCalculationTechnique": "NONE",
    }
    _assign(
        image,
        ImageType=kind,
        **shown,
        AcquisitionDateTime=f"{image.StudyDate}101500",
        AcquisitionNumber=1,
        ContentQualification="RESEARCH",
        AcquisitionDuration=1000.0,
        PatientPosition="HFS",
        BurnedInAnnotation="NO",
        LossyImageCompression="00",
        PresentationLUTShape="IDENTITY",
        PositionReferenceIndicator="",
        FrameOfReferenceUID=uid(seed, "frame of reference"),
        NumberOfFrames=len(values),
        AcquisitionContextSequence=[],
        SoftwareVersions="1",
        DeviceSerialNumber="1",
        MultienergyCTAcquisition="NO",
    )
    dimension = uid(seed, series, "dimensions")
    image.DimensionOrganizationSequence = [_item(DimensionOrganizationUID=dimension)]
    image.DimensionIndexSequence = [
        _item(
            DimensionOrganizationUID=dimension,
            DimensionIndexPointer=pointer,
            FunctionalGroupPointer=0x00209111,
            DimensionDescriptionLabel=label,
        )
        for pointer, label in ((0x00209056, "Stack"), (0x00209057, "Position"), (0x00209128, "Time"))
    ]
    image.SharedFunctionalGroupsSequence = [
        _item(
            PixelMeasuresSequence=[_item(PixelSpacing=list(spacing[1:]), SliceThickness=spacing[0])],
            PlaneOrientationSequence=[_item(ImageOrientationPatient=list(orientation))],
            FrameAnatomySequence=[
                _item(
                    FrameLaterality="U",
                    AnatomicRegionSequence=[
                        _item(CodeValue="51185008", CodingSchemeDesignator="SCT", CodeMeaning="Thoracic structure")
                    ],
                )
            ],
            CTImageFrameTypeSequence=[_item(FrameType=kind, **shown)],
            PixelValueTransformationSequence=[_item(RescaleIntercept=-1024, RescaleSlope=1, RescaleType="HU")],
            FrameVOILUTSequence=[_item(WindowCenter=40, WindowWidth=400)],
            IrradiationEventIdentificationSequence=[_item(IrradiationEventUID=uid(seed, series, "exposure"))],
            **_ct_groups(spacing),
        )
    ]
    normal = np.cross(orientation[:3], orientation[3:])
    image.PerFrameFunctionalGroupsSequence = [
        _item(
            FrameContentSequence=[
                _item(
                    FrameAcquisitionDateTime=f"{image.StudyDate}1015{time:02d}",
                    FrameAcquisitionDuration=1000.0,
                    FrameReferenceDateTime=f"{image.StudyDate}1015{time:02d}",
                    FrameAcquisitionNumber=time + 1,
                    StackID="1",
                    InStackPositionNumber=index + 1,
                    TemporalPositionIndex=time + 1,
                    DimensionIndexValues=[1, index + 1, time + 1],
                )
            ],
            PlanePositionSequence=[_item(ImagePositionPatient=_decimals(np.add(origin, normal * spacing[0] * index)))],
        )
        for index in range(len(values) // times)
        for time in range(times)
    ]
    _pixels(image, np.clip(values.astype(np.int32) + 1024, 0, 4095).astype(np.uint16), bits_stored=12)
    return _encoded(image, transfer_syntax)


def digital_radiograph(*, series: str = "dx", **wanted: Any) -> Dataset:
    """Return one digital radiograph of the chest (PS3.3 A.26); all as in `radiograph`."""
    image = radiograph(series=series, **wanted)
    _as_digital(image, DigitalXRayImageStorageForPresentation, modality="DX", side="U")
    image.AnatomicRegionSequence = [_code("51185008", "SCT", "Thoracic structure")]
    image.ViewCodeSequence = [_code("399348003", "SCT", "postero-anterior")]
    return image


def mammogram(*, series: str = "mg", **wanted: Any) -> Dataset:
    """Return one mammogram, left and mediolateral oblique (PS3.3 A.27); all as in `radiograph`."""
    image = radiograph(series=series, **wanted)
    _as_digital(image, DigitalMammographyXRayImageStorageForPresentation, modality="MG", side="L")
    view = _code("399368009", "SCT", "medio-lateral oblique")
    del image.ViewPosition
    return _assign(
        image,
        BodyPartExamined="BREAST",
        PatientOrientation=["A", "FR"],
        PositionerType="MAMMOGRAPHIC",
        OrganExposed="BREAST",
        PartialView="NO",
        AnatomicRegionSequence=[_code("76752008", "SCT", "Breast")],
        ViewCodeSequence=[_assign(view, ViewModifierCodeSequence=[])],
    )


def _as_digital(image: Dataset, sop_class: UID, *, modality: str, side: str) -> None:
    """Make a computed radiograph a digital one (PS3.3 C.8.11)."""
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = sop_class
    for keyword in ("PlateID", "CassetteOrientation", "CassetteSize"):
        delattr(image, keyword)
    _assign(
        image,
        Modality=modality,
        PresentationIntentType="FOR PRESENTATION",
        PositionerType="",
        ImageType=["ORIGINAL", "PRIMARY"],
        ImageLaterality=side,
        BurnedInAnnotation="NO",
        PixelIntensityRelationship="LOG",
        PixelIntensityRelationshipSign=-1,
        RescaleIntercept=0,
        RescaleSlope=1,
        RescaleType="US",
        PresentationLUTShape="INVERSE" if image.PhotometricInterpretation == "MONOCHROME1" else "IDENTITY",
        DetectorType="DIRECT",
        AcquisitionContextSequence=[],
    )


def pet_series(
    *,
    array: NDArray[Any] | None = None,
    series: str = "pt",
    description: str = "Phantom PET",
    transfer_syntax: str = ExplicitVRLittleEndian,
    **wanted: Any,
) -> list[Dataset]:
    """Return a PET series (PS3.3 A.21), each image rescaled by itself; all as in `ct_series`, `array` in Bq/ml."""
    size: dict[str, Any] = {} if array is None else dict(zip(("slices", "rows", "columns"), array.shape, strict=True))
    images = ct_series(series=series, description=description, **size, **wanted)
    for number, image in enumerate(images, 1):
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = PositronEmissionTomographyImageStorage
        for keyword in ("KVP", "ConvolutionKernel", "RescaleType", "PatientPosition"):
            delattr(image, keyword)
        _assign(
            image,
            Modality="PT",
            ImageType=["ORIGINAL", "PRIMARY"],
            SeriesType=["STATIC", "IMAGE"],
            Units="BQML",
            CountsSource="EMISSION",
            CorrectedImage=["ATTN", "DECY"],
            DecayCorrection="START",
            RandomsCorrectionMethod="NONE",
            CollimatorType="NONE",
            NumberOfSlices=len(images),
            ImageIndex=number,
            AcquisitionDate=image.StudyDate,
            AcquisitionTime="101500",
            FrameReferenceTime=0,
            ActualFrameDuration=1000,
            DecayFactor=1,
            DoseCalibrationFactor=1,
            RescaleIntercept=0,
            RescaleSlope=0.5 + 0.25 * number,
            BitsStored=16,
            HighBit=15,
            RadiopharmaceuticalInformationSequence=[
                _item(
                    Radiopharmaceutical="FDG",
                    RadionuclideCodeSequence=[_code("77004003", "SCT", "^18^Fluorine")],
                    RadiopharmaceuticalStartTime="091500",
                    RadionuclideTotalDose=300e6,
                    RadionuclideHalfLife=6588,
                )
            ],
            PatientOrientationCodeSequence=[
                _item(
                    **_fields("102538003", "SCT", "recumbent"),
                    PatientOrientationModifierCodeSequence=[_code("40199007", "SCT", "supine")],
                )
            ],
            PatientGantryRelationshipCodeSequence=[_code("102540001", "SCT", "headfirst")],
        )
        if array is not None:
            stored = np.rint(array[number - 1] / image.RescaleSlope).clip(0, 65535)
            _pixels(image, stored.astype(np.uint16), bits_stored=16)
    return [_encoded(image, transfer_syntax) for image in images]


def enhanced_mr(*, series: str = "enhanced mr", **wanted: Any) -> Dataset:
    """Return one multi-frame Enhanced MR image (PS3.3 A.36); all as in `enhanced_ct`, stored without a rescale."""
    image = enhanced_ct(series=series, **wanted)
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    image.Modality = "MR"
    kind = ["DERIVED", "PRIMARY", "T1", "NONE"]  # an original one would have ten groups more on how it was acquired
    del image.MultienergyCTAcquisition, image.AcquisitionContextSequence
    _assign(
        image,
        ImageType=kind,
        AcquisitionContextSequence=[],
        ComplexImageComponent="MAGNITUDE",
        AcquisitionContrast="T1",
        ResonantNucleus="1H",
        KSpaceFiltering="NONE",
        MagneticFieldStrength=1.5,
        ApplicableSafetyStandardAgency="IEC",
        ApplicableSafetyStandardDescription="",
        VolumeBasedCalculationTechnique="NONE",
        SeriesDescription="Phantom enhanced MR",
    )
    (shared,) = image.SharedFunctionalGroupsSequence
    for element in list(shared):
        if element.keyword.startswith("CT") or element.keyword == "IrradiationEventIdentificationSequence":
            del shared[element.tag]
    frame_type = {
        "PixelPresentation": "MONOCHROME",
        "VolumetricProperties": "VOLUME",
        "VolumeBasedCalculationTechnique": "NONE",
        "ComplexImageComponent": "MAGNITUDE",
        "AcquisitionContrast": "T1",
    }
    _assign(
        shared,
        MRImageFrameTypeSequence=[_item(FrameType=kind, **frame_type)],
        PixelValueTransformationSequence=[_item(RescaleIntercept=0, RescaleSlope=1, RescaleType="US")],
        FrameVOILUTSequence=[_item(WindowCenter=1024, WindowWidth=2048)],
    )
    return image


def ultrasound(
    *,
    frames: int = 3,
    rows: int = 48,
    columns: int = 64,
    array: NDArray[np.uint8] | None = None,
    seed: str = "phantom",
    series: str = "us",
) -> Dataset:
    """Return one multi-frame ultrasound image in colour (PS3.3 A.7), without any place in the patient.

    `array` is (frame, row, column), grey, 0 to 255.
    """
    values = _colors(frames, rows, columns) if array is None else np.repeat(array[..., None], 3, axis=3)
    image = _in_color(seed, series, UltrasoundMultiFrameImageStorage, "US", values)
    return _assign(
        image,
        ImageType=["ORIGINAL", "PRIMARY", "ABDOMINAL", "0001"],
        SeriesDescription="Phantom ultrasound",
        NumberOfFrames=len(values),
        FrameIncrementPointer=0x00181063,
        FrameTime=40,
        CineRate=25,
        BodyPartExamined="ABDOMEN",
        UltrasoundColorDataPresent=0,
    )


def fundus_photograph(
    *,
    rows: int = 48,
    columns: int = 64,
    array: NDArray[np.uint8] | None = None,
    seed: str = "phantom",
    series: str = "op",
) -> Dataset:
    """Return one colour photograph of the back of a left eye (PS3.3 A.41), without any place in the patient.

    `array` is (row, column, 3), red, green and blue.
    """
    values = _colors(1, rows, columns) if array is None else array[None]
    image = _in_color(seed, series, OphthalmicPhotography8BitImageStorage, "OP", values)
    return _assign(
        image,
        ImageType=["ORIGINAL", "PRIMARY", "", "COLOR"],
        SeriesDescription="Phantom fundus",
        NumberOfFrames=1,
        FrameIncrementPointer=0x00181063,
        FrameTime=40,
        SynchronizationFrameOfReferenceUID=uid(seed, series, "synchronization"),
        SynchronizationTrigger="NO TRIGGER",
        AcquisitionTimeSynchronized="N",
        BodyPartExamined="EYE",
        AcquisitionDateTime=f"{image.StudyDate}101500",
        AcquisitionContextSequence=[],
        AnatomicRegionSequence=[_code("5665001", "SCT", "Retina")],
        ImageLaterality="L",
        PatientOrientation=["L", "F"],
        BurnedInAnnotation="NO",
        PatientEyeMovementCommanded="NO",
        HorizontalFieldOfView=45,
        EmmetropicMagnification=1,
        IntraOcularPressure=15,
        PupilDilated="NO",
        RefractiveStateSequence=[],
        DetectorType="CCD",
        PixelSpacing=[0.01, 0.01],
        AcquisitionDeviceTypeCodeSequence=[_code("409898007", "SCT", "Fundus Camera")],
        LightPathFilterTypeStackCodeSequence=[],
        ImagePathFilterTypeStackCodeSequence=[],
        IlluminationTypeCodeSequence=[],
        LensesCodeSequence=[],
    )


def photograph(
    *,
    rows: int = 48,
    columns: int = 64,
    array: NDArray[np.uint8] | None = None,
    modality: str = "XC",
    seed: str = "phantom",
    series: str = "photograph",
) -> Dataset:
    """Return one colour photograph of skin (PS3.3 A.32.4), or one through an endoscope (A.32.1) of modality ES.

    `array` is (row, column, 3), red, green and blue.
    """
    sop_class = VLEndoscopicImageStorage if modality == "ES" else VLPhotographicImageStorage
    values = _colors(1, rows, columns) if array is None else array[None]
    image = _in_color(seed, series, sop_class, modality, values)
    return _assign(
        image,
        ImageType=["ORIGINAL", "PRIMARY"],
        SeriesDescription="Phantom skin",
        BodyPartExamined="SKIN",
        AcquisitionContextSequence=[],
        AnatomicRegionSequence=[_code("39937001", "SCT", "Skin")],
        BurnedInAnnotation="NO",
    )


def slide(
    *,
    tiles: tuple[int, int] = (2, 2),
    rows: int = 24,
    columns: int = 32,
    spacing: float = 0.01,
    array: NDArray[np.uint8] | None = None,
    seed: str = "phantom",
) -> Dataset:
    """Return one whole-slide image in colour (PS3.3 A.32.8), tiled, all tiles of the same size (TILED_FULL).

    Parameters
    ----------
    tiles
        How many down and across.
    rows, columns
        Of one tile.
    spacing
        mm from pixel to pixel.
    array
        The whole slide, (row, column, 3), red, green and blue.
    """
    frames = tiles[0] * tiles[1]
    values = _colors(frames, rows, columns)
    if array is not None:
        apart = array.reshape(tiles[0], rows, tiles[1], columns, 3)
        values = np.ascontiguousarray(apart.swapaxes(1, 2)).reshape(frames, rows, columns, 3)
    image = _in_color(seed, "sm", VLWholeSlideMicroscopyImageStorage, "SM", values)
    del image.BodyPartExamined, image.PatientOrientation
    dimension = uid(seed, "sm", "dimensions")
    kind = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    return _assign(
        image,
        ImageType=kind,
        SeriesDescription="Phantom slide",
        NumberOfFrames=frames,
        SoftwareVersions="1",
        DeviceSerialNumber="1",
        AcquisitionDateTime=f"{image.StudyDate}101500",
        AcquisitionDuration=10.0,
        AcquisitionContextSequence=[],
        FrameOfReferenceUID=uid(seed, "sm", "frame of reference"),
        PositionReferenceIndicator="SLIDE_CORNER",
        DimensionOrganizationType="TILED_FULL",
        DimensionOrganizationSequence=[_item(DimensionOrganizationUID=dimension)],
        TotalPixelMatrixRows=tiles[0] * rows,
        TotalPixelMatrixColumns=tiles[1] * columns,
        TotalPixelMatrixFocalPlanes=1,
        TotalPixelMatrixOriginSequence=[_item(XOffsetInSlideCoordinateSystem=10, YOffsetInSlideCoordinateSystem=20)],
        ImageOrientationSlide=[0, -1, 0, -1, 0, 0],
        ImagedVolumeWidth=tiles[1] * columns * spacing,
        ImagedVolumeHeight=tiles[0] * rows * spacing,
        ImagedVolumeDepth=1.0,
        BurnedInAnnotation="NO",
        SpecimenLabelInImage="NO",
        FocusMethod="AUTO",
        ExtendedDepthOfField="NO",
        VolumetricProperties="VOLUME",
        ContainerIdentifier="S1",
        IssuerOfTheContainerIdentifierSequence=[],
        ContainerTypeCodeSequence=[_code("433466003", "SCT", "Microscope slide")],
        SpecimenDescriptionSequence=[
            _item(
                SpecimenIdentifier="S1",
                IssuerOfTheSpecimenIdentifierSequence=[],
                SpecimenUID=uid(seed, "specimen"),
                SpecimenPreparationSequence=[],
            )
        ],
        NumberOfOpticalPaths=1,
        OpticalPathSequence=[
            _item(
                OpticalPathIdentifier="1",
                IlluminationTypeCodeSequence=[_code("111744", "DCM", "Brightfield illumination")],
                IlluminationColorCodeSequence=[_code("414298005", "SCT", "Full Spectrum")],
                ICCProfile=(files("highdicom") / "_icc_profiles" / "sRGB_v4_ICC_preference.icc").read_bytes(),
            )
        ],
        SharedFunctionalGroupsSequence=[
            _item(
                PixelMeasuresSequence=[_item(PixelSpacing=[spacing, spacing], SliceThickness=0.001)],
                WholeSlideMicroscopyImageFrameTypeSequence=[_item(FrameType=kind)],
                OpticalPathIdentificationSequence=[_item(OpticalPathIdentifier="1")],
            )
        ],
    )


def _colors(frames: int, rows: int, columns: int) -> NDArray[np.uint8]:
    """Return `_pattern` in red, green and blue: (frame, row, column, 3)."""
    colors: NDArray[np.uint8] = (_pattern(frames, rows, columns)[..., None] // (3, 5, 7) % 256).astype(np.uint8)
    return colors


def _in_color(seed: str, series: str, sop_class: UID, modality: str, values: NDArray[np.uint8]) -> Dataset:
    """Return an image in red, green and blue, (frame, row, column, 3)."""
    image = _patient_and_study(
        seed=seed, study_uid=None, patient_name="PHANTOM^CHEST", patient_id="PHANTOM", character_set="ISO_IR 192"
    )
    _series_of(image, seed=seed, series=series, series_uid=None, modality=modality, description="Phantom in colour")
    _instance_of(image, sop_class, number=1, seed=f"{seed}/{series}")
    _assign(
        image,
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
        Rows=values.shape[1],
        Columns=values.shape[2],
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        PixelData=values.tobytes(),
    )
    image["PixelData"].VR = "OB"
    return image


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    return _item(**_fields(value, scheme, meaning))


def _fields(value: str, scheme: str, meaning: str) -> dict[str, str]:
    return {"CodeValue": value, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning}


def _ct_groups(spacing: tuple[float, float, float]) -> dict[str, Any]:
    """Return the functional groups that an original Enhanced CT image must have (PS3.3 A.38.1.4)."""
    return {
        "CTAcquisitionTypeSequence": [_item(AcquisitionType="SPIRAL", ConstantVolumeFlag="NO", FluoroscopyFlag="NO")],
        "CTAcquisitionDetailsSequence": [
            _item(
                RotationDirection="CW",
                RevolutionTime=0.5,
                SingleCollimationWidth=0.6,
                TotalCollimationWidth=38.4,
                TableHeight=150.0,
                GantryDetectorTilt=0.0,
                DataCollectionDiameter=500.0,
            )
        ],
        "CTTableDynamicsSequence": [_item(TableSpeed=40.0, TableFeedPerRotation=20.0, SpiralPitchFactor=0.6)],
        "CTGeometrySequence": [_item(DistanceSourceToDetector=1080.0, DistanceSourceToDataCollectionCenter=570.0)],
        "CTPositionSequence": [
            _item(
                TablePosition=0.0,
                ReconstructionTargetCenterPatient=[0.0, 0.0, 0.0],
                DataCollectionCenterPatient=[0.0, 0.0, 0.0],
            )
        ],
        "CTReconstructionSequence": [
            _item(
                ReconstructionAlgorithm="FILTER_BACK_PROJ",
                ConvolutionKernel="PHANTOM",
                ReconstructionDiameter=400.0,
                ConvolutionKernelGroup="LUNG",
                ReconstructionAngle=360.0,
                ReconstructionPixelSpacing=list(spacing[1:]),
                ImageFilter="NONE",
            )
        ],
        "CTExposureSequence": [
            _item(
                ExposureTimeInms=500.0,
                XRayTubeCurrentInmA=100.0,
                ExposureInmAs=50.0,
                ExposureModulationType="NONE",
            )
        ],
        "CTXRayDetailsSequence": [
            _item(
                KVP=120,
                FocalSpots=[1.0],
                FilterType="FLAT",
                FilterMaterial="ALUMINUM",
                CalciumScoringMassFactorDevice=None,
            )
        ],
    }


# Faults, to be put into a good series.


def without(images: Sequence[Dataset], *indices: int) -> list[Dataset]:
    """Return the series with the slices of these indices missing."""
    return [image for index, image in enumerate(images) if index not in indices]


def duplicated(images: Sequence[Dataset], index: int) -> list[Dataset]:
    """Return the series with one slice in it twice: another instance, and nothing that says why."""
    return [*images, _renamed(images[index], "duplicate")]


def repeated(images: Sequence[Dataset], times: int, **values: Sequence[Any]) -> list[Dataset]:
    """Return the series several times over, with Instance Numbers that go on, as a scanner stores a 4-D series.

    `values` name attributes and give one value for each time: `repeated(mr_series(), 2, EchoTime=[12, 24])`.
    """
    copies = []
    for time in range(times):
        for image in images:
            copy = _renamed(image, "repeated", time)
            copy.InstanceNumber = int(image.InstanceNumber) + time * len(images)
            _assign(copy, **{keyword: of_time[time] for keyword, of_time in values.items()})
            copies.append(copy)
    return copies


def tilted(images: Sequence[Dataset], degrees: float) -> list[Dataset]:
    """Return the series as a tilted gantry records it: planes turned about their rows, a table that moves along z."""
    copies = [deepcopy(image) for image in images]
    turn = math.radians(degrees)
    for copy in copies:
        row, column = np.array(copy.ImageOrientationPatient[:3]), np.array(copy.ImageOrientationPatient[3:])
        leaning = column * math.cos(turn) + np.cross(row, column) * math.sin(turn)
        copy.ImageOrientationPatient = _decimals([*row, *leaning])
        copy.GantryDetectorTilt = degrees
    return copies


def late(images: Sequence[Dataset], count: int) -> tuple[list[Dataset], list[Dataset]]:
    """Return what comes in time, and the `count` last slices, which come when the study was thought complete."""
    return list(images[:-count]), list(images[-count:])


def write(datasets: Iterable[Dataset], folder: Path) -> list[Path]:
    """Write data sets as Part 10 files named by their SOP Instance UIDs, and return their paths in the same order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for dataset in datasets:
        path = folder / f"{dataset.SOPInstanceUID}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


# A chest that never breathed.


def run_plugin(
    plugin: Path,
    images: Mapping[str, Sequence[Dataset]],
    models: Mapping[str, Callable[..., Mapping[str, NDArray[Any]]]],
) -> tuple[Result, ...]:
    """Run the plugin in a folder as the node would, with made images for each role and functions for models.

    Parameters
    ----------
    images
        Role → the data sets of one stack, or of several where the role takes them, pixel data included.
    models
        Name of a model → a function from its inputs, by name, to its outputs.

    Raises
    ------
    BrokenResult
        What the plugin gave back does not fit the images.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = read_plugin(plugin.resolve())
        inputs: dict[str, Series] = {}
        alone = len(images) == len(found.manifest.present) == 1
        for role, datasets in images.items():
            files = write(datasets, Path(folder) / role)
            series = group_into_stacks(Part10.of_file(file) for file in files).series
            inputs |= found.named(series) if alone else dict(zip([role], series, strict=True))
        return run(found, inputs, FakeTriton(models))


def chest_ct(*, slices: int = 100, rows: int = 512, **wanted: Any) -> list[Dataset]:
    """Return a CT series of the chest phantom, 400 mm wide and 300 mm high; everything else as in `ct_series`."""
    spacing = (CHEST_HEIGHT / slices, CHEST_FIELD / rows, CHEST_FIELD / rows)
    half = CHEST_FIELD / 2 - spacing[1] / 2
    images = ct_series(
        **{
            "array": chest_phantom(slices=slices, rows=rows),
            "spacing": spacing,
            "origin": (-half, -half, (spacing[0] - CHEST_HEIGHT) / 2),
            "description": "Chest phantom",
            **wanted,
        }
    )
    for image in images:
        image.WindowCenter, image.WindowWidth = [-500, 40], [1500, 400]
    return images


def chest_phantom(*, slices: int = 100, rows: int = 512) -> NDArray[np.int16]:
    """Return a synthetic chest: (slice, row, column), HU, feet to head, front to back, patient's right to left.

    It spans 300 × 400 × 400 mm. The two lungs are of different size (right about 1.8 l, left about 1.4 l), with
    vessels, and closed off from trachea and bronchi by their walls; there are a heart, an aorta, a spine, ribs, the
    domes of the diaphragm with liver and spleen, a gas bubble in the stomach and a table.
    """
    random = np.random.default_rng(20)
    voxel = CHEST_FIELD / rows
    x = ((np.arange(rows, dtype=np.float32) + 0.5) * voxel - CHEST_FIELD / 2)[None, :]
    y = ((np.arange(rows, dtype=np.float32) + 0.5) * voxel - CHEST_FIELD / 2)[:, None]
    heights = (np.arange(slices) + 0.5) * CHEST_HEIGHT / slices - CHEST_HEIGHT / 2
    wall = max(2.5, 1.3 * voxel, 1.5 * CHEST_HEIGHT / slices)  # a bronchus slants: no slice may step out of it
    chest = np.empty((slices, rows, rows), np.int16)
    lung = np.zeros((slices, rows, rows), np.bool_)
    for index, z in enumerate(heights):
        chest[index], lung[index] = _chest_slice(x, y, float(z), wall)
    _draw_vessels(chest, lung, random)
    for plane in chest:
        blurred = (2 * plane + np.roll(plane, 1, 0) + np.roll(plane, 1, 1)) // 4 if voxel < 2 else plane
        noise = random.standard_normal(plane.shape, np.float32) * np.float32(14)
        plane[:] = np.clip(blurred + noise, -1024, 3071)
    return chest


def _ellipse(x: Any, y: Any, centre: tuple[float, float], radii: tuple[float, float]) -> Any:
    """Return the squared distance from a centre in units of the radii: below 1 inside."""
    return ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2


def _ball(x: Any, y: Any, z: float, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Any:
    return _ellipse(x, y, centre[:2], radii[:2]) + ((z - centre[2]) / radii[2]) ** 2


def _chest_slice(x: Any, y: Any, z: float, wall: float) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """Return one slice at height z in mm, HU, and where its lungs are; x to the left, y to the back, in mm."""
    shoulders = 1 - 0.35 / (1 + math.exp(-(z - 135) / 8))
    body = _ellipse(x, y, (0, 0), (172 * shoulders, 116 * (0.85 + 0.15 * shoulders)))
    plane = np.full(body.shape, -1000, np.int16)
    table = np.abs(y - 128 + (x / 34) ** 2)
    plane[(table < 7) & (np.abs(x) < 190)] = -860
    plane[(np.abs(table - 7) < 1.5) & (np.abs(x) < 190)] = -150
    plane[body < 1] = -95
    plane[body < 0.86] = 48
    # Ribs run down and forward: a band in height that leans with depth.
    bone = (body > 0.62) & (body < 0.76) & (np.sin((z + 0.45 * y) * 2 * math.pi / 28) > 0.25) & (z < 125)
    plane[bone & (np.abs(x) > 28)] = 420

    right = _ball(x, y, z, (-74, 4, -18), (58, 84, 128))
    left = _ball(x, y, z, (78, 8, -14), (52, 78, 122))
    lung = ((right < 1) | (left < 1)) & (body < 0.60)
    liver = _ball(x, y, z, (-66, -4, -168), (98, 104, 108))
    spleen = _ball(x, y, z, (74, 10, -176), (88, 96, 96))
    heart = _ball(x, y, z, (26, -28, -42), (62, 52, 58))
    aorta = np.minimum(_ellipse(x, y, (20, 46), (12, 12)), _ball(x, y, z, (6, 4, 58), (22, 46, 13)))
    mediastinum = _ellipse(x, y, (0, 14), (27, 62))
    plane[mediastinum < 1] = 35
    for organ, value in ((liver, 62), (spleen, 50), (heart, 44), (mediastinum, 35)):
        lung &= organ >= 1
        plane[(organ < 1) & (body < 0.60) & (organ is not mediastinum)] = value
    breath = -868 + 0.35 * (y * np.ones_like(x))
    plane[lung] = breath[lung]
    plane[(aorta < 1) & (z < 70)] = 150
    plane[(_ball(x, y, z, (58, -30, -128), (34, 26, 20)) < 1) & ~lung] = -940

    disc = math.sin(z * 2 * math.pi / 30) > 0.8
    spine = _ellipse(x, y, (0, 74), (21, 18))
    plane[spine < 1] = 90 if disc else 190
    plane[(spine < 1) & (spine > 0.8)] = 120 if disc else 560
    plane[_ellipse(x, y, (0, 99), (9, 8)) < 1] = 25
    plane[(np.abs(x) < 16) & (np.abs(y + 96) < 6) & (z < 100) & (z > -70) & (body < 0.86)] = 300

    lumen, walls = _airway(x, y, z, wall)
    plane[walls & (body < 0.86)] = 30
    lung &= ~walls
    plane[lumen & (body < 0.86)] = -985
    return plane, lung


def _airway(x: Any, y: Any, z: float, wall: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return trachea and main bronchi at height z: their lumen, and lumen and wall together."""
    carina, hilum = 40.0, 5.0
    if z >= carina:
        distance = np.sqrt(_ellipse(x, y, (-2, 8), (1, 1)))
        return distance < 9, distance < 9 + wall
    far = np.full(np.broadcast_shapes(np.shape(x), np.shape(y)), np.inf)
    for reach in (-44.0, 52.0):  # the right bronchus is the shorter and steeper one
        along = (carina - z) / (carina - hilum)
        centre = (-2 + reach * along, 8 + 6 * along)
        far = np.minimum(far, np.sqrt(_ellipse(x, y, centre, (1.35, 1))))
    shut = z < hilum
    return (far < 7) & (not shut), (far < 7 + wall) & (z > hilum - 2 * wall)


def _draw_vessels(chest: NDArray[np.int16], lung: NDArray[np.bool_], random: np.random.Generator) -> None:
    """Draw vessels from each hilum into its lung, thinner and fainter on their way; only inside the lungs."""
    slices, rows, _ = chest.shape
    voxel = np.array([CHEST_HEIGHT / slices, CHEST_FIELD / rows, CHEST_FIELD / rows])
    edge = np.array([-CHEST_HEIGHT / 2, -CHEST_FIELD / 2, -CHEST_FIELD / 2])
    way = np.linspace(0, 1, 220)[:, None]
    for hilum in ((5.0, 14.0, -40.0), (8.0, 14.0, 46.0)):
        for _ in range(70):
            direction = random.normal(size=3) * (1.2, 0.9, 0.7) + (0, 0, math.copysign(0.5, hilum[2]))
            direction *= random.uniform(50, 115) / np.linalg.norm(direction)
            bend = random.normal(size=3) * 14
            path = np.array(hilum) + direction * way + bend * np.sin(way * math.pi)
            radius = 3.4 * (1 - 0.8 * way[:, 0])
            for offset in np.ndindex(5, 5, 5):
                shift = (np.array(offset) - 2) * 1.4
                near = path[np.linalg.norm(shift) <= radius] + shift
                at = ((near - edge) / voxel).astype(np.intp)
                at = at[((at >= 0) & (at < chest.shape)).all(axis=1)].T
                inside = lung[tuple(at)]
                chest[tuple(at[:, inside])] = 20


# What every data set has.


def _patient_and_study(
    *, seed: str, study_uid: str | None, patient_name: str, patient_id: str, character_set: str | Sequence[str]
) -> Dataset:
    image = Dataset()
    image.SpecificCharacterSet = character_set if isinstance(character_set, str) else list(character_set)
    return _assign(
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
    )


def _series_of(
    image: Dataset, *, seed: str, series: str, series_uid: str | None, modality: str, description: str
) -> None:
    _assign(
        image,
        Modality=modality,
        SeriesInstanceUID=series_uid or uid(seed, series, "series"),
        SeriesNumber=1 + sum(series.encode()) % 900,
        SeriesDescription=description,
        SeriesDate=image.StudyDate,
        SeriesTime="101300",
        Manufacturer="ISOCENTER PHANTOM",
        ManufacturerModelName="PHANTOM",
        BodyPartExamined="CHEST",
    )


def _instance_of(image: Dataset, sop_class: UID, *, number: int, seed: str) -> None:
    _assign(
        image,
        SOPClassUID=sop_class,
        SOPInstanceUID=uid(seed, "instance", number),
        InstanceNumber=number,
        ContentDate=image.StudyDate,
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


def _place(
    image: Dataset, *, position: NDArray[np.float64], orientation: Orientation, spacing: tuple[float, float]
) -> None:
    _assign(
        image,
        FrameOfReferenceUID=uid(image.StudyInstanceUID, "frame of reference"),
        PositionReferenceIndicator="",
        ImagePositionPatient=_decimals(position),
        ImageOrientationPatient=_decimals(orientation),
        PixelSpacing=_decimals(spacing),
        SliceLocation=_decimals([float(np.cross(orientation[:3], orientation[3:]) @ position)])[0],
    )


def _pixels(image: Dataset, values: NDArray[np.uint16], *, bits_stored: int, photometric: str = "MONOCHROME2") -> None:
    _assign(
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


def _encoded(image: Dataset, transfer_syntax: str) -> Dataset:
    """Return the data set with its pixel data in a transfer syntax."""
    syntax = UID(transfer_syntax)
    if syntax.is_compressed and not syntax.is_deflated:
        image.compress(syntax, generate_instance_uid=False)
    elif syntax == ExplicitVRBigEndian:
        image.PixelData = np.frombuffer(image.PixelData, np.uint16).byteswap().tobytes()
    image["PixelData"].VR = "OB" if syntax.is_encapsulated else "OW"
    image.file_meta.TransferSyntaxUID = syntax
    return image


def _renamed(image: Dataset, *words: object) -> Dataset:
    copy = deepcopy(image)
    copy.SOPInstanceUID = copy.file_meta.MediaStorageSOPInstanceUID = uid(image.SOPInstanceUID, *words)
    return copy


def _assign(dataset: Dataset, **values: Any) -> Dataset:
    for keyword, value in values.items():
        setattr(dataset, keyword, DicomSequence(value) if keyword.endswith("Sequence") else value)
    return dataset


def _item(**values: Any) -> Dataset:
    return _assign(Dataset(), **values)


def _decimals(numbers: Iterable[float]) -> list[str]:
    """Return numbers as DS has them: 16 characters at most (PS3.5 section 6.2)."""
    return [f"{float(number):.8g}" for number in numbers]


def _pattern(slices: int, rows: int, columns: int) -> NDArray[np.int16]:
    """Return values unlike along every axis, from -1000 to 2000 HU, so that no turned or shifted volume passes."""
    slice_, row, column = np.ogrid[:slices, :rows, :columns]
    values: NDArray[np.int64] = (slice_ * 211 + row * 17 + column * 3 + row * column // 7) % 3000 - 1000
    return values.astype(np.int16)
