"""Measure masks as radiologists do: connected components, axes, diameters, volumes, mean values.

With `node` and `node.testing` this is what plugins import. It needs NumPy alone, so that no job loads torch for it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.codes import DCM, SCT, UCUM
from node.images.contours import contours
from node.images.series import Volume
from node.results import Measurement, Segment

__all__ = [
    "Axes",
    "Component",
    "axes",
    "bounding_boxes",
    "contours",
    "find_components",
    "label_components",
    "longest_axes",
    "mean_attenuation",
    "noise",
    "size_measurements",
    "values_inside",
]

HALF_VOXEL = 0.5
"""A voxel reaches this far from its centre, in voxels."""

NORMAL_MEDIAN = 0.6745
"""Median of the size of a normal variable of standard deviation 1."""
KERNEL_NORM = 6.0
"""Root of the sum of squares of 1 -2 1, -2 4 -2, 1 -2 1."""

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Component:
    """One connected component of a mask, such as a nodule or a lesion.

    Parameters
    ----------
    box
        The box around it, one voxel wider on every side where the images go on: (slice, row, column).
    mask
        Its voxels in the box: bool (slice, row, column).
    slice
        Index, in the whole mask, of the slice on which it is largest.
    long, short
        Its axes on that slice, mm.
    """

    box: Box
    mask: NDArray[np.bool_]
    slice: int
    long: float
    short: float

    @property
    def diameter(self) -> float:
        """Mean of the long and the short axis (Lung-RADS 2022, Fleischner Society 2017), mm."""
        return (self.long + self.short) / 2

    @property
    def rim(self) -> NDArray[np.bool_]:
        """The voxels of the box that lie outside the component and touch it by a face."""
        grown = self.mask.copy()
        for axis in range(3):
            after, before = np.moveaxis(grown, axis, 0), np.moveaxis(self.mask, axis, 0)
            after[1:] |= before[:-1]
            after[:-1] |= before[1:]
        return grown & ~self.mask


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """The slice on which a structure is longest, and its long and short axis there in mm."""

    slice: int
    long: float
    short: float


def label_components(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the number of the connected component of each voxel: 0 outside the mask, then 1 … n.

    Voxels are connected by faces; the mask may have any number of axes. Components are numbered by their first voxel.
    Runs along the last axis are the nodes of a graph. Each root is hung under its smallest neighbouring root until no
    edge joins two roots (Shiloach & Vishkin 1982).
    """
    voxels = np.flatnonzero(mask)
    starts = (np.diff(voxels, prepend=-2) != 1) | (voxels % mask.shape[-1] == 0)
    run = np.cumsum(starts) - 1
    pairs = [np.empty((2, 0), np.int64)]
    for axis in range(mask.ndim - 1):
        step = prod(mask.shape[axis + 1 :])
        inside = np.flatnonzero(voxels // step % mask.shape[axis] < mask.shape[axis] - 1)
        after = np.searchsorted(voxels, voxels[inside] + step)
        inside, after = inside[after < len(voxels)], after[after < len(voxels)]
        adjacent = voxels[after] == voxels[inside] + step
        pairs.append(np.stack((run[inside[adjacent]], run[after[adjacent]])))
    edges = np.concatenate(pairs, 1)
    parent = np.arange(int(starts.sum()))
    while (edges := parent[edges][:, parent[edges[0]] != parent[edges[1]]]).size:
        np.minimum.at(parent, edges.max(0), edges.min(0))
        while (parent != (above := parent[parent])).any():
            parent = above
    labels = np.zeros(mask.shape, np.int64)
    labels.ravel()[voxels] = np.unique(parent, return_inverse=True)[1][run] + 1
    return labels


def find_components(mask: NDArray[np.bool_], spacing: tuple[float, float, float]) -> Iterator[Component]:
    """Yield the connected components of a mask, (slice, row, column), with their axes; `spacing` in mm."""
    labels = label_components(mask)
    for number, box in enumerate(bounding_boxes(labels), 1):
        own = labels[box] == number
        areas = own.sum((1, 2))
        largest = np.flatnonzero(areas == areas.max())
        widest = int(largest[len(largest) // 2])
        long, short = axes(own[widest], spacing[1:])
        yield Component(box=box, mask=own, slice=box[0].start + widest, long=long, short=short)


def size_measurements(component: Component, of: Segment, hu: NDArray[Any], voxel_ml: float) -> Iterator[Measurement]:
    """Measure a component in a CT, (slice, row, column): both axes, mean diameter, volume, mean attenuation."""
    own = hu[component.box][component.mask]
    yield Measurement(name=SCT.LongAxis, value=round(component.long, 1), unit=UCUM.Millimeter, of=of)
    yield Measurement(name=SCT.ShortAxis, value=round(component.short, 1), unit=UCUM.Millimeter, of=of)
    yield Measurement(
        name=SCT.Diameter, value=round(component.diameter, 1), unit=UCUM.Millimeter, derivation=SCT.Mean, of=of
    )
    yield Measurement(name=SCT.Volume, value=round(len(own) * voxel_ml * 1000), unit=UCUM.CubicMillimeter, of=of)
    yield mean_attenuation(own, of)


def mean_attenuation(hu: NDArray[Any], of: Segment) -> Measurement:
    """Return the mean of values of a CT, rounded to whole HU, as a measurement of a segment."""
    value, unit = round(float(hu.mean())), UCUM.HounsfieldUnit
    return Measurement(name=DCM.MeanAttenuationCoefficient, value=value, unit=unit, of=of)


def noise(images: NDArray[Any], where: NDArray[np.bool_]) -> float:
    """Return the standard deviation of the noise of images, (slice, row, column), inside a mask; NaN without a voxel.

    A difference of two second derivatives removes flat and evenly rising tissue (Immerkær, Computer Vision and Image
    Understanding 1996;64:300); the median of its size is not moved by edges. The inner rows and columns are used.
    """
    values = images.astype(np.float32)
    across = values[:, :, :-2] - 2 * values[:, :, 1:-1] + values[:, :, 2:]
    both = across[:, :-2] - 2 * across[:, 1:-1] + across[:, 2:]
    inside = np.abs(both[where[:, 1:-1, 1:-1]])
    return float(np.median(inside)) / (NORMAL_MEDIAN * KERNEL_NORM) if inside.size else float("nan")


def values_inside(mask: Volume, of: Volume) -> NDArray[Any]:
    """Return the values of those voxels of a volume whose centres lie inside a mask on another grid: (n,).

    Both grids are in the same frame of reference. The array is empty if the mask is empty or reaches beyond the volume.
    """
    indices = np.nonzero(mask.array)
    if not len(indices[0]):
        return of.array[:0].ravel()
    low, high = np.array([(index.min(), index.max()) for index in indices]).T
    to_volume = np.linalg.inv(of.affine) @ mask.affine
    ends = np.array([[*np.where(corner, high, low), 1] for corner in np.ndindex(2, 2, 2)]) @ to_volume.T
    if (ends[:, :3] < -HALF_VOXEL).any() or (ends[:, :3] > np.array(of.array.shape) - HALF_VOXEL).any():
        return of.array[:0].ravel()
    margin = np.abs(to_volume[:3, :3]).sum(1) * HALF_VOXEL
    first = np.maximum(np.floor(ends[:, :3].min(0) - margin), 0).astype(int)
    last = np.minimum(np.ceil(ends[:, :3].max(0) + margin) + 1, of.array.shape).astype(int)
    slices, rows, columns = map(np.arange, first, last)
    to_mask = np.linalg.inv(to_volume)
    plane = rows[:, None, None] * to_mask[:3, 1] + columns[:, None] * to_mask[:3, 2] + to_mask[:3, 3]
    found = []
    for index in slices:
        at = np.rint(plane + index * to_mask[:3, 0]).astype(int)
        on_mask = ((at >= 0) & (at < mask.array.shape)).all(2)
        inside = np.zeros(on_mask.shape, np.bool_)
        inside[on_mask] = mask.array[tuple(at[on_mask].T)] > 0
        found.append(of.array[index, first[1] : last[1], first[2] : last[2]][inside])
    return np.concatenate(found)


def bounding_boxes(labels: NDArray[np.int64]) -> list[Box]:
    """Return the box around each label from 1 on, one voxel wider on every side where the images go on."""
    indices = np.nonzero(labels)
    of = labels[indices] - 1
    low = np.full((int(labels.max(initial=0)), 3), np.iinfo(np.int64).max)
    high = np.zeros_like(low)
    for axis, index in enumerate(indices):
        np.minimum.at(low[:, axis], of, index)
        np.maximum.at(high[:, axis], of, index)
    low, high = np.maximum(low - 1, 0), np.minimum(high + 2, labels.shape)
    return [tuple(map(slice, first, last)) for first, last in zip(low.tolist(), high.tolist(), strict=True)]  # type: ignore[misc]  # there are three axes


def longest_axes(mask: NDArray[np.bool_], spacing: tuple[float, float]) -> Axes | None:
    """Return the longest axis that a mask, (slice, row, column), has in any slice, and the axis across it there.

    `spacing` is mm from row to row and from column to column. None if the mask is empty.
    """
    found: Axes | None = None
    extents = [float(np.hypot(*(np.array(_extent(plane)) * spacing))) for plane in mask]
    for index in np.argsort(extents)[::-1]:
        if extents[index] == 0 or (found is not None and extents[index] <= found.long):
            break
        long, short = axes(mask[index], spacing)
        if found is None or long > found.long:
            found = Axes(slice=int(index), long=long, short=short)
    return found


def _extent(plane: NDArray[np.bool_]) -> tuple[int, int]:
    """Return how many rows and columns the mask of one slice spans."""
    ends = [np.flatnonzero(plane.any(axis)) for axis in (1, 0)]
    rows, columns = (int(end[-1] - end[0]) + 1 if len(end) else 0 for end in ends)
    return rows, columns


def axes(plane: NDArray[np.bool_], spacing: tuple[float, float]) -> tuple[float, float]:
    """Return the longest diameter of a mask, (row, column), and the longest diameter across it, in mm.

    `spacing` is mm from row to row and from column to column. Diameters include the width of a pixel.
    """
    rows = np.flatnonzero(plane.any(1))
    # Every corner of the convex hull is the first or the last pixel of a row.
    ends = (plane[rows].argmax(1), plane.shape[1] - 1 - plane[rows, ::-1].argmax(1))
    points = np.concatenate([np.column_stack((rows, end)) for end in ends]) * spacing
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    first, last = np.unravel_index(distances.argmax(), distances.shape)
    pixel = sum(spacing) / 2
    if first == last:
        return pixel, pixel
    row, column = (points[last] - points[first]) / distances[first, last]
    across = points @ (-column, row)
    return float(distances[first, last]) + pixel, float(np.ptp(across)) + pixel
