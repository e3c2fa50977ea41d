"""A trunk in FDG PET with liver, lungs, heart, bladder and three hot places, and its CT: one of the places in bone."""

import numpy as np
from pydicom.dataset import Dataset

from node import testing

SHAPE = (250, 168, 168)
SPACING = (3.0, 4.0, 4.0)
HOT = ((60, 80, 60), (115, 70, 84), (200, 60, 90))
"""Centres: (slice, row, column)."""
ORGANS = {"heart": ((165, 70, 96), 35.0), "bladder": ((30, 84, 84), 30.0)}
"""Centres and radii in mm."""
LIVER, LIVER_MM = (130, 84, 64), 72.0
SUV = {"body": 0.8, "lung": 0.5, "liver": 2.0, "hot": 7.9, "heart": 6.0, "bladder": 20.0}
BQ_PER_SUV = 2.57e3
"""Of 300 MBq in 80 kg, an hour after the injection."""
SOFT, LUNG, BONE = 60, -800, 400
"""HU."""


def near(centre: tuple[int, int, int], millimetres: float) -> np.ndarray:
    """Return where a ball is."""
    axes = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    parts = (((axis - at) * mm) ** 2 for axis, at, mm in zip(axes, centre, SPACING, strict=True))
    return np.asarray(sum(parts) < millimetres**2)


def images() -> list[Dataset]:
    """Return a PET series and a CT series."""
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    trunk = np.broadcast_to(((y - 84) / 32) ** 2 + ((x - 84) / 45) ** 2 < 1, SHAPE)
    lungs = trunk & (z > 145) & (z < 220) & (abs(x - 84) > 8) & (((y - 84) / 26) ** 2 + ((x - 84) / 39) ** 2 < 1)
    suv = np.where(trunk, SUV["body"], 0.01).astype(np.float32)
    suv[lungs] = SUV["lung"]
    suv[near(LIVER, LIVER_MM) & trunk] = SUV["liver"]
    for name, (centre, radius) in ORGANS.items():
        suv[near(centre, radius)] = SUV[name]
    for at in HOT:
        suv[tuple(slice(i - 3, i + 4) for i in at)] = SUV["hot"]
    series = testing.pet_series(array=suv * BQ_PER_SUV, spacing=SPACING)
    for image in series:
        image.PatientWeight, image.PatientSize, image.PatientSex = 80, 1.8, "M"
    hu = np.where(trunk, SOFT, -1000).astype(np.int16)
    hu[lungs & (suv == SUV["lung"])] = LUNG
    hu[tuple(slice(i - 5, i + 6) for i in HOT[0])] = BONE
    return [*series, *testing.ct_series(array=hu, spacing=SPACING, description="CT for attenuation")]
