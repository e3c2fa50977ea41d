"""A radiograph of a chest with a hiatal hernia and fibrosis of the lungs."""

import numpy as np
from pydicom.dataset import Dataset

from node import testing
from node.training.phantoms.radiograph import radiograph

SEEN = "hernia", "fibrosis"


def images() -> list[Dataset]:
    """Return one image."""
    array, _ = radiograph(256, np.random.default_rng(5), SEEN)
    return [testing.digital_radiograph(array=array, seed="cxr_findings")]
