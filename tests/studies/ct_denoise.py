"""A CT with the noise of a low dose and with streaks of too few views."""

import numpy as np
import torch
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node import testing
from node.training.phantoms import Image, tomography
from node.training.phantoms.sections import section

SLICES, ROWS, PIXEL_MM = 6, 160, 0.9
NOISE_HU, STEP = 40.0, 6
"""Deviation of the noise; one of so many views is there."""


def truth() -> Image:
    """Return what was there, (slice, row, column), HU."""
    random = np.random.default_rng(41)
    return np.stack([section(ROWS, random) for _ in range(SLICES)])


def images() -> list[Dataset]:
    """Return one series."""
    generator = torch.Generator().manual_seed(41)
    hu = np.stack([plane + _added(plane, generator) for plane in truth()])
    spacing = (3.0, PIXEL_MM, PIXEL_MM)
    return testing.ct_series(array=np.rint(hu), spacing=spacing, seed="ct_denoise", description="Phantom, low dose")


def _added(plane: Image, generator: torch.Generator) -> NDArray[np.float32]:
    projections = tomography.projected(tomography.attenuation(torch.from_numpy(plane).float(), PIXEL_MM))
    noise = tomography.reconstructed(tomography.quantum_noise(projections, generator))
    streaks = tomography.reconstructed(projections[::STEP]) - tomography.reconstructed(projections)
    added = noise / noise.std() * NOISE_HU + streaks / (tomography.WATER * PIXEL_MM) * 1000 / 2
    return np.asarray(added.numpy(), np.float32)
