"""Multi-frame Enhanced CT and MR images, with functional groups."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage, EnhancedMRImageStorage, ExplicitVRLittleEndian

from node.testing.data_set import (
    AXIAL,
    Orientation,
    assign,
    decimals,
    encoded,
    item,
    new_image,
    pattern,
    set_pixels,
    set_sop_class,
    uid,
)


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
    """Return one multi-frame Enhanced CT image (PS3.3 A.38) with the slices of `ct_series`.

    With `times` above 1, each slice is repeated that often, with Temporal Position Index 1, 2 and so on.
    """
    if array is None:
        array = pattern(slices, rows, columns)
    values = np.repeat(np.asarray(array, dtype=np.int16), times, axis=0)
    image = new_image(
        EnhancedCTImageStorage,
        modality="CT",
        description="Phantom enhanced",
        seed=seed,
        series=series,
        patient_name=patient_name,
        character_set=character_set,
    )
    del image.LossyImageCompression, image.PatientOrientation
    kind = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    shown = {
        "PixelPresentation": "MONOCHROME",
        "VolumetricProperties": "VOLUME",
        "VolumeBasedCalculationTechnique": "NONE",
    }
    assign(
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
    image.DimensionOrganizationSequence = [item(DimensionOrganizationUID=dimension)]
    image.DimensionIndexSequence = [
        item(
            DimensionOrganizationUID=dimension,
            DimensionIndexPointer=pointer,
            FunctionalGroupPointer=0x00209111,
            DimensionDescriptionLabel=label,
        )
        for pointer, label in ((0x00209056, "Stack"), (0x00209057, "Position"), (0x00209128, "Time"))
    ]
    image.SharedFunctionalGroupsSequence = [
        item(
            PixelMeasuresSequence=[item(PixelSpacing=list(spacing[1:]), SliceThickness=spacing[0])],
            PlaneOrientationSequence=[item(ImageOrientationPatient=list(orientation))],
            FrameAnatomySequence=[
                item(
                    FrameLaterality="U",
                    AnatomicRegionSequence=[
                        item(CodeValue="51185008", CodingSchemeDesignator="SCT", CodeMeaning="Thoracic structure")
                    ],
                )
            ],
            CTImageFrameTypeSequence=[item(FrameType=kind, **shown)],
            PixelValueTransformationSequence=[item(RescaleIntercept=-1024, RescaleSlope=1, RescaleType="HU")],
            FrameVOILUTSequence=[item(WindowCenter=40, WindowWidth=400)],
            IrradiationEventIdentificationSequence=[item(IrradiationEventUID=uid(seed, series, "exposure"))],
            **_ct_groups(spacing),
        )
    ]
    normal = np.cross(orientation[:3], orientation[3:])
    image.PerFrameFunctionalGroupsSequence = [
        item(
            FrameContentSequence=[
                item(
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
            PlanePositionSequence=[item(ImagePositionPatient=decimals(np.add(origin, normal * spacing[0] * index)))],
        )
        for index in range(len(values) // times)
        for time in range(times)
    ]
    set_pixels(image, np.clip(values.astype(np.int32) + 1024, 0, 4095).astype(np.uint16), bits_stored=12)
    return encoded(image, transfer_syntax)


def enhanced_mr(*, series: str = "enhanced mr", **options: Any) -> Dataset:
    """Return one multi-frame Enhanced MR image (PS3.3 A.36), stored without a rescale; all else as in `enhanced_ct`."""
    image = enhanced_ct(series=series, **options)
    set_sop_class(image, EnhancedMRImageStorage)
    image.Modality = "MR"
    kind = [
        "DERIVED",
        "PRIMARY",
        "T1",
        "NONE",
    ]  # an ORIGINAL image needs ten more functional groups about its acquisition
    del image.MultienergyCTAcquisition, image.AcquisitionContextSequence
    assign(
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
    assign(
        shared,
        MRImageFrameTypeSequence=[item(FrameType=kind, **frame_type)],
        PixelValueTransformationSequence=[item(RescaleIntercept=0, RescaleSlope=1, RescaleType="US")],
        FrameVOILUTSequence=[item(WindowCenter=1024, WindowWidth=2048)],
    )
    return image


def _ct_groups(spacing: tuple[float, float, float]) -> dict[str, Any]:
    """Return the functional groups that an original Enhanced CT image must have (PS3.3 A.38.1.4)."""
    return {
        "CTAcquisitionTypeSequence": [item(AcquisitionType="SPIRAL", ConstantVolumeFlag="NO", FluoroscopyFlag="NO")],
        "CTAcquisitionDetailsSequence": [
            item(
                RotationDirection="CW",
                RevolutionTime=0.5,
                SingleCollimationWidth=0.6,
                TotalCollimationWidth=38.4,
                TableHeight=150.0,
                GantryDetectorTilt=0.0,
                DataCollectionDiameter=500.0,
            )
        ],
        "CTTableDynamicsSequence": [item(TableSpeed=40.0, TableFeedPerRotation=20.0, SpiralPitchFactor=0.6)],
        "CTGeometrySequence": [item(DistanceSourceToDetector=1080.0, DistanceSourceToDataCollectionCenter=570.0)],
        "CTPositionSequence": [
            item(
                TablePosition=0.0,
                ReconstructionTargetCenterPatient=[0.0, 0.0, 0.0],
                DataCollectionCenterPatient=[0.0, 0.0, 0.0],
            )
        ],
        "CTReconstructionSequence": [
            item(
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
            item(
                ExposureTimeInms=500.0,
                XRayTubeCurrentInmA=100.0,
                ExposureInmAs=50.0,
                ExposureModulationType="NONE",
            )
        ],
        "CTXRayDetailsSequence": [
            item(
                KVP=120,
                FocalSpots=[1.0],
                FilterType="FLAT",
                FilterMaterial="ALUMINUM",
                CalciumScoringMassFactorDevice=None,
            )
        ],
    }
