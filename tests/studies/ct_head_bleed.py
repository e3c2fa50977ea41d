"""A head in CT with a subdural bleed."""

import numpy as np
from pydicom.dataset import Dataset

from node import testing
from node.training.phantoms import head

HEIGHTS = np.arange(-45, 50, 5.0)
ROWS, FIELD_MM = 256, 240.0


def images() -> list[Dataset]:
    """Return one CT series."""
    hu, _ = head.with_bleeds(HEIGHTS, ROWS, np.random.default_rng(21), bleeds=["subdural"], field=FIELD_MM)
    series = testing.ct_series(array=hu, spacing=(5.0, FIELD_MM / ROWS, FIELD_MM / ROWS))
    for image in series:
        image.BodyPartExamined = "HEAD"
    return series
