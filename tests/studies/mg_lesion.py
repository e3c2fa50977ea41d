"""A mammogram from above with a mass and a cluster of calcifications, in a breast of known density."""

import numpy as np
from pydicom.dataset import Dataset

from node import testing
from node.training.phantoms.breast import CALCIFICATION, MASS, mammogram

SEED = 12
ROWS, COLUMNS = 512, 416
SPACING_MM = 0.45


def images() -> list[Dataset]:
    """Return one image."""
    array, _, _ = mammogram(ROWS, COLUMNS, np.random.default_rng(SEED), (MASS, CALCIFICATION), density=0.3)
    image = testing.mammogram(array=array, seed="mg_lesion")
    image.ViewPosition = "CC"
    image.PatientOrientation = ["A", "R"]
    image.ImagerPixelSpacing = [SPACING_MM, SPACING_MM]
    (view,) = image.ViewCodeSequence
    view.CodeValue, view.CodeMeaning = "399162004", "cranio-caudal"
    return [image]
