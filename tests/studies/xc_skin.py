"""Skin with a melanoma."""

import numpy as np
from pydicom.dataset import Dataset

from node import testing
from node.training.phantoms.skin import lesion

ROWS, KIND = 256, "mel"


def images() -> list[Dataset]:
    """Return one colour photograph."""
    photo, _ = lesion(ROWS, np.random.default_rng(12), kind=KIND)
    return [testing.photograph(array=photo, seed="xc_skin")]
