"""A retina with severe nonproliferative retinopathy."""

import numpy as np
from pydicom.dataset import Dataset

from node import testing
from node.training.phantoms.fundus import fundus

ROWS, GRADE = 384, 3


def images() -> list[Dataset]:
    """Return one colour photograph."""
    photo, _ = fundus(ROWS, np.random.default_rng(11), grade=GRADE)
    return [testing.fundus_photograph(array=photo, seed="op_retina")]
