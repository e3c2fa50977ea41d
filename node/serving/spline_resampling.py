"""Volumes on another number of voxels by splines, as scikit-image and SciPy resample them for nnU-Net."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

EDGE = 12
"""By how many copies of its outermost value SciPy lengthens a line before it fits a spline to it."""


def resampled(x: Tensor, extent: Sequence[int], planes: int | None, order: int, across: int) -> Tensor:
    """Return a field (z, y, x) with another number of voxels over the same extent, as scikit-image's `resize` does.

    Values stay within those there were: in each plane where `planes` names the axis across them, in all otherwise.
    """
    if tuple(x.shape) == tuple(extent):
        return x
    within = [axis for axis in range(3) if axis != planes]
    low, high = x.amin(within, keepdim=True), x.amax(within, keepdim=True)
    for axis in within:
        x = along(x, axis, extent[axis], order)
    x = x.clamp(low, high)
    return x if planes is None else along(x, planes, extent[planes], across)


def along(x: Tensor, axis: int, count: int, order: int) -> Tensor:
    """Sample a field at `count` places along one axis by a spline; past the outermost voxel its value goes on."""
    length = x.shape[axis]
    if count == length:
        return x
    places = length / count * (np.arange(count) + 0.5) - 0.5
    if order == 0:
        nearest = np.floor(places + 0.5).clip(0, length - 1).astype(np.int64)
        return x.index_select(axis, torch.from_numpy(nearest).to(x.device))
    if order == 1:
        low = np.floor(places.clip(0, length - 1)).clip(max=max(length - 2, 0)).astype(np.int64)
        part = torch.from_numpy(places.clip(0, length - 1) - low).to(x.device, torch.float32)
        left, right = (
            x.index_select(axis, torch.from_numpy(at).to(x.device)).float()
            for at in (low, (low + 1).clip(max=length - 1))
        )
        return torch.lerp(left, right, part.reshape([-1 if number == axis else 1 for number in range(3)]))
    matrix = torch.from_numpy(cubic(length, places)).to(x.device, torch.float32)
    return (x.float().movedim(axis, -1) @ matrix.T).movedim(-1, axis)


def cubic(length: int, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrix (places, length) by which a cubic spline through a line's values gives those at the places.

    As SciPy's `ndimage.zoom` with mode "nearest": the line is lengthened by EDGE of its outermost values on both sides,
    and its coefficients are mirrored at the ends (Unser et al. 1993, doi:10.1109/78.193220).
    """
    whole = length + 2 * EDGE
    lengthened = np.eye(length)[np.arange(whole).clip(EDGE, EDGE + length - 1) - EDGE]
    spline = (np.eye(whole, k=-1) + 4 * np.eye(whole) + np.eye(whole, k=1)) / 6
    spline[0, 0] = spline[-1, -1] = 5 / 6
    coefficients = np.linalg.solve(spline, lengthened)
    first = np.floor(places + EDGE).astype(np.int64) - 1
    t = places + EDGE - first - 1
    parts = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 3 * (1 - t) ** 3 - 6 * (1 - t) ** 2 + 4, t**3)
    taken: NDArray[np.float64] = sum(
        (part / 6)[:, None] * coefficients[first + number] for number, part in enumerate(parts)
    )
    return taken
