"""A T1-weighted MR of a head, of which CT is known too."""

import numpy as np
from pydicom.dataset import Dataset

from node import testing
from node.training.phantoms import Image
from node.training.phantoms.head_pair import mr_and_ct

HEIGHTS = np.arange(-60.0, 84.0, 6.0)
ROWS, FIELD = 112, 224.0


def pair() -> tuple[Image, Image]:
    """Return the MR, and in HU what CT shows of the same head, (slice, row, column)."""
    return mr_and_ct(HEIGHTS, ROWS, np.random.default_rng(43), field=FIELD)


def images() -> list[Dataset]:
    """Return one series."""
    mr, _ = pair()
    made = testing.mr_series(array=mr, spacing=(6.0, FIELD / ROWS, FIELD / ROWS), seed="mr_to_ct")
    for image in made:
        image.BodyPartExamined = "HEAD"
    return made
