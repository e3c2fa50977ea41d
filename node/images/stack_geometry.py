"""Where the frames of a stack lie: the step from slice to slice, and whether it is the same everywhere."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from node.errors import UnsuitableSeries
from node.images.frame import Frame

STEP_TOLERANCE = 0.05
"""How far a distance between two slices may differ from the usual distance, as a part of it.

Positions are rounded, and where two bed positions of a PET meet, slices are 2.4 % nearer in real images.
"""
TILT_TOLERANCE = 0.5
"""Degrees between the stacking direction and the slices' normal that rounding alone explains."""
SAME_POSITION = 0.01
"""Slices that are nearer to each other than this, in mm along their normal, lie at the same position.

It is never more than a twentieth of a pixel: slices of a microscopic CT are a few micrometres apart.
"""
ROUNDED = 0.01
"""How far rounding of positions may change the distance of two slices, in mm, and never more than a tenth of it."""
SMALLEST_PART = 0.05
"""The part of a pixel that no tolerance exceeds."""


def part_of_spacing(millimetres: float, spacing: Sequence[float]) -> float:
    """Return a tolerance in mm, made smaller where it exceeds `SMALLEST_PART` of the smallest spacing."""
    return min(millimetres, SMALLEST_PART * min(spacing))


def same_position(frames: Sequence[Frame]) -> float:
    """Return the distance in mm below which frames of a stack lie at the same position."""
    return part_of_spacing(SAME_POSITION, frames[0].spacing or (1.0,))


def along_normal(frames: Sequence[Frame]) -> NDArray[np.float64]:
    """Return how far each frame lies along the normal of the first, in mm: its position · (row × column direction)."""
    return np.array([frame.position for frame in frames], dtype=np.float64) @ frames[0].normal


def usual_distance(distances: NDArray[np.float64]) -> tuple[float, NDArray[np.bool_]]:
    """Return the distance that most neighbouring slices have, in mm, and which pairs of neighbours have it."""
    usual = float(np.sort(distances)[(len(distances) - 1) // 2])
    return usual, np.abs(distances - usual) <= STEP_TOLERANCE * usual + min(ROUNDED, usual / 10)


def slice_step(frames: Sequence[Frame]) -> NDArray[np.float64]:
    """Return the vector from one slice to the next: (3,), mm LPS.

    Raises
    ------
    UnsuitableSeries
        The step is not the same between all slices; the message names the instances.
    """
    first = frames[0]
    if len(frames) == 1:
        return first.normal * _thickness(first)
    distances = np.diff(along_normal(frames))
    if (same := distances < same_position(frames)).any():
        raise UnsuitableSeries(f"{_neighbours(frames, int(same.argmax()))} lie at the same position")
    usual, even = usual_distance(distances)
    if not even.all():
        odd = int(even.argmin())
        raise UnsuitableSeries(
            f"slices are missing or unevenly spaced: {_neighbours(frames, odd)} are {distances[odd]:.2f} mm apart, "
            f"others {usual:.2f} mm"
        )
    positions = np.array([frame.position for frame in frames], dtype=np.float64)
    step: NDArray[np.float64] = (positions[-1] - positions[0]) / (len(frames) - 1)
    off_grid = np.linalg.norm(positions - positions[0] - np.outer(np.arange(len(frames)), step), axis=1)
    tilt = float(np.degrees(np.arccos(np.clip(step @ first.normal / np.linalg.norm(step), -1, 1))))
    if tilt > TILT_TOLERANCE:
        raise UnsuitableSeries(
            f"the gantry was tilted: {first} and the others are stacked {tilt:.1f} degrees off their normal"
        )
    if off_grid.max() > max(first.spacing or (1.0,)):
        raise UnsuitableSeries(
            f"{frames[int(off_grid.argmax())]} lies {off_grid.max():.1f} mm off the even grid of the others"
        )
    return step


def corners(affine: NDArray[np.float64], shape: Sequence[int]) -> NDArray[np.float64]:
    """Return where the centres of the eight outermost voxels of a grid lie: (8, 3), mm LPS."""
    ends = np.array([[*(np.array(shape) - 1) * corner, 1] for corner in np.ndindex(2, 2, 2)], np.float64)
    return np.asarray((ends @ affine.T)[:, :3])


def _neighbours(frames: Sequence[Frame], index: int) -> str:
    return f"{frames[index]} and {frames[index + 1]}"


def _thickness(frame: Frame) -> float:
    """Return the extent in mm of a lone slice across its plane."""
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        if value := frame.header.get(keyword):
            return abs(float(value))
    return 1.0
