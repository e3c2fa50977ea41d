"""A whole body in PET with three hot places, and its CT: soft tissue, and one of the places in bone."""

import numpy as np
from pydicom.dataset import Dataset

from node import testing

SHAPE = (250, 168, 168)
HOT = ((60, 80, 60), (120, 90, 100), (200, 60, 90))
"""Centres: (slice, row, column)."""
BODY, LESION = 3000, 30000
"""Bq/ml."""
SOFT, BONE = 40, 400
"""HU."""


def images() -> list[Dataset]:
    """Return a PET series and a CT series."""
    array = np.full(SHAPE, BODY, np.float32)
    for at in HOT:
        array[tuple(slice(i - 3, i + 4) for i in at)] = LESION
    series = testing.pet_series(array=array, spacing=(3.0, 4.0, 4.0))
    for image in series:
        image.PatientWeight, image.PatientSize, image.PatientSex = 80, 1.8, "M"
    hu = np.full(SHAPE, SOFT, np.int16)
    hu[tuple(slice(i - 5, i + 6) for i in HOT[0])] = BONE
    return [*series, *testing.ct_series(array=hu, spacing=(3.0, 4.0, 4.0), description="CT for attenuation")]
