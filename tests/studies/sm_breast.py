"""A slide of breast tissue: normal and benign on glass, with invasive carcinoma in one corner."""

import numpy as np
from pydicom.dataset import Dataset

from node import testing
from node.training.phantoms.slide import GLASS, slide

FIELDS = (
    (GLASS, "normal", "normal", GLASS),
    ("normal", "benign", "normal", "normal"),
    ("normal", "normal", "invasive", "invasive"),
    (GLASS, "benign", "invasive", "invasive"),
)
ROWS = 128
"""Of a field 0.256 mm wide; it has two tiles down and two across."""


def images() -> list[Dataset]:
    """Return one whole-slide image of 8 × 8 tiles."""
    picture = slide(FIELDS, ROWS, np.random.default_rng(13))
    tiles, size = (2 * len(FIELDS), 2 * len(FIELDS[0])), ROWS // 2
    image = testing.slide(tiles=tiles, rows=size, columns=size, spacing=0.256 / ROWS, array=picture, seed="sm_breast")
    image.BodyPartExamined, image.Laterality = "BREAST", "L"
    return [image]
