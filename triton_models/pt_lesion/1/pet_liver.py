"""The liver in an FDG PET, found without CT: by uptake, evenness, size, side, and by the lungs above it.

All arrays are (z, y, x), towards Superior, Posterior and Left of the patient.
"""

import math
from dataclasses import dataclass

import torch
from serving.coarse_grid import Grid, total
from serving.components import components
from torch import Tensor
from torch.nn import functional

BALL_MM = 15.0
"""Radius of the ball of 3 cm that PERCIST measures the liver with."""
SUV = (1.0, 4.5)
"""Of a liver: the range that EANM expects (1.3 to 3.0; Boellaard et al. 2015), wider for light and heavy patients."""
VARIATION = 0.25
"""Largest standard deviation over mean in such a ball: the noise of an image, not of a structure."""
OF_HIGHEST = 0.8
"""Even places with less uptake than so much of the most active ones are blood, muscle and bowel."""
CENTRES_ML = 300.0
"""Least volume of places where such a ball fits: in the right lobe of a small liver there is more, in no spleen."""
MIDLINE_MM = 15.0
"""The middle of the liver is farther to the right of the body's than this."""
TRUNK_CM2 = 350.0
"""Least cross-section of the body there. Of a head it is below 300."""
ABOVE_MM = (25.0, 85.0)
"""Above the dome of the liver, where the right lung is."""
LUNG = (0.08, 0.5)
"""Upper quartile of uptake in the lung over the liver's: more than that of air, less than that of bowel and muscle."""
DOME_CM2 = 15.0
"""The piece is as large as this where the liver begins; what reaches on along the heart is not."""
WIDER = 1.1
"""A trunk is so many times as wide as deep, or more."""
BODY_SUV = 0.2

FOUND, NOTHING_EVEN, OUTSIDE_TRUNK, NO_LUNG, ON_THE_LEFT = range(5)
"""What came of the search."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Liver:
    """Mean and deviation of SUV in a ball of 3 cm, the ball's centre, and the place of the whole.

    ball: (z, y, x), voxels; top and bottom: slices; middle: column of the body's middle.
    """

    mean: float
    deviation: float
    ball: tuple[int, int, int]
    top: int
    bottom: int
    middle: float


def find_liver(suv: Tensor, grid: Grid) -> tuple[Liver | None, int]:
    """Return the liver, and what came of the search: the largest even region that lies as a liver does.

    A larger even region on the left is the liver of images that are mirrored, or of organs that are.
    """
    mean = ball_means(suv, grid, BALL_MM)
    deviation = (ball_means(suv * suv, grid, BALL_MM) - mean * mean).clamp(min=0).sqrt()
    body = suv > BODY_SUV
    even = (mean >= SUV[0]) & (mean <= SUV[1]) & (deviation <= VARIATION * mean)
    if not even.any():
        return None, NOTHING_EVEN
    middle = float(body.nonzero()[:, 2].double().mean())
    right, left = even.clone(), even
    right[..., int(middle) + 1 :] = False
    left[..., : int(middle) + 1] = False
    if not right.any():
        return None, NOTHING_EVEN
    level = OF_HIGHEST * float(mean[right].quantile(0.9)) if right.sum() < 2**24 else 0.0
    pieces = components(right & (mean >= level))
    size = total(pieces) * grid.voxel_ml
    size[0] = 0
    other_side = total(components(left & (mean >= level))) * grid.voxel_ml
    other_side[0] = 0
    outcome = NOTHING_EVEN
    for number in size.argsort(descending=True).tolist():
        if size[number] < CENTRES_ML:
            break
        if size[number] < other_side.max():
            return None, ON_THE_LEFT
        liver = _measured(pieces == number, mean, deviation, grid, middle)
        outcome = _place(liver, pieces == number, suv, body, grid)
        if outcome == FOUND:
            return liver, FOUND
    return None, outcome


def _measured(piece: Tensor, mean: Tensor, deviation: Tensor, grid: Grid, middle: float) -> Liver:
    steadiest = int(torch.where(piece, deviation / mean, math.inf).argmin())
    plane, column = mean.shape[1] * mean.shape[2], mean.shape[2]
    areas = piece.sum((1, 2)) * grid.spacing[1] * grid.spacing[2] / 100
    slices = (areas >= min(DOME_CM2, float(areas.max()))).nonzero()
    reach = round(BALL_MM / grid.spacing[0])
    return Liver(
        mean=float(mean.flatten()[steadiest]),
        deviation=float(deviation.flatten()[steadiest]),
        ball=(steadiest // plane, steadiest % plane // column, steadiest % column),
        top=int(slices.max()) + reach,
        bottom=int(slices.min()) - reach,
        middle=middle,
    )


def _place(liver: Liver, piece: Tensor, suv: Tensor, body: Tensor, grid: Grid) -> int:
    """Return whether a piece lies as a liver does: on the right in a trunk, below a lung."""
    z, _, x = (float(mean) for mean in piece.nonzero().double().mean(0))
    if (liver.middle - x) * grid.spacing[2] < MIDLINE_MM:
        return NOTHING_EVEN
    if not _is_trunk(body[round(z)], grid):
        return OUTSIDE_TRUNK
    low, high = (liver.top + round(mm / grid.spacing[0]) for mm in ABOVE_MM)
    if high > len(suv):
        return NO_LUNG
    beneath = piece.any(0)
    beneath[:, round(x) :] = False  # the heart may be above the rest
    lung = float(suv[low:high][:, beneath].quantile(0.75)) / liver.mean
    return FOUND if LUNG[0] <= lung <= LUNG[1] else NO_LUNG


def _is_trunk(body: Tensor, grid: Grid) -> bool:
    """Return whether a cross-section (y, x) is as large as a trunk's, and wider than deep."""
    depth, width = (float(body.any(axis).sum()) * mm for axis, mm in ((1, grid.spacing[1]), (0, grid.spacing[2])))
    return float(body.sum()) * grid.spacing[1] * grid.spacing[2] / 100 >= TRUNK_CM2 and width >= WIDER * depth


def ball(grid: Grid, radius: float, device: torch.device) -> Tensor:
    """Return weights (z, y, x) of a ball that sum to 1: each voxel by the part of 4 × 4 × 4 points that are inside."""
    offsets = []
    for spacing in grid.spacing:
        reach = math.ceil(radius / spacing)
        fine = torch.arange(4 * (2 * reach + 1), device=device, dtype=torch.float64)
        offsets.append((fine + 0.5) / 4 * spacing - (reach + 0.5) * spacing)
    z, y, x = offsets
    inside = (z[:, None, None] ** 2 + y[:, None] ** 2 + x**2 <= radius**2).float()
    weights = functional.avg_pool3d(inside[None, None], 4)[0, 0]
    return weights / weights.sum()


def ball_means(values: Tensor, grid: Grid, radius: float) -> Tensor:
    """Return the mean in a ball around each voxel, NaN where it leaves the image."""
    weights = ball(grid, radius, values.device)
    means = torch.full_like(values, math.nan, dtype=torch.float32)
    margin = [n // 2 for n in weights.shape]
    if any(n <= 2 * m for n, m in zip(values.shape, margin, strict=True)):
        return means
    inner = tuple(slice(m, n - m) for n, m in zip(values.shape, margin, strict=True))
    means[inner] = functional.conv3d(values[None, None].float(), weights[None, None])[0, 0]
    return means
