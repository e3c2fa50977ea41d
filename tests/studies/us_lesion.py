"""A sweep of ultrasound over a lesion of the breast that looks malignant, between scales and names."""

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from node import testing
from node.training.phantoms.sonogram import MALIGNANT, cine

FRAMES, ROWS, COLUMNS = 10, 200, 260
TOP, LEFT, HIGH, WIDE = 24, 30, 160, 200
CM = 0.025


def images() -> list[Dataset]:
    """Return one image of ten frames."""
    sweep, _ = cine(FRAMES, HIGH, WIDE, np.random.default_rng(8), MALIGNANT)
    array = np.zeros((FRAMES, ROWS, COLUMNS), np.uint8)
    array[:, TOP : TOP + HIGH, LEFT : LEFT + WIDE] = sweep
    array[:, 4:12, 4:90] = array[:, 40:180:20, 240:250] = 230
    image = testing.ultrasound(array=array, seed="us_lesion")
    image.BodyPartExamined = "BREAST"
    image.ImageType = ["ORIGINAL", "PRIMARY", "BREAST", "0001"]
    image.SequenceOfUltrasoundRegions = Sequence([_region()])
    return [image]


def _region() -> Dataset:
    """Return where the tissue is, and how large its pixels are (PS3.3 C.8.5.5)."""
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 0
    region.RegionLocationMinX0, region.RegionLocationMinY0 = LEFT, TOP
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = LEFT + WIDE, TOP + HIGH
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = CM, CM
    return region
