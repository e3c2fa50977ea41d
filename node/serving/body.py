"""What a guard of volumes looks at: values on a coarse grid, what lies in a plane, and CT's tissues by their HU.

Index order (z, y, x), towards Superior, Posterior and Left of the patient, as in `coarse_grid`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .coarse_grid import Grid, grid_of
from .components import components


@dataclass(frozen=True, slots=True, kw_only=True)
class Coarse:
    """A volume on a coarse grid: float32 (z, y, x); and its grid."""

    values: Tensor
    grid: Grid

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in ml."""
        return self.grid.voxel_ml

    @property
    def extent(self) -> tuple[float, float, float]:
        """Width of the grid in mm along z, y, x."""
        sides = zip(self.values.shape, self.grid.spacing, strict=True)
        return tuple(count * step for count, step in sides)  # type: ignore[return-value]  # three of them


def coarsened(volume: Tensor, affine: Tensor, width: float) -> Coarse:
    """Return a volume (slice, row, column) in voxels about `width` mm wide, by their means; what is not finite is 0."""
    grid = grid_of(affine.double().cpu().numpy(), width)
    block = (*(min(*sides) for sides in zip(grid.block, volume.shape, strict=True)),)
    values = torch.nan_to_num(volume.float(), nan=0.0, posinf=0.0, neginf=0.0)
    pooled = functional.avg_pool3d(values[None], block, ceil_mode=True, count_include_pad=False)[0]
    return Coarse(values=grid.from_image(pooled), grid=grid)


def biggest(mask: Tensor) -> Tensor:
    """The largest connected piece of a mask; nothing where it is empty."""
    labels = components(mask)
    sizes = torch.bincount(labels.flatten())
    sizes[0] = 0
    return (labels == sizes.argmax()) & (labels > 0)


def open_to_side(mask: Tensor) -> Tensor:
    """The part of a mask that is joined to the edge of its axial plane."""
    labels = components(mask, planar=True)
    reaches = torch.zeros(int(labels.max()) + 1, dtype=torch.bool, device=mask.device)
    for side in (labels[:, 0], labels[:, -1], labels[..., 0], labels[..., -1]):
        reaches[side.flatten()] = True
    reaches[0] = False
    return reaches[labels]


def inner(mask: Tensor, steps: int = 1) -> Tensor:
    """The mask without `steps` voxels at its edges; the edge of the grid is no edge of it."""
    kept = mask
    for axis in (*range(3),) * steps:
        before = kept
        kept = before.clone()
        kept.narrow(axis, 1, mask.shape[axis] - 1).logical_and_(before.narrow(axis, 0, mask.shape[axis] - 1))
        kept.narrow(axis, 0, mask.shape[axis] - 1).logical_and_(before.narrow(axis, 1, mask.shape[axis] - 1))
    return kept


def outer(mask: Tensor, steps: int = 1) -> Tensor:
    """The mask with `steps` voxels more at its edges."""
    return ~inner(~mask, steps)


def mean_around(values: Tensor) -> Tensor:
    """The mean of each voxel and its 26 neighbours; beyond the edge of the grid its last voxels go on."""
    return functional.avg_pool3d(functional.pad(values[None, None], (1,) * 6, mode="replicate"), 3, 1)[0, 0]


def correlation_of_neighbours(values: Tensor, mask: Tensor) -> float:
    """Correlation of voxels of the mask with their neighbours along x: near 0 in noise, near 1 in a body."""
    both = mask[..., 1:] & mask[..., :-1]
    if int(both.sum()) < 100:
        return 0.0
    pair = torch.stack((values[..., 1:][both], values[..., :-1][both])).double()
    pair -= pair.mean(1, keepdim=True)
    spread = (pair**2).mean(1).prod().sqrt()
    return float((pair[0] * pair[1]).mean() / spread) if spread > 0 else 0.0


def share(mask: Tensor, of: Tensor) -> float:
    """The part of a mask in another."""
    return float((mask & of).sum()) / max(int(of.sum()), 1)


def enclosed(body: Tensor) -> Tensor:
    """Where a body lies to the right, left, front and back of a voxel: true in the chest, false in a hollow table."""
    solid = body.to(torch.uint8)
    result = torch.ones_like(body)
    for axis in (1, 2):
        result &= solid.cummax(axis).values.bool()
        result &= solid.flip(axis).cummax(axis).values.flip(axis).bool()
    return result


