"""Regions of raised uptake in a PET, in units of SUV; no trained weights.

Regions begin at a threshold: that of PERCIST (Wahl et al., J Nucl Med 2009;50 Suppl 1:122S), 1.5 times the mean in the
liver and two standard deviations, where a liver is found, else SUV 4; by which body mass, makes no difference to it.
Each is outlined at 41 % of its maximum (Boellaard et al., Eur J Nucl Med Mol Imaging 2015;42:328). The peak is the
highest mean in a ball of 1 cm³.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from serving.coarse_grid import Grid, total
from serving.components import components
from torch import Tensor
from torch.nn import functional

FIXED_SUV = 4.0
SHARE = 0.41
PEAK_MM = (3000 / (4 * math.pi)) ** (1 / 3)  # radius of a ball of 1 cm³
LIVER_MM = 15.0  # radius of the ball that PERCIST measures the liver with
LIVER_SUV = (1.0, 4.5)
LIVER_VARIATION = 0.25  # standard deviation over mean
LIVER_ML = 300.0  # of places where such a ball fits
SMALLEST_ML = 0.5
MOST = 20
SMALLEST_MM = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """Where regions begin: SUV, and mean and standard deviation of the liver, NaN where none was found."""

    suv: float
    mean: float = math.nan
    deviation: float = math.nan


def find_uptake(image: Tensor, affine: Tensor) -> dict[str, Tensor | NDArray[np.float64]]:
    """Outline and measure.

    image: float32 (slice, row, column), body weight; affine: float64 (4, 4), (slice, row, column, 1) to mm, LPS.

    Returns
    -------
    labels: uint8 on the grid of the image: 0 none, n the n-th region at 41 % of its maximum, at most 20, the hottest
    first.
    above: uint8: 1 where a region is above the threshold.
    statistics: float64 (region, 5): maximum, peak (NaN where no ball of 1 cm³ fits) and mean SUV and volume in ml at
    41 % of the maximum, volume in ml above the threshold.
    total: float64 (3): volume in ml, mean SUV and number of all regions above the threshold.
    threshold: float64 (3): SUV, and mean and standard deviation of the liver, NaN where none was found.

    Raises
    ------
    ValueError
        The image or the affine has another shape.
    """
    if image.ndim != 3 or affine.shape != (4, 4):
        raise ValueError(f"the image has three axes and the affine is 4 × 4, not {tuple(image.shape)}")
    matrix = affine.cpu().numpy()
    grid = _as_it_is(matrix)
    threshold = liver_threshold(image, matrix, grid)
    pieces = components(image >= threshold.suv)
    size = total(pieces) * grid.voxel_ml
    size[0] = 0
    highest = torch.zeros(len(size), device=image.device).scatter_reduce_(0, pieces.flatten(), image.flatten(), "amax")
    kept = [int(k) for k in highest.argsort(descending=True, stable=True) if size[k] >= SMALLEST_ML]
    above = torch.isin(pieces, torch.tensor(kept, device=image.device))
    labels = torch.zeros(image.shape, dtype=torch.uint8, device=image.device)
    peaks = ball_means(image, grid, PEAK_MM)
    rows = [_outlined(image, pieces == k, labels, n, grid, peaks) for n, k in enumerate(kept[:MOST], 1)]
    mean = float(image[above].double().mean()) if kept else math.nan
    return {
        "labels": labels,
        "above": above.to(torch.uint8),
        "statistics": np.array(rows, np.float64).reshape(-1, 5),
        "total": np.array([float(above.sum()) * grid.voxel_ml, mean, len(kept)]),
        "threshold": np.array([threshold.suv, threshold.mean, threshold.deviation]),
    }


def _as_it_is(matrix: NDArray[np.float64]) -> Grid:
    """The grid of the image itself: PET is coarse already."""
    slices, rows, columns = (float(mm) for mm in np.linalg.norm(matrix[:3, :3], axis=0))
    return Grid(axes=(0, 1, 2), flipped=(), block=(1, 1, 1), spacing=(slices, rows, columns))


def _outlined(
    suv: Tensor, region: Tensor, labels: Tensor, number: int, grid: Grid, peaks: Tensor
) -> tuple[float, float, float, float, float]:
    """Outline one region at 41 % of its maximum, as far as it hangs together and is no other's; measure it."""
    maximum = float(suv[region].max())
    pieces = components((suv >= SHARE * maximum) & (labels == 0))
    hottest = int((suv * region).argmax())
    outlined = pieces == pieces.flatten()[hottest]
    labels[outlined] = number
    peak = peaks[region & torch.isfinite(peaks)]
    return (
        maximum,
        float(peak.max()) if len(peak) else math.nan,
        float(suv[outlined].double().mean()),
        float(outlined.sum()) * grid.voxel_ml,
        float(region.sum()) * grid.voxel_ml,
    )


def ball(grid: Grid, radius: float, device: torch.device) -> Tensor:
    """Weights (z, y, x) of a ball that sum to 1: each voxel by the part of 4 × 4 × 4 points in it that are inside."""
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
    """The mean in a ball about each voxel, NaN where it leaves the image."""
    weights = ball(grid, radius, values.device)
    means = torch.full_like(values, math.nan, dtype=torch.float32)
    margin = [n // 2 for n in weights.shape]
    if any(n <= 2 * m for n, m in zip(values.shape, margin, strict=True)):
        return means
    inner = tuple(slice(m, n - m) for n, m in zip(values.shape, margin, strict=True))
    means[inner] = functional.conv3d(values[None, None].float(), weights[None, None])[0, 0]
    return means


def liver_threshold(suv: Tensor, matrix: NDArray[np.float64], grid: Grid) -> Threshold:
    """1.5 times the mean of the most even place in the liver and two standard deviations, or SUV 4.

    The liver is the largest piece, on the patient's right, of places where a ball of 3 cm is evenly filled.
    """
    mean = ball_means(suv, grid, LIVER_MM)
    variance = (ball_means(suv * suv, grid, LIVER_MM) - mean * mean).clamp(min=0)
    deviation = variance.sqrt()
    even = (mean >= LIVER_SUV[0]) & (mean <= LIVER_SUV[1]) & (deviation <= LIVER_VARIATION * mean)
    body = (suv > 0.2).nonzero().double()
    if not even.any() or not len(body):
        return Threshold(suv=FIXED_SUV)
    to_left = torch.tensor(matrix[0, :3], device=suv.device)
    index = even.nonzero().double()
    right = (index @ to_left) < (body.mean(0) @ to_left)
    even[tuple(even.nonzero().T[:, ~right])] = False
    pieces = components(even)
    size = total(pieces) * grid.voxel_ml
    size[0] = 0
    if size.max() < LIVER_ML:
        return Threshold(suv=FIXED_SUV)
    liver = pieces == size.argmax()
    steadiest = int(torch.where(liver, deviation / mean, math.inf).argmin())
    where = float(mean.flatten()[steadiest]), float(deviation.flatten()[steadiest])
    return Threshold(suv=1.5 * where[0] + 2 * where[1], mean=where[0], deviation=where[1])
