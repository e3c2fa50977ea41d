"""An abdomen without contrast medium, with lesions in its liver."""

import numpy as np
from pydicom.dataset import Dataset

from node import testing
from node.training.phantoms import Image, Labels
from node.training.phantoms.abdomen import with_lesions

SPACING = 5.0, 4.0, 4.0
SHAPE = 48, 96, 96


def abdomen() -> tuple[Image, Labels]:
    """Return its HU, and where in it are liver, lesions and spleen."""
    down, back, left = ((np.arange(count) - (count - 1) / 2) * step for count, step in zip(SHAPE, SPACING, strict=True))
    return with_lesions((down, back, left), np.random.default_rng(7), lesions=3, contrast=False)


def images() -> list[Dataset]:
    """Return its images, 5 mm apart."""
    hu, _ = abdomen()
    made = testing.ct_series(array=hu, spacing=SPACING, seed="ct_liver", description="Abdomen without contrast medium")
    for image in made:
        image.BodyPartExamined = "ABDOMEN"
    return made
