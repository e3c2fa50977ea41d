"""Find physiological uptake of FDG and its excretion by place, size and uptake relative to liver and body.

The ranges are those of adults. They are wide: a tumour in the place of an organ gets the organ's name. It is outlined
and measured under that name, so that a reader sees it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pet_liver import BODY_SUV, Liver
from serving.coarse_grid import Grid
from torch import Tensor

ANY = (-math.inf, math.inf)
Range = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What is expected of a region in the place of an organ.

    height: mm of its centre above the dome of the liver; left: mm to the left of the body's middle, both sides where
    `paired`; depth: 0 front to 1 back of the body; ml: volume; times: maximum over threshold; length: mm along the
    body; slender: length over width.
    """

    height: Range
    left: Range = ANY
    paired: bool = False
    depth: Range = ANY
    ml: Range = ANY
    times: Range = ANY
    length: Range = ANY
    slender: Range = ANY
    cut: bool = False
    """The region reaches the highest slice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """The measures of a region that `Place` compares."""

    height: float
    left: float
    depth: float
    ml: float
    times: float
    length: float
    slender: float
    cut: bool


MEASURES = ("height", "depth", "ml", "times", "length", "slender")
BRAIN, HEART, KIDNEY, URETER, BLADDER = range(1, 6)
PLACES: Sequence[tuple[int, Place]] = (
    (BRAIN, Place(height=(250, math.inf), ml=(100, math.inf))),
    (BRAIN, Place(height=(250, math.inf), cut=True)),
    (HEART, Place(height=(-40, 120), left=(0, 110), depth=(0, 0.7), ml=(20, 600))),
    (BLADDER, Place(height=(-520, -240), left=(0, 50), paired=True, ml=(10, 800), times=(2.5, math.inf))),
    (KIDNEY, Place(height=(-260, -60), left=(25, 115), paired=True, depth=(0.5, 0.9), ml=(0, 400))),
    (  # a lymph node is not so slender
        URETER,
        Place(
            height=(-440, -150),
            left=(15, 65),
            paired=True,
            ml=(0, 6),
            times=(2, math.inf),
            length=(30, math.inf),
            slender=(1.5, math.inf),
        ),
    ),
)
"""The first place that fits gives its number."""


def place_of(region: Tensor, highest: float, threshold: float, suv: Tensor, grid: Grid, liver: Liver) -> int:
    """Return the number of the place that a region (z, y, x) lies in, 0 for none."""
    measured = _measured(region, highest / threshold, suv, grid, liver)
    return next((number for number, place in PLACES if _fits(measured, place)), 0)


def _fits(region: Region, place: Place) -> bool:
    left = abs(region.left) if place.paired else region.left
    values = {name: getattr(region, name) for name in MEASURES}
    ranges = {name: getattr(place, name) for name in MEASURES}
    inside = all(ranges[name][0] <= value <= ranges[name][1] for name, value in values.items())
    return inside and place.left[0] <= left <= place.left[1] and (region.cut or not place.cut)


def _measured(region: Tensor, times: float, suv: Tensor, grid: Grid, liver: Liver) -> Region:
    where = region.nonzero()
    z, y, x = (float(mean) for mean in where.double().mean(0))
    length, depth, width = (
        float(extent) * mm for extent, mm in zip(where.amax(0) - where.amin(0) + 1, grid.spacing, strict=True)
    )
    rows = (suv[round(z)] > BODY_SUV).any(1).nonzero()
    front, back = float(rows.min()), float(rows.max())
    return Region(
        height=(z - liver.top) * grid.spacing[0],
        left=(x - liver.middle) * grid.spacing[2],
        depth=(y - front) / max(back - front, 1),
        ml=len(where) * grid.voxel_ml,
        times=times,
        length=length,
        slender=length / max(depth, width),
        cut=int(where[:, 0].max()) == len(suv) - 1,
    )
