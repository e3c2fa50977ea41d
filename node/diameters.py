"""How long and how wide an outline is in a plane: what reports of lesions measure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Diameters:
    """On which slice a thing is longest, and its axes there in mm."""

    slice: int
    long: float
    short: float


def longest(mask: NDArray[np.bool_], spacing: tuple[float, float]) -> Diameters | None:
    """Return the longest axis that a mask (slice, row, column) has in any slice, and the one across it there.

    `spacing` is mm from row to row and from column to column. None where nothing is outlined.
    """
    found: Diameters | None = None
    extents = [float(np.hypot(*(np.array(reach(plane)) * spacing))) for plane in mask]
    for index in np.argsort(extents)[::-1]:
        if extents[index] == 0 or (found is not None and extents[index] <= found.long):
            break
        long, short = axes(mask[index], spacing)
        if found is None or long > found.long:
            found = Diameters(int(index), long, short)
    return found


def reach(plane: NDArray[np.bool_]) -> tuple[int, int]:
    """Return how many rows and columns an outline spans."""
    ends = [np.flatnonzero(plane.any(axis)) for axis in (1, 0)]
    rows, columns = (int(end[-1] - end[0]) + 1 if len(end) else 0 for end in ends)
    return rows, columns


def axes(plane: NDArray[np.bool_], spacing: tuple[float, float]) -> tuple[float, float]:
    """Return the longest diameter of an outline and the longest one across it, in mm; pixels count with their width."""
    rows = np.flatnonzero(plane.any(1))
    ends = (plane[rows].argmax(1), plane.shape[1] - 1 - plane[rows, ::-1].argmax(1))  # the hull's corners are of them
    points = np.concatenate([np.column_stack((rows, end)) for end in ends]) * spacing
    away = np.linalg.norm(points[:, None] - points[None], axis=2)
    first, last = np.unravel_index(away.argmax(), away.shape)
    pixel = sum(spacing) / 2
    if first == last:
        return pixel, pixel
    row, column = (points[last] - points[first]) / away[first, last]
    across = points @ (-column, row)
    return float(away[first, last]) + pixel, float(np.ptp(across)) + pixel
