"""Images in colour: what ultrasound, photographs and slides have in common."""

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID

from node.testing.data_set import assign, new_image, pattern


def color_image(sop_class: UID, modality: str, values: NDArray[np.uint8], *, seed: str, series: str) -> Dataset:
    """Return an image with the values of `values`, (frame, row, column, 3), in red, green and blue."""
    image = new_image(sop_class, modality=modality, description="Phantom in colour", seed=seed, series=series)
    assign(
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


def color_pattern(frames: int, rows: int, columns: int) -> NDArray[np.uint8]:
    """Return `pattern` in red, green and blue: (frame, row, column, 3)."""
    colors: NDArray[np.uint8] = (pattern(frames, rows, columns)[..., None] // (3, 5, 7) % 256).astype(np.uint8)
    return colors
