"""An MR of a head in slices 4 mm thick."""

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy.ndimage import gaussian_filter1d

from node import testing
from node.training.phantoms.head_pair import mr_and_ct

THICK, SLICES, ROWS, FIELD = 4, 36, 192, 220.0
PROFILE = 3.6
"""Full width at half maximum of a slice's profile in mm, a Gaussian."""


def fine() -> NDArray[np.float64]:
    """Return slices 1 mm apart, (slice, row, column), of which each fourth lies in the middle of a thick slice."""
    heights = np.arange(THICK * (SLICES - 1) + 1.0) - 60
    mr, _ = mr_and_ct(heights, ROWS, np.random.default_rng(42), field=FIELD)
    return mr.astype(np.float64)


def images() -> list[Dataset]:
    """Return one series."""
    thick = gaussian_filter1d(fine(), PROFILE / 2.355, axis=0, mode="nearest")[::THICK]
    made = testing.mr_series(array=np.rint(thick), spacing=(THICK, FIELD / ROWS, FIELD / ROWS), seed="mr_superres")
    for image in made:
        image.BodyPartExamined = "HEAD"
    return made
