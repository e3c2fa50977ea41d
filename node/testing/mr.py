"""MR series, one instance for each slice."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage

from node.testing.ct import ct_series
from node.testing.data_set import set_sop_class


def mr_series(
    *, array: NDArray[Any] | None = None, series: str = "mr", description: str = "Phantom T1", **options: Any
) -> list[Dataset]:
    """Return an MR series. `array` is signal from 0 to 4095, stored without a rescale; all else as in `ct_series`."""
    signal = None if array is None else np.asarray(array, dtype=np.int16) - 1024
    images = ct_series(array=signal, series=series, description=description, **options)
    for image in images:
        set_sop_class(image, MRImageStorage)
        image.Modality = "MR"
        image.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
        for keyword in ("KVP", "ConvolutionKernel", "RescaleIntercept", "RescaleSlope", "RescaleType"):
            delattr(image, keyword)
        image.ScanningSequence, image.SequenceVariant, image.ScanOptions = "GR", "SP", None
        image.MRAcquisitionType, image.EchoTrainLength = "2D", 1
        image.RepetitionTime, image.EchoTime, image.EchoNumbers, image.FlipAngle = 500, 12, 1, 70
        image.MagneticFieldStrength = 1.5
    return images
