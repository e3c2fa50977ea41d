"""Multi-frame ultrasound."""

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UltrasoundMultiFrameImageStorage

from node.testing.color import color_image, color_pattern
from node.testing.data_set import assign


def ultrasound(
    *,
    frames: int = 3,
    rows: int = 48,
    columns: int = 64,
    array: NDArray[np.uint8] | None = None,
    seed: str = "phantom",
    series: str = "us",
) -> Dataset:
    """Return one multi-frame ultrasound image in colour (PS3.3 A.7), without a position in the patient.

    `array` is (frame, row, column), grey, 0 to 255.
    """
    values = color_pattern(frames, rows, columns) if array is None else np.repeat(array[..., None], 3, axis=3)
    image = color_image(UltrasoundMultiFrameImageStorage, "US", values, seed=seed, series=series)
    return assign(
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
