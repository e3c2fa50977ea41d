"""A head in a T1-weighted MR, its volumes as in dementia."""

import numpy as np
from pydicom.dataset import Dataset

from node import testing
from node.training.phantoms import Image, Labels
from node.training.phantoms.brain import DEMENTIA, with_structures

SPACING = 3.0, 2.5, 2.5
SHAPE = 72, 84, 84


def head(state: str = DEMENTIA) -> tuple[Image, Labels]:
    """Return its signal, and which part of the brain each voxel is of."""
    down, back, left = ((np.arange(count) - (count - 1) / 2) * step for count, step in zip(SHAPE, SPACING, strict=True))
    return with_structures((down - 15, back, left), np.random.default_rng(11), state=state)


def images(state: str = DEMENTIA) -> list[Dataset]:
    """Return its axial images, 3 mm apart."""
    signal, _ = head(state)
    made = testing.mr_series(array=signal, spacing=SPACING, seed=f"mr_brain {state}", description="T1 of a head")
    for image in made:
        image.BodyPartExamined = "BRAIN"
        image.MRAcquisitionType, image.RepetitionTime, image.EchoTime, image.FlipAngle = "3D", 9, 3, 9
    return made
