"""The grid of a network and the grid of the images: axes, where voxels lie, and sampling from one to the other."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .chain import ORDERS, TOWARDS, Chain

BEYOND = 0.5 + 1e-6
"""How many voxels past the centre of the outermost the images end."""
Placed = tuple[Tensor, NDArray[np.float64]]
"""A volume (slice, row, column) with its affine: (slice, row, column, 1) to mm LPS."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of the network along one of the images: its voxel j lies at their voxel `step` · j + `start`.

    `step` is negative where it is turned round; `here` are the voxels of the images, `there` the network's.
    """

    source: int
    step: float
    start: float
    here: int
    there: int

    def sampled(self) -> tuple[float, float, int]:
        """Where the network's voxels lie in the images."""
        return self.step, self.start, self.there

    @property
    def on_voxels(self) -> bool:
        """Whether each of the network's voxels is one of the images', so that nothing is between them."""
        return abs(self.step) == 1 and self.start == round(self.start)

    def cut(self, low: int, high: int) -> "Axis":
        """Return the part from a voxel of the network's grid to another, which is excluded."""
        return replace(self, start=self.start + self.step * low, there=high - low)

    def stretched(self, there: int) -> "Axis":
        """Return it with so many voxels in the same extent, edges on edges."""
        ratio = self.there / there
        return replace(self, start=self.start + self.step * (ratio - 1) / 2, step=self.step * ratio, there=there)

    def restored(self) -> tuple[float, float, int]:
        """Where the images' voxels lie in the network's grid."""
        return 1 / self.step, -self.start / self.step, self.here


def axes(chain: Chain, shape: Sequence[int], affine: NDArray[np.float64]) -> tuple[Axis, ...]:
    """Return the network's three axes for images of a shape and an affine ((slice, row, column, 1) to LPS in mm).

    Oblique images keep their own directions: each axis counts as the axis of the patient that it is nearest to.
    """
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    order, turned = _order(chain.orientation, affine[:3, :3] / lengths)
    made = []
    for axis, (source, backwards) in enumerate(zip(order, turned, strict=True)):
        here, length = shape[source], float(lengths[source])
        ratio = (chain.spacing[axis] if chain.spacing else 0) / length or 1.0
        there, step, start = _placed(chain, axis, here, ratio)
        if backwards:
            step, start = -step, here - 1 - start
        made.append(Axis(source, step, start, here, there))
    return tuple(made)


def _order(orientation: str, directions: NDArray[np.float64]) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Return which axis of the images each of the network's is, and whether it is turned round."""
    if orientation in ORDERS:
        return ORDERS[orientation], (False, False, False)
    towards = [TOWARDS[letter] for letter in orientation]
    order = max(
        itertools.permutations(range(3)),
        key=lambda trial: sum(
            abs(directions[patient, source]) for (patient, _), source in zip(towards, trial, strict=True)
        ),
    )
    turned = [
        bool(directions[patient, source] * sign < 0) for (patient, sign), source in zip(towards, order, strict=True)
    ]
    return tuple(order), tuple(turned)


def _placed(chain: Chain, axis: int, here: int, ratio: float) -> tuple[int, float, float]:
    """Return number, step and start of the network's voxels along an axis, in voxels of the images."""
    if chain.size or chain.align == "centre":
        there = chain.size[axis] if chain.size else max(round(here / ratio), 1)
        return there, ratio, (here - 1) / 2 - ratio * (there - 1) / 2
    if chain.align == "extent":
        there = max(round(here / ratio), 1)
        exact = here / there
        return there, exact, (exact - 1) / 2
    return max(round((here - 1) / ratio), 0) + 1, ratio, 0.0


def to_network(image: Tensor, grid: Sequence[Axis]) -> Tensor:
    """Return an image (slice, row, column) on the network's grid, float32; what lies outside has the lowest value."""
    outside = float(image.min())
    turned = image.permute(*(axis.source for axis in grid)).float()
    for number, axis in enumerate(grid):
        turned = _along(turned, number, *axis.sampled(), outside=outside)
    return turned


