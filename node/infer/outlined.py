"""Measure segments: number of voxels, middle, extent, and the values of the images inside."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node.images.series import LOWEST_HU, Series
from node.measuring import label_components
from node.results import Segment, Segmentation

MOST_SLICES = 24
"""Largest number of slices of a segment from which its mean and spread are calculated: each must be decoded."""
MOST_VOXELS = 1_000_000
"""Largest number of voxels of the grid on which the connected pieces of a segment are found."""
AIR_HU, LUNG_HU, BODY_HU, BONE_HU = -500, -950, -300, 300
"""Lung has −950 to −500 HU; the gas of bowel has less, and soft tissue more (Stoel et al. 2008)."""
LEAST_LUNG_ML = 500.0
"""With less lung in the images, its middle is not known."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outlined:
    """A segment of a segmentation on its series; `number` counts from 1."""

    result: Segmentation
    number: int
    series: Series

    @property
    def segment(self) -> Segment:
        """The segment."""
        return self.result.segments[self.number - 1]

    @property
    def voxels(self) -> int:
        """Number of its voxels."""
        return int(self.result.areas[self.number - 1].sum())

    def planes(self) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """Yield index and mask, bool (row, column), of up to `MOST_SLICES` slices of the segment."""
        found = np.flatnonzero(self.result.areas[self.number - 1])
        for index in found[np.unique(np.linspace(0, len(found) - 1, MOST_SLICES).astype(int))].tolist():
            yield index, self.result.plane(index, self.number)

    def values(self) -> NDArray[np.float32]:
        """Return the values of the images inside it, on some of its slices; HU in CT."""
        return np.concatenate([plane_of(self.series, index)[mask] for index, mask in self.planes()])

    def middle(self) -> NDArray[np.float64]:
        """Return the mean position of its voxels, (3,), mm LPS, by some of its slices."""
        found = [np.column_stack([np.full(mask.sum(), index), *np.nonzero(mask)]) for index, mask in self.planes()]
        return np.asarray(self.result.labels.affine[:3] @ [*np.concatenate(found).mean(0), 1.0])

    def extent(self) -> float:
        """Return the longest edge of the box around it along the axes of the stack, mm."""
        spacing = self.result.labels.spacing
        slices = np.flatnonzero(self.result.areas[self.number - 1])
        inside = np.zeros(self.result.labels.array.shape[1:], np.bool_)
        for index in slices.tolist():
            inside |= self.result.plane(index, self.number)
        ends = [slices, np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))]
        return max(float(end[-1] - end[0] + 1) * step for end, step in zip(ends, spacing, strict=True))

    def largest_piece(self) -> float:
        """Return the part of the segment that is its largest connected piece, %; large segments on a coarser grid."""
        step = max(1, round((self.voxels / MOST_VOXELS) ** (1 / 3)))
        slices = range(0, len(self.result.labels.array), step)
        mask = np.stack([self.result.plane(index, self.number)[::step, ::step] for index in slices])
        sizes = np.bincount(label_components(mask)[mask])
        return float(100 * sizes.max() / sizes.sum()) if len(sizes) else 100.0


def plane_of(series: Series, index: int) -> NDArray[np.float32]:
    """Return one image, (row, column), as the plugin saw it: rescaled; the padding of a CT has −1024 HU."""
    image = series.image(index)
    grey = image if image.ndim == 2 else image.mean(axis=2)
    return np.asarray(grey, np.float32).clip(LOWEST_HU if series.modality == "CT" else -np.inf)


def middle_of_lungs(series: Series) -> NDArray[np.float64] | None:
    """Return the mean position of voxels in the body that are as dense as lung, (3,), mm LPS; None if they are too few.

    A voxel lies in the body if there is tissue before and after it along its row and along its column. Some slices of
    the CT are used.
    """
    indices = np.unique(np.linspace(0, len(series.frames) - 1, 2 * MOST_SLICES).astype(int))
    affine = series.affine()
    found = [np.empty((0, 3))]
    for index in indices.tolist():
        rows, columns = np.nonzero(_lung(plane_of(series, index)))
        found.append(np.column_stack([np.full(len(rows), index), rows, columns]))
    points = np.concatenate(found)
    voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000 * len(series.frames) / len(indices)
    if len(points) * voxel_ml < LEAST_LUNG_ML:
        return None
    return np.asarray(affine[:3] @ [*points.mean(0), 1.0])


def _lung(hu: NDArray[np.float32]) -> NDArray[np.bool_]:
    body = hu > BODY_HU
    enclosed = np.ones(hu.shape, np.bool_)
    for axis in (0, 1):
        before = np.maximum.accumulate(body, axis)
        enclosed &= before & np.flip(np.maximum.accumulate(np.flip(body, axis), axis), axis)
    return np.asarray(enclosed & (hu > LUNG_HU) & (hu < AIR_HU))
