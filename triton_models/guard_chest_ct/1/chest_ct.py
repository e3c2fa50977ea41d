"""Is it a CT of the chest: two lungs with air inside a body, whole from apex to base, head up and back down?

Lungs are gas inside the body that is denser than gas in bowel. The trachea shows where the head is, the spine where the
back is, the heart which side is left.
"""

from dataclasses import dataclass

import numpy as np
import torch
from serving.body import (
    UNCUT,
    Body,
    Coarse,
    body_of,
    dilate,
    end_sections,
    erode,
    gas_inside,
    middle_of,
    midline,
    spine_check,
    tissue_check,
    to_coarse_grid,
    wide_check,
)
from serving.components import components
from serving.guarding import Answer, Check, answer_by_checks
from torch import Tensor

COARSE_MM, FINE_MM = 5.0, 3.0
SMALL_ML = 8000.0  # a child's body in view: its chest wall is too thin for the coarse grid, and lungs leak through it
PIECE_ML = 40.0  # of the inside of a lung; smaller pieces are airway, stomach and bowel
LIGHTEST_HU = -975.0  # mean: even the worst emphysema is denser; gas in bowel is -1000
LEAST_SIDE_ML = 100.0  # a lung of an infant of 6 kg has 200, less its edge
LEAST_COVER_MM, LEAST_HEIGHT_MM = 80.0, 60.0
MOST_LUNG_CUT = 0.3  # of the largest section of the lungs, on the first or last plane
END = 0.25  # the part of the lungs' height that is their upper or lower end
LEAST_FAT, LEAST_BONE = 0.01, 0.005
HEART_HU = -100.0  # and more: voxels of 5 mm at the edge of a lung have less than soft tissue
HEART_ON_RIGHT = -0.12  # two real chests, one with a collapsed lobe, have 0.23 and 0.27; mirrored, -0.17 and -0.29


@dataclass(frozen=True, slots=True, kw_only=True)
class Chest:
    """Measurements: the body; ml of gas in its right and left half; mm from the top of the lungs to their base.

    cover: mm of the images from feet to head. cut: sections of the lungs on the lowest and the highest plane, as parts
    of the largest. airway: ml of gas in the middle of the body at the lower and the upper end of the lungs. heart:
    by how much more tissue between the lungs, in their lower half, lies left of the middle than right; a part of both.
    """

    body: Body
    sides: tuple[float, float]
    height: float
    cover: float
    cut: tuple[float, float]
    airway: tuple[float, float]
    heart: float


CHECKS: tuple[Check[Chest], ...] = (
    Check(
        lambda seen: seen.cover >= LEAST_COVER_MM,
        lambda seen: f"the images cover only {seen.cover:.0f} mm from head to foot, too little for a chest",
    ),
    tissue_check(fat=LEAST_FAT, bone=LEAST_BONE),
    UNCUT,
    wide_check("chest"),
    Check(
        lambda seen: min(seen.sides) >= LEAST_SIDE_ML,
        lambda seen: "no lung with air is seen in {} of the body".format(
            "either half" if max(seen.sides) < LEAST_SIDE_ML else ("the right", "the left")[int(np.argmin(seen.sides))]
        ),
    ),
    Check(
        lambda seen: seen.height >= LEAST_HEIGHT_MM,
        lambda seen: f"the lungs are only {seen.height:.0f} mm high",
    ),
    Check(
        lambda seen: max(seen.cut) <= MOST_LUNG_CUT,
        lambda seen: f"the lungs are cut off at {('their base', 'their top')[int(np.argmax(seen.cut))]}",
    ),
    Check(
        lambda seen: seen.airway[1] > seen.airway[0],
        "no trachea is seen above the lungs: they are upside down, or no lungs",
    ),
    spine_check("chest"),
    Check(
        lambda seen: seen.heart > HEART_ON_RIGHT,
        "the heart lies on the right: the images are mirrored, or the heart is, or a disease pushed it there",
    ),
)


def judge(volume: Tensor, affine: Tensor, header: str) -> Answer:  # noqa: ARG001 - the pixels decide
    """Say whether a CT shows a whole chest. See docs/plugin-author.md for what is given and returned."""
    seen = look_at(to_coarse_grid(volume, affine, COARSE_MM))
    if seen.body.ml < SMALL_ML:
        seen = look_at(to_coarse_grid(volume, affine, FINE_MM))
    return answer_by_checks(seen, CHECKS)


def look_at(ct: Coarse) -> Chest:
    """Measure everything that the checks use."""
    body = body_of(ct)
    gas = gas_inside(ct, body)
    lungs, middle = lungs_of(ct, gas), middle_of(body.mask)
    column = torch.arange(lungs.shape[2], device=lungs.device)
    right, left = (float((lungs & side).sum()) * ct.voxel_ml for side in (column < middle, column > middle))
    planes = torch.nonzero(lungs.any(2).any(1)).flatten().tolist() or [0]
    low, high = planes[0], planes[-1]
    end = max(1, round((high - low + 1) * END))
    free = gas & midline(body.mask, ct) & ~dilate(lungs, 2)
    airway = [float(free[part].sum()) * ct.voxel_ml for part in (slice(None, low + end), slice(high + 1 - end, None))]
    return Chest(
        body=body,
        sides=(right, left),
        height=(high - low + 1) * ct.grid.spacing[0],
        cover=ct.extent[0],
        cut=end_sections(lungs),
        airway=(airway[0], airway[1]),
        heart=excess_on_left(tissue_between(ct, lungs)[low : (low + high + 1) // 2], middle),
    )


def excess_on_left(mask: Tensor, middle: float) -> float:
    """Return by how much more of a mask lies left of a column than right of it, as a part of both: -1 to 1."""
    column = torch.arange(mask.shape[2], device=mask.device)
    right, left = (float((mask & side).sum()) for side in (column < middle, column > middle))
    return (left - right) / max(left + right, 1.0)


def tissue_between(ct: Coarse, lungs: Tensor) -> Tensor:
    """Return the soft tissue with lung to its right and to its left: the mediastinum, and at its base the heart."""
    grown = dilate(lungs)
    solid = grown.to(torch.uint8)
    after, before = solid.cummax(2).values.bool(), solid.flip(2).cummax(2).values.flip(2).bool()
    return after & before & ~grown & (ct.values > HEART_HU)


def lungs_of(ct: Coarse, gas: Tensor) -> Tensor:
    """Return the inside of the lungs: large pieces of gas that is denser than air."""
    pieces = components(erode(gas))
    sizes = torch.bincount(pieces.flatten()).double()
    means = torch.bincount(pieces.flatten(), ct.values.flatten().double()) / sizes.clamp(min=1)
    kept = (sizes * ct.voxel_ml >= PIECE_ML) & (means > LIGHTEST_HU)
    kept[0] = False
    return kept[pieces]
