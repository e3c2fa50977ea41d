"""A chest in CT with four nodules in its lungs."""

import numpy as np
from pydicom.dataset import Dataset

from node import testing
from node.training.phantoms import chest


def images() -> list[Dataset]:
    """Return one CT series."""
    lungs = testing.chest_phantom(slices=150, rows=200)
    hu, _, _ = chest.with_nodules(lungs, (2.0, 2.0, 2.0), np.random.default_rng(77), count=4, diameters=(10.0, 20.0))
    return testing.chest_ct(slices=150, rows=200, array=hu)
