"""Photographs: of the retina, of skin, and through an endoscope."""

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import OphthalmicPhotography8BitImageStorage, VLEndoscopicImageStorage, VLPhotographicImageStorage

from node.testing.color import color_image, color_pattern
from node.testing.data_set import assign, code_item, uid


def fundus_photograph(
    *,
    rows: int = 48,
    columns: int = 64,
    array: NDArray[np.uint8] | None = None,
    seed: str = "phantom",
    series: str = "op",
) -> Dataset:
    """Return one colour photograph of the back of a left eye (PS3.3 A.41), without a position in the patient.

    `array` is (row, column, 3), red, green and blue.
    """
    values = color_pattern(1, rows, columns) if array is None else array[None]
    image = color_image(OphthalmicPhotography8BitImageStorage, "OP", values, seed=seed, series=series)
    return assign(
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
        AnatomicRegionSequence=[code_item("5665001", "SCT", "Retina")],
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
        AcquisitionDeviceTypeCodeSequence=[code_item("409898007", "SCT", "Fundus Camera")],
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
    """Return one colour photograph of skin (PS3.3 A.32.4); with modality ES, one through an endoscope (A.32.1).

    `array` is (row, column, 3), red, green and blue.
    """
    sop_class = VLEndoscopicImageStorage if modality == "ES" else VLPhotographicImageStorage
    values = color_pattern(1, rows, columns) if array is None else array[None]
    image = color_image(sop_class, modality, values, seed=seed, series=series)
    return assign(
        image,
        ImageType=["ORIGINAL", "PRIMARY"],
        SeriesDescription="Phantom skin",
        BodyPartExamined="SKIN",
        AcquisitionContextSequence=[],
        AnatomicRegionSequence=[code_item("39937001", "SCT", "Skin")],
        BurnedInAnnotation="NO",
    )
