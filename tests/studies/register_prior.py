"""A chest, and the same chest a year before: turned, shifted, and breathed in less."""

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node import testing
from node.training.phantoms.motion import Motion, moved

SLICES, ROWS = 40, 64
MOTION = Motion(turn=0.06, shift=(8.0, -6.0, 10.0), swings=(6.0, 5.0, 8.0))


def images() -> list[Dataset]:
    """Return the present study."""
    return testing.chest_ct(slices=SLICES, rows=ROWS, patient_id="REGISTERED", seed="registered now")


def prior() -> list[Dataset]:
    """Return the earlier study of the same patient."""
    array = np.stack([image.pixel_array for image in images()]).astype(np.int16) - 1024
    study = testing.chest_ct(
        slices=SLICES,
        rows=ROWS,
        patient_id="REGISTERED",
        seed="registered before",
        array=moved(array, affine(), MOTION),
    )
    for image in study:
        image.StudyDate = image.SeriesDate = image.AcquisitionDate = image.ContentDate = "20230102"
    return study


def affine() -> NDArray[np.float64]:
    """Return the grid of both: (slice, row, column, 1) to mm, LPS."""
    first, second, *_ = images()
    grid = np.diag([0.0, 0.0, 0.0, 1.0])
    grid[:3, 3] = first.ImagePositionPatient
    grid[:3, 0] = np.subtract(second.ImagePositionPatient, first.ImagePositionPatient)
    grid[1, 1], grid[0, 2] = first.PixelSpacing
    return grid
