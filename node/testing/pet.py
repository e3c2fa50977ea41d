"""PET series, one instance for each slice."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage

from node.testing.ct import ct_series
from node.testing.data_set import assign, code_item, code_values, encoded, item, set_pixels, set_sop_class


def pet_series(
    *,
    array: NDArray[Any] | None = None,
    series: str = "pt",
    description: str = "Phantom PET",
    transfer_syntax: str = ExplicitVRLittleEndian,
    **options: Any,
) -> list[Dataset]:
    """Return a PET series (PS3.3 A.21), each image with its own rescale; as `ct_series`, with `array` in Bq/ml."""
    size: dict[str, Any] = {} if array is None else dict(zip(("slices", "rows", "columns"), array.shape, strict=True))
    images = ct_series(series=series, description=description, **size, **options)
    for number, image in enumerate(images, 1):
        set_sop_class(image, PositronEmissionTomographyImageStorage)
        for keyword in ("KVP", "ConvolutionKernel", "RescaleType", "PatientPosition"):
            delattr(image, keyword)
        assign(
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
                item(
                    Radiopharmaceutical="FDG",
                    RadionuclideCodeSequence=[code_item("77004003", "SCT", "^18^Fluorine")],
                    RadiopharmaceuticalStartTime="091500",
                    RadionuclideTotalDose=300e6,
                    RadionuclideHalfLife=6588,
                )
            ],
            PatientOrientationCodeSequence=[
                item(
                    **code_values("102538003", "SCT", "recumbent"),
                    PatientOrientationModifierCodeSequence=[code_item("40199007", "SCT", "supine")],
                )
            ],
            PatientGantryRelationshipCodeSequence=[code_item("102540001", "SCT", "headfirst")],
        )
        if array is not None:
            stored = np.rint(array[number - 1] / image.RescaleSlope).clip(0, 65535)
            set_pixels(image, stored.astype(np.uint16), bits_stored=16)
    return [encoded(image, transfer_syntax) for image in images]