def middle_of(body: Tensor) -> float:
    """The column half way between the right and left edge of a body, the median over the planes."""
    columns = body.any(1)
    columns = columns[columns.any(1)].to(torch.uint8)
    if len(columns) == 0:
        return body.shape[2] / 2
    first, last = columns.argmax(1), columns.shape[1] - 1 - columns.flip(1).argmax(1)
    return float((first + last).double().median() / 2)


def midline(body: Tensor, coarse: Coarse) -> Tensor:
    """Where voxels lie within `MIDLINE_MM` of the middle of a body."""
    columns = torch.arange(body.shape[2], device=body.device)
    return ((columns - middle_of(body)).abs() * coarse.grid.spacing[2] <= MIDLINE_MM).expand(body.shape)


def cut_at_sides(mask: Tensor) -> float:
    """How much of a body lies on a side of the grid, right, left, front or back: part of its largest section there."""
    parts = []
    for others in ((0, 2), (0, 1)):
        sections = mask.sum(others).double()
        parts.append(float(torch.maximum(sections[0], sections[-1]) / sections.max().clamp(min=1)))
    return max(parts)


def front_and_back(mask: Tensor, body: Tensor, voxel_ml: float) -> tuple[float, float]:
    """Return ml of a mask in the front quarter and in the back quarter of a body."""
    rows = torch.nonzero(body.any(2).any(0)).flatten().tolist() or [0]
    quarter = max(1, (rows[-1] - rows[0] + 1) // 4)
    front, back = mask[:, rows[0] : rows[0] + quarter], mask[:, rows[-1] + 1 - quarter : rows[-1] + 1]
    return float(front.sum()) * voxel_ml, float(back.sum()) * voxel_ml


def spread_of(mask: Tensor, axis: int, spacing: float) -> float:
    """Return how far a mask spreads along an axis: the standard deviation of its places in mm."""
    others = tuple(other for other in range(3) if other != axis)
    counts = mask.sum(others).double()
    places = torch.arange(len(counts), device=mask.device).double() * spacing
    total = counts.sum().clamp(min=1)
    mean = (counts * places).sum() / total
    return float(((counts * (places - mean) ** 2).sum() / total).sqrt())


MIDLINE_MM = 25.0
"""From the middle: trachea and spine lie there."""
MOST_CUT, LEAST_WIDE = 0.5, 0.95
"""A body of which more lies on a side of the images is cut in half. Trunks are wider than deep, in infants as wide."""
TISSUE_HU = -300.0
"""Between fat and lung."""
GAS_HU = -500.0
FAT_HU, SOFT_HU, BONE_HU = (-140.0, -50.0), (-20.0, 150.0), 200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A body in CT on a coarse grid, and the parts of it that are soft tissue, fat and bone.

    mask: bool (z, y, x). ml: its volume. soft, fat: parts of its inner voxels; bone: part of all. spread: standard
    deviation of its inner voxels in HU. alike: correlation of neighbours. cut: `cut_at_sides`. wide: its spread from
    right to left as a part of that from front to back. spine: ml of bone in the middle of its front quarter and of its
    back quarter.
    """

    mask: Tensor
    ml: float
    soft: float
    fat: float
    bone: float
    spread: float
    alike: float
    cut: float
    wide: float
    spine: tuple[float, float]


def body_of(coarse: Coarse) -> Body:
    """Return the largest piece of tissue in a CT."""
    hu = coarse.values
    tissue = hu > TISSUE_HU
    mask = outer(biggest(inner(tissue))) & tissue
    within = inner(mask)
    return Body(
        mask=mask,
        ml=float(mask.sum()) * coarse.voxel_ml,
        soft=share(between(hu, SOFT_HU), within),
        fat=share(between(hu, FAT_HU), within),
        bone=share(hu > BONE_HU, mask),
        spread=float(hu[within].double().std(unbiased=False)) if within.any() else 0.0,
        alike=correlation_of_neighbours(hu, mask),
        cut=cut_at_sides(mask),
        wide=spread_of(mask, 2, coarse.grid.spacing[2]) / max(spread_of(mask, 1, coarse.grid.spacing[1]), 1.0),
        spine=front_and_back((hu > BONE_HU) & midline(mask, coarse), mask, coarse.voxel_ml),
    )


def between(hu: Tensor, limits: tuple[float, float]) -> Tensor:
    """Where values lie between two limits."""
    return (hu > limits[0]) & (hu < limits[1])
