"""Lumps in a volume, such as nodules and lesions, as radiologists measure them: axes, diameter, volume, mean value."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from node.codes import DCM, SCT, UCUM
from node.images.series import Volume
from node.results import HALF, Measurement, Segment
from node.serving.components import components

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lump:
    """One connected piece of a mask: the box around it, its voxels there, on which slice it is largest, its axes there.

    Axes are in mm; `slice` counts from that of the box.
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
        """The voxels around it in its box that touch it by a face."""
        wide = self.mask.copy()
        for axis in range(3):
            there, back = np.moveaxis(wide, axis, 0), np.moveaxis(self.mask, axis, 0)
            there[1:] |= back[:-1]
            there[:-1] |= back[1:]
        return wide & ~self.mask


@dataclass(frozen=True, slots=True, kw_only=True)
class Diameters:
    """On which slice a thing is longest, and its axes there in mm."""

    slice: int
    long: float
    short: float


def lumps(mask: NDArray[np.bool_], spacing: tuple[float, float, float]) -> Iterator[Lump]:
    """Part a mask, (slice, row, column), into pieces that touch by faces, and measure them; `spacing` is in mm."""
    numbers = components(torch.from_numpy(mask)).numpy()
    for number, box in enumerate(boxes(numbers), 1):
        own = numbers[box] == number
        areas = own.sum((1, 2))
        largest = np.flatnonzero(areas == areas.max())
        widest = int(largest[len(largest) // 2])
        long, short = axes(own[widest], spacing[1:])
        yield Lump(box=box, mask=own, slice=box[0].start + widest, long=long, short=short)


def sizes(lump: Lump, of: Segment, hu: NDArray[Any], voxel_ml: float) -> Iterator[Measurement]:
    """Measure a lump in a CT, (slice, row, column): both axes, mean diameter, volume, mean attenuation."""
    own = hu[lump.box][lump.mask]
    yield Measurement(name=SCT.LongAxis, value=round(lump.long, 1), unit=UCUM.Millimeter, of=of)
    yield Measurement(name=SCT.ShortAxis, value=round(lump.short, 1), unit=UCUM.Millimeter, of=of)
    yield Measurement(
        name=SCT.Diameter, value=round(lump.diameter, 1), unit=UCUM.Millimeter, derivation=SCT.Mean, of=of
    )
    yield Measurement(name=SCT.Volume, value=round(len(own) * voxel_ml * 1000), unit=UCUM.CubicMillimeter, of=of)
    yield mean_attenuation(own, of)


def mean_attenuation(hu: NDArray[Any], of: Segment) -> Measurement:
    """Return the mean of the values of a thing in a CT, in whole HU."""
    value, unit = round(float(hu.mean())), UCUM.HounsfieldUnit
    return Measurement(name=DCM.AttenuationCoefficient, value=value, unit=unit, derivation=SCT.Mean, of=of)


def within(mask: Volume, of: Volume) -> NDArray[Any]:
    """Return the values of a volume at its voxels whose centres lie in a mask on another grid; both in one space.

    None where the mask is empty or reaches beyond the images.
    """
    places = np.nonzero(mask.array)
    if not len(places[0]):
        return of.array[:0].ravel()
    low, high = np.array([(place.min(), place.max()) for place in places]).T
    there = np.linalg.inv(of.affine) @ mask.affine
    ends = np.array([[*np.where(corner, high, low), 1] for corner in np.ndindex(2, 2, 2)]) @ there.T
    if (ends[:, :3] < -HALF).any() or (ends[:, :3] > np.array(of.array.shape) - HALF).any():
        return of.array[:0].ravel()
    margin = np.abs(there[:3, :3]).sum(1) * HALF
    first = np.maximum(np.floor(ends[:, :3].min(0) - margin), 0).astype(int)
    last = np.minimum(np.ceil(ends[:, :3].max(0) + margin) + 1, of.array.shape).astype(int)
    slices, rows, columns = map(np.arange, first, last)
    back = np.linalg.inv(there)
    plane = rows[:, None, None] * back[:3, 1] + columns[:, None] * back[:3, 2] + back[:3, 3]
    found = []
    for index in slices:
        at = np.rint(plane + index * back[:3, 0]).astype(int)
        known = ((at >= 0) & (at < mask.array.shape)).all(2)
        inside = np.zeros(known.shape, np.bool_)
        inside[known] = mask.array[tuple(at[known].T)] > 0
        found.append(of.array[index, first[1] : last[1], first[2] : last[2]][inside])
    return np.concatenate(found)


def boxes(numbers: NDArray[np.int64]) -> list[Box]:
    """Return the box around each numbered piece, one voxel wider on every side where the images go on."""
    places = np.nonzero(numbers)
    of = numbers[places] - 1
    low = np.full((int(numbers.max(initial=0)), 3), np.iinfo(np.int64).max)
    high = np.zeros_like(low)
    for axis, where in enumerate(places):
        np.minimum.at(low[:, axis], of, where)
        np.maximum.at(high[:, axis], of, where)
    low, high = np.maximum(low - 1, 0), np.minimum(high + 2, numbers.shape)
    return [tuple(map(slice, first, last)) for first, last in zip(low.tolist(), high.tolist(), strict=True)]  # type: ignore[misc]  # three of them


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
            found = Diameters(slice=int(index), long=long, short=short)
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
