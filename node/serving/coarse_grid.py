"""A volume on a coarse grid that always lies the same way, and shapes on it. Linked beside each model that needs it.

Index order (z, y, x), towards Superior, Posterior and Left of the patient, so right and left come from the affine and
never from the order of the array.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from .components import components

COARSE_MM = 2.0  # thinner than any chest wall, and an adult trachea is eight voxels across
LOWEST, HIGHEST = -1024, 200  # padding and metal weigh no more than air and tissue when blocks are averaged


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """How the coarse grid, index order (z, y, x), lies on the image, index order (slice, row, column).

    axes: the image axis that each coarse axis runs along; flipped: the coarse axes that run against it; block: image
    voxels in one coarse voxel, per image axis; spacing: mm per coarse voxel (z, y, x).
    """

    axes: tuple[int, int, int]
    flipped: tuple[int, ...]
    block: tuple[int, int, int]
    spacing: tuple[float, float, float]

    @property
    def voxel_ml(self) -> float:
        """Volume of a coarse voxel in ml, for comparing sizes (the shear of a grid is ignored)."""
        return float(np.prod(self.spacing)) / 1000

    def from_image(self, pooled: Tensor) -> Tensor:
        """A pooled image (slice, row, column) turned to (z, y, x)."""
        return pooled.permute(self.axes).flip(self.flipped).contiguous()

    def to_image(self, coarse: Tensor) -> Tensor:
        """The inverse of `from_image`; one value per block of the image."""
        back = (self.axes.index(0), self.axes.index(1), self.axes.index(2))
        return coarse.flip(self.flipped).permute(back).contiguous()


def grid_of(affine: NDArray[np.float64], width: float = COARSE_MM) -> Grid:
    """The grid of a volume in voxels about `width` mm wide; its affine is (4, 4), (slice, row, column, 1) to mm LPS."""
    length = np.linalg.norm(affine[:3, :3], axis=0)
    cosines = affine[:3, :3] / length
    zyx = (2, 1, 0)
    axes = max(permutations(range(3)), key=lambda p: sum(abs(cosines[w, a]) for w, a in zip(zyx, p, strict=True)))
    flipped = tuple(k for k, (w, a) in enumerate(zip(zyx, axes, strict=True)) if cosines[w, a] < 0)
    block = np.maximum(1, np.rint(width / length)).astype(int)
    return Grid(
        axes=(axes[0], axes[1], axes[2]),
        flipped=flipped,
        block=(int(block[0]), int(block[1]), int(block[2])),
        spacing=(*(float(length[a] * block[a]) for a in axes),),  # type: ignore[arg-type]  # three of them
    )


def pool(image: Tensor, grid: Grid, pooling: Callable[..., Tensor] = functional.avg_pool3d) -> Tensor:
    """HU of each block, the mean by default, rounded, float32 (z, y, x); blocks at the far edges may be partial."""
    step = grid.block[0] * max(1, 32 // grid.block[0])
    parts = [
        pooling(image[at : at + step].clamp(LOWEST, HIGHEST).float()[None], grid.block, ceil_mode=True)[0]
        for at in range(0, image.shape[0], step)
    ]
    return grid.from_image(torch.cat(parts).round())


def outside_air(air: Tensor) -> Tensor:
    """Air joined to the edge of its axial plane; plane by plane, since an open mouth joins the lungs to the room."""
    labels = components(air, planar=True)
    sides = (labels[:, 0], labels[:, -1], labels[..., 0], labels[..., -1])
    reaches = torch.zeros(int(labels.max()) + 1, dtype=torch.bool, device=air.device)
    for side in sides:
        reaches[side.flatten()] = True
    reaches[0] = False
    return reaches[labels]


def largest_body(hu: Tensor, grid: Grid) -> Tensor:
    """The largest piece of soft tissue thicker than about 6 mm, if any: the patient, without table and clothes."""
    labels = components(shrink(hu > -300, grid, 1.25 * COARSE_MM))
    size = total(labels)
    size[0] = 0
    return (labels == size.argmax()) & (labels > 0)


def total(labels: Tensor, values: Tensor | None = None) -> Tensor:
    """Sum of whole-numbered values over each label, float64; exact, so the order of summing does not matter."""
    weights = None if values is None else values.flatten().double()
    return torch.bincount(labels.flatten(), weights).double()


def squared_distance(mask: Tensor, grid: Grid, limit: float) -> Tensor:
    """Squared distance in mm² to the nearest voxel of the mask, float32, exact up to `limit` mm and larger beyond."""
    distance = torch.where(mask, 0.0, 4 * limit * limit + 1e6)
    for axis, spacing in enumerate(grid.spacing):
        nearest = distance.clone()
        n = mask.shape[axis]
        for k in range(1, min(int(limit / spacing + 1e-6), n - 1) + 1):
            away = (k * spacing) ** 2
            ahead, behind = nearest.narrow(axis, k, n - k), nearest.narrow(axis, 0, n - k)
            torch.minimum(ahead, distance.narrow(axis, 0, n - k) + away, out=ahead)
            torch.minimum(behind, distance.narrow(axis, k, n - k) + away, out=behind)
        distance = nearest
    return distance


def grow(mask: Tensor, grid: Grid, radius: float) -> Tensor:
    """The mask dilated by a ball of `radius` mm."""
    return squared_distance(mask, grid, radius) <= radius * radius + 1e-3


def shrink(mask: Tensor, grid: Grid, radius: float) -> Tensor:
    """The mask eroded by a ball of `radius` mm; the edge of the grid does not erode."""
    return ~grow(~mask, grid, radius)


def box_of(mask: Tensor, grid: Grid, margin: float) -> tuple[slice, slice, slice]:
    """The part of the grid that holds the mask, with `margin` mm around."""
    found = []
    for axis, spacing in enumerate(grid.spacing):
        others = [k for k in range(3) if k != axis]
        where = mask.any(others[1]).any(others[0]).nonzero()
        more = int(margin / spacing) + 2
        found.append(slice(max(0, int(where.min()) - more), int(where.max()) + 1 + more))
    return found[0], found[1], found[2]
