"""A whole body in PET with three hot places."""

import numpy as np
from pydicom.dataset import Dataset

from node import testing

SHAPE = (250, 168, 168)
HOT = ((60, 80, 60), (120, 90, 100), (200, 60, 90))
"""Centres: (slice, row, column)."""
BODY, LESION = 3000, 30000
"""Bq/ml."""


def images() -> list[Dataset]:
    """Return one PET series."""
    array = np.full(SHAPE, BODY, np.int16)
    for at in HOT:
        array[tuple(slice(i - 3, i + 4) for i in at)] = LESION
    series = testing.pet_series(array=array, spacing=(3.0, 4.0, 4.0))
    for image in series:
        image.PatientWeight, image.PatientSize, image.PatientSex = 80, 1.8, "M"
    return series
