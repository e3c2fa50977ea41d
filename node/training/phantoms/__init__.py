"""Phantoms to train and judge networks on: images of what a network looks for, with the truth beside them.

Nothing here comes from a patient. All is drawn with the generator that is handed in: the same seed draws the same.
"""

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.int16]
"""HU or stored values, (slice, row, column)."""
Labels = NDArray[np.uint8]
Field = NDArray[np.float64]
Spacing = tuple[float, float, float]
"""mm: from slice to slice, row to row, column to column."""
