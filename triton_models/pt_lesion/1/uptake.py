"""Regions of raised uptake in an FDG PET, in units of SUV; no trained weights.

Regions begin at the threshold of PERCIST 1.0 (Wahl et al., J Nucl Med 2009;50 Suppl 1:122S): 1.5 times the mean in the
liver and two standard deviations; by which body mass, makes no difference to it. Without the liver there is no
threshold, and nothing is outlined. Each region is outlined at 41 % of its maximum (Boellaard et al., Eur J Nucl Med
Mol Imaging 2015;42:328), and never below the threshold, where that outline leaks into normal tissue. The peak is the
highest mean in a ball of 1 cm³.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from pet_liver import BALL_MM, Liver, ball, ball_means, find_liver
from pet_places import place_of
from serving.coarse_grid import Grid, grid_of, total
from serving.components import components
from torch import Tensor

SHARE = 0.41
PEAK_MM = (3000 / (4 * math.pi)) ** (1 / 3)
"""Radius of a ball of 1 cm³."""
SMALLEST_ML = 0.5
MOST = 255
"""Regions are numbered in uint8."""
COLUMNS = 8

Answer = dict[str, Tensor | NDArray[np.float64]]
Box = tuple[slice, slice, slice]


def find_uptake(image: Tensor, affine: Tensor) -> Answer:
    """Outline and measure.

    image: float32 (slice, row, column), body weight; affine: float64 (4, 4), (slice, row, column, 1) to mm, LPS.

    Returns
    -------
    labels: uint8 on the grid of the image: 0 none, n the n-th region at 41 % of its maximum, the hottest first.
    above: uint8: n where the n-th region is above the threshold.
    statistics: float64 (region, 8): maximum, peak (NaN where no ball of 1 cm³ fits) and mean SUV and volume in ml at
    41 % of the maximum; volume in ml and mean SUV above the threshold; number of the physiological place, 0 for none;
    mm above the dome of the liver.
    reference: uint8: 1 in the ball that the liver is measured in.
    threshold: float64 (4): SUV, mean and standard deviation of the liver, NaN where none was found; and what came of
    the search (`pet_liver`).

    Raises
    ------
    ValueError
        The image or the affine has another shape.
    """
    if image.ndim != 3 or affine.shape != (4, 4):
        raise ValueError(f"the image has three axes and the affine is 4 × 4, not {tuple(image.shape)}")
    grid = _as_it_is(affine.cpu().numpy())
    suv = grid.from_image(image.float())
    liver, outcome = find_liver(suv, grid)
    threshold = math.nan if liver is None else 1.5 * liver.mean + 2 * liver.deviation
    labels, above, reference = (torch.zeros(suv.shape, dtype=torch.uint8, device=suv.device) for _ in range(3))
    rows: list[tuple[float, ...]] = []
    if liver is not None:
        _mark_ball(reference, grid, liver)
        rows = _outline_all(suv, threshold, liver, grid, labels, above)
    mean, deviation = (math.nan, math.nan) if liver is None else (liver.mean, liver.deviation)
    return {
        "labels": grid.to_image(labels),
        "above": grid.to_image(above),
        "statistics": np.array(rows, np.float64).reshape(-1, COLUMNS),
        "reference": grid.to_image(reference),
        "threshold": np.array([threshold, mean, deviation, outcome]),
    }


def _as_it_is(matrix: NDArray[np.float64]) -> Grid:
    """Return the grid of the image itself, its axes as (z, y, x): PET is coarse already."""
    grid = grid_of(matrix)
    millimetres = [float(np.linalg.norm(matrix[:3, axis])) for axis in grid.axes]
    return replace(grid, block=(1, 1, 1), spacing=(millimetres[0], millimetres[1], millimetres[2]))


def _mark_ball(reference: Tensor, grid: Grid, liver: Liver) -> None:
    weights = ball(grid, BALL_MM, reference.device)
    box = [slice(at - n // 2, at + n // 2 + 1) for at, n in zip(liver.ball, weights.shape, strict=True)]
    reference[box[0], box[1], box[2]] = (weights > weights.max() / 2).to(torch.uint8)


def _outline_all(
    suv: Tensor, threshold: float, liver: Liver, grid: Grid, labels: Tensor, above: Tensor
) -> list[tuple[float, ...]]:
    """Outline every region above the threshold, the hottest first, and return the rows of its statistics."""
    pieces = components(suv >= threshold)
    size = total(pieces) * grid.voxel_ml
    size[0] = 0
    highest = torch.zeros(len(size), device=suv.device).scatter_reduce_(0, pieces.flatten(), suv.flatten(), "amax")
    kept = [int(k) for k in highest.argsort(descending=True, stable=True) if size[k] >= SMALLEST_ML][:MOST]
    peaks = ball_means(suv, grid, PEAK_MM)
    rows: list[tuple[float, ...]] = []
    boxes = _boxes(pieces)
    for n, k in enumerate(kept, 1):
        region, box = pieces == k, boxes[k]
        above[region] = n
        measured = _outlined(suv[box], region[box], labels[box], n, grid, peaks[box])
        height = float(region.nonzero()[:, 0].double().mean() - liver.top) * grid.spacing[0]
        rows.append((*measured, place_of(region, measured[0], threshold, suv, grid, liver), height))
    return rows


def _boxes(pieces: Tensor) -> Mapping[int, Box]:
    """Return the box around each piece."""
    where = pieces.nonzero()
    numbers = pieces[tuple(where.T)][:, None].expand_as(where)
    shape = (int(pieces.max()) + 1, 3)
    low = torch.full(shape, max(pieces.shape), device=pieces.device).scatter_reduce_(0, numbers, where, "amin")
    high = torch.zeros(shape, dtype=torch.int64, device=pieces.device).scatter_reduce_(0, numbers, where, "amax")
    ends = zip(low.tolist(), high.tolist(), strict=True)
    return {k: tuple(slice(a, b + 1) for a, b in zip(*end, strict=True)) for k, end in enumerate(ends)}  # type: ignore[misc]  # three axes


def _outlined(
    suv: Tensor, region: Tensor, labels: Tensor, number: int, grid: Grid, peaks: Tensor
) -> tuple[float, float, float, float, float, float]:
    """Outline one region at 41 % of its maximum, as far as it hangs together; measure it."""
    maximum = float(suv[region].max())
    pieces = components((suv >= SHARE * maximum) & region)
    hottest = int(torch.where(region, suv, -math.inf).argmax())
    outlined = pieces == pieces.flatten()[hottest]
    labels[outlined] = number
    peak = peaks[region & torch.isfinite(peaks)]
    return (
        maximum,
        float(peak.max()) if len(peak) else math.nan,
        float(suv[outlined].double().mean()),
        float(outlined.sum()) * grid.voxel_ml,
        float(region.sum()) * grid.voxel_ml,
        float(suv[region].double().mean()),
    )