def to_images(field: Tensor, grid: Sequence[Axis], *, nearest: bool) -> Tensor:
    """Return a field on the network's grid on that of the images, (slice, row, column); outside it is 0."""
    for number, axis in enumerate(grid):
        field = _along(field, number, *axis.restored(), outside=0.0, nearest=nearest)
    return field.permute(*_back(grid))


def in_order(field: Tensor, grid: Sequence[Axis], affine: NDArray[np.float64]) -> Placed:
    """Return a field on the network's grid, its axes in the order and direction of the images', and its own affine.

    `affine` is that of the images.
    """
    own = affine.copy()
    for axis in grid:
        first = min(axis.start, axis.start + axis.step * (axis.there - 1))
        own[:3, 3] += affine[:3, axis.source] * first
        own[:3, axis.source] *= abs(axis.step)
    turned = field.flip([number for number, axis in enumerate(grid) if axis.step < 0])
    return turned.permute(*_back(grid)), own


def _back(grid: Sequence[Axis]) -> list[int]:
    """Return which axis of the network each of the images' is."""
    back = [0, 0, 0]
    for number, axis in enumerate(grid):
        back[axis.source] = number
    return back


def from_elsewhere(
    image: Tensor, affine: NDArray[np.float64], reference: NDArray[np.float64], grid: Sequence[Axis]
) -> Tensor:
    """Return an image with a grid of its own, affine to mm LPS, on the network's grid, as `to_network` does.

    `reference` is the affine of the images that the network's grid was made for. Linear between all eight neighbours,
    one plane of the network's at a time.
    """
    places = np.zeros((4, 4))
    places[3, 3] = 1
    for number, axis in enumerate(grid):
        places[axis.source, number], places[axis.source, 3] = axis.step, axis.start
    there = np.linalg.inv(affine) @ reference @ places
    rows, columns = (torch.arange(axis.there, dtype=torch.float64) for axis in grid[1:])
    flat = (
        torch.from_numpy(there[:3, 1]) * rows[:, None, None] + torch.from_numpy(there[:3, 2]) * columns[None, :, None]
    )
    last = torch.tensor(image.shape, dtype=torch.float64) - 1
    outside = float(image.min())
    lifted = image.float()[None, None]
    planes = torch.empty([axis.there for axis in grid], device=image.device)
    for number in range(grid[0].there):
        voxels = flat + torch.from_numpy(there[:3, 0] * number + there[:3, 3])
        beyond = ((voxels < -BEYOND) | (voxels > last + BEYOND)).any(-1)
        unit = (voxels / last.clamp(min=1) * 2 - 1).flip(-1).float()
        sampled = torch.nn.functional.grid_sample(
            lifted, unit[None, None].to(image.device), padding_mode="border", align_corners=True
        )
        planes[number] = sampled[0, 0, 0].masked_fill(beyond.to(image.device), outside)
    return planes


def _along(
    x: Tensor, axis: int, step: float, start: float, count: int, *, outside: float, nearest: bool = False
) -> Tensor:
    """Sample a tensor along one axis at `step` · j + `start`, linearly or at the nearest voxel."""
    length = x.shape[axis]
    places = torch.arange(count, dtype=torch.float64) * step + start
    if torch.equal(places, torch.arange(length, dtype=torch.float64)):
        return x
    near = places.clamp(0, length - 1)
    if nearest:
        sampled = x.index_select(axis, _on(x, near.round().long()))
    else:
        low = near.floor().long().clamp(max=max(length - 2, 0))
        part = _on(x, (near - low).float()).reshape([-1 if number == axis else 1 for number in range(x.ndim)])
        left = x.index_select(axis, _on(x, low))
        right = x.index_select(axis, _on(x, (low + 1).clamp(max=length - 1)))
        sampled = torch.lerp(left, right, part)
    beyond = (places < -BEYOND) | (places > length - 1 + BEYOND)
    if bool(beyond.any()):
        sampled = sampled.clone() if nearest else sampled
        sampled.index_fill_(axis, _on(x, beyond.nonzero().flatten()), outside)
    return sampled


def _on(x: Tensor, indices: Tensor) -> Tensor:
    return indices.to(x.device)
