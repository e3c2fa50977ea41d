"""The series of several roles must show one body: nothing else says that their voxels belong together.

A plugin with several roles reads them by their positions in the patient. Series of two patients, or of one patient who
moved between them, have positions too, and headers may be wrong. So the pixels decide. Priors are not compared: they
are of another day, and their plugins register them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node.errors import UnsuitableSeries
from node.host.manifest import Role
from node.images.series import Series
from node.infer.guards import volume_for

COARSE_MM = 4.0
"""Width of the voxels that are compared, about."""
WINDOW = 5
"""Voxels across in which a correlation is local."""
LEAST_SHOWN = 0.5
"""Least part of the smaller series that the other must show."""
LEAST_LIKENESS = 0.25
"""Least mean squared local correlation.

Measured on real heads: at least 0.5 between T1, T2 and FLAIR of one head, 0.27 after a shift by 6 mm, 0.18 by 10 mm; at
most 0.16 between two heads, however well their outlines fit (Dice up to 0.95).
"""
FAINT = 0.01
"""Part of the variance of the whole below which a window has nothing to compare."""
FEWEST = 100
"""Windows that are compared, at least."""
Array = NDArray[np.float32]
Affine = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CoarseSeries:
    """Values (slice, row, column) and the affine that maps their indices to mm LPS."""

    values: Array
    affine: Affine

    def seen_at(self, points: Affine) -> tuple[Array, NDArray[np.bool_]]:
        """Return the nearest values at points (4, point) in mm, 0 outside, and which points lie inside."""
        indices, inside = indices_at(points, self.affine, self.values.shape)
        return np.where(inside, self.values[tuple(np.where(inside, indices, 0))], 0), inside


def inputs_of_one_body(roles: Mapping[str, Role], inputs: Mapping[str, Series]) -> dict[str, Series]:
    """Return the inputs without the series of optional roles that do not show the body of the first role.

    Raises
    ------
    UnsuitableSeries
        The series of a role that is not optional shows another body; the message names both roles.
    """
    left = dict(inputs)
    placed = [name for name, role in roles.items() if name in inputs and not role.prior_of and inputs[name].placed]
    first, *others = sorted(placed, key=lambda name: roles[name].optional) or [""]
    for name in others:
        reason = difference(inputs[first], inputs[name])
        if reason and not roles[name].optional:
            raise UnsuitableSeries(f"the images of {first} and {name} do not show one body: {reason}")
        if reason:
            del left[name]
    return left


def difference(series: Series, other: Series) -> str:
    """Return why two series do not show one body; empty if they do, or if their pixels have nothing to compare.

    The pixels of two modalities have too little in common: such series must have one Frame of Reference UID
    (PS3.3 C.7.4.1.1.1), and overlap.
    """
    alike = series.modality == other.modality
    frames = series.frame_of_reference_uid, other.frame_of_reference_uid
    if not alike and (not frames[0] or frames[0] != frames[1]):
        return "their Frame of Reference UIDs differ or are absent"
    try:
        shown = max(part_shown(series, other), part_shown(other, series))
        if shown < LEAST_SHOWN:
            return f"one shows {shown:.0%} of the other, less than {LEAST_SHOWN:.0%}"
        likeness = local_likeness(coarse_of(series), coarse_of(other)) if alike else None
    except UnsuitableSeries as error:
        return str(error)
    if likeness is not None and likeness < LEAST_LIKENESS:
        return f"their mean squared local correlation is {likeness:.2f}, less than {LEAST_LIKENESS}"
    return ""


def part_shown(series: Series, other: Series) -> float:
    """Return which part of the place of a series lies in another one, 0 to 1."""
    shape = shape_of(series)
    points = np.indices((9, 9, 9)).reshape(3, -1) / 8 * (np.array(shape)[:, None] - 1)
    there = series.affine() @ np.concatenate((points, np.ones((1, points.shape[1]))))
    return float(indices_at(there, other.affine(), shape_of(other))[1].mean())


def shape_of(series: Series) -> tuple[int, int, int]:
    """Return how many slices, rows and columns a series has."""
    return len(series.frames), int(series.header.Rows), int(series.header.Columns)


def indices_at(points: Affine, affine: Affine, shape: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the nearest indices (3, point) on a grid of points (4, point) in mm, and which lie inside."""
    indices = np.rint(np.linalg.inv(affine) @ points)[:3].astype(np.int64)
    return indices, ((indices >= 0) & (indices < np.array(shape)[:, None])).all(0)


def coarse_of(series: Series) -> CoarseSeries:
    """Return the means of a series in voxels about `COARSE_MM` wide."""
    given = volume_for(series)
    values, affine = given["volume"], given["affine"].copy()
    factors = np.maximum(1, np.rint(COARSE_MM / np.linalg.norm(affine[:3, :3], axis=0))).astype(int)
    factors = np.minimum(factors, values.shape)
    for axis, factor in enumerate(factors.tolist()):
        starts = np.arange(values.shape[axis] // factor) * factor
        whole = values.take(range(len(starts) * factor), axis)
        values = np.add.reduceat(whole, starts, axis) / np.float32(factor)
    affine[:3, 3] += affine[:3, :3] @ ((factors - 1) / 2)
    affine[:3, :3] *= factors
    return CoarseSeries(values, affine)


def local_likeness(here: CoarseSeries, there: CoarseSeries) -> float | None:
    """Return the mean squared local correlation of two series, 0 to 1, where the first has structure.

    None if either has none: a guard refuses it.
    """
    shape = here.values.shape
    indices = np.indices(shape).reshape(3, -1)
    seen, inside = there.seen_at(here.affine @ np.concatenate((indices, np.ones((1, indices.shape[1])))))
    weight = inside.reshape(shape).astype(np.float64)
    first, second = (values * weight for values in (here.values.astype(np.float64), seen.reshape(shape)))
    count = window_sums(weight)
    filled = count >= WINDOW**3 / 2
    count = np.maximum(count, 1)
    means = window_sums(first) / count, window_sums(second) / count
    products = (first * first, second * second, first * second)
    moments = [window_sums(product) / count for product in products]
    own, other = (moments[n] - means[n] ** 2 for n in (0, 1))
    structured = filled & (own > FAINT * first.var()) & (other > FAINT * second.var())
    if structured.sum() < FEWEST:
        return None
    both = moments[2] - means[0] * means[1]
    return float((both[structured] ** 2 / (own[structured] * other[structured])).mean())


def window_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum of each window of `WINDOW` voxels along every axis; beyond the edge are zeros."""
    for axis in range(values.ndim):
        margin = [(WINDOW // 2 + 1, WINDOW // 2) if each == axis else (0, 0) for each in range(values.ndim)]
        sums = np.pad(values, margin).cumsum(axis)
        values = sums.take(range(WINDOW, sums.shape[axis]), axis) - sums.take(range(sums.shape[axis] - WINDOW), axis)
    return values
