"""Measurements and checks for guards of volumes: values on a coarse grid, masks, and tissues of CT by their HU.

Index order (z, y, x), towards Superior, Posterior and Left of the patient, as in `coarse_grid`.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from .coarse_grid import Grid, grid_of
from .components import components
from .guarding import Check


@dataclass(frozen=True, slots=True, kw_only=True)
class Coarse:
    """A volume on a coarse grid, float32 (z, y, x), and its grid."""

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


def to_coarse_grid(volume: Tensor, affine: Tensor, width: float) -> Coarse:
    """Return the means of a volume (slice, row, column) in voxels about `width` mm wide; NaN and infinity are 0."""
    grid = grid_of(affine.double().cpu().numpy(), width)
    block = (*(min(*sides) for sides in zip(grid.block, volume.shape, strict=True)),)
    values = torch.nan_to_num(volume.float(), nan=0.0, posinf=0.0, neginf=0.0)
    pooled = functional.avg_pool3d(values[None], block, ceil_mode=True, count_include_pad=False)[0]
    return Coarse(values=grid.from_image(pooled), grid=grid)


def largest_piece(mask: Tensor) -> Tensor:
    """Return the largest connected piece of a mask; an empty mask stays empty."""
    labels = components(mask)
    sizes = torch.bincount(labels.flatten())
    sizes[0] = 0
    return (labels == sizes.argmax()) & (labels > 0)


def joined_to_edge(mask: Tensor) -> Tensor:
    """Return the part of a mask that is connected with the edge of its axial plane."""
    labels = components(mask, planar=True)
    reaches = torch.zeros(int(labels.max()) + 1, dtype=torch.bool, device=mask.device)
    for side in (labels[:, 0], labels[:, -1], labels[..., 0], labels[..., -1]):
        reaches[side.flatten()] = True
    reaches[0] = False
    return reaches[labels]


def erode(mask: Tensor, steps: int = 1) -> Tensor:
    """Return a mask without `steps` voxels at its edges; where it meets the edge of the grid it is kept."""
    kept = mask
    for axis in (*range(3),) * steps:
        before = kept
        kept = before.clone()
        kept.narrow(axis, 1, mask.shape[axis] - 1).logical_and_(before.narrow(axis, 0, mask.shape[axis] - 1))
        kept.narrow(axis, 0, mask.shape[axis] - 1).logical_and_(before.narrow(axis, 1, mask.shape[axis] - 1))
    return kept


def dilate(mask: Tensor, steps: int = 1) -> Tensor:
    """Return a mask with `steps` more voxels at its edges."""
    return ~erode(~mask, steps)


def mean_around(values: Tensor) -> Tensor:
    """Return the mean of each voxel and its 26 neighbours; beyond the grid, its outermost voxels are repeated."""
    return functional.avg_pool3d(functional.pad(values[None, None], (1,) * 6, mode="replicate"), 3, 1)[0, 0]


def correlation_of_neighbours(values: Tensor, mask: Tensor) -> float:
    """Return the correlation of voxels of a mask with their neighbours along x: near 0 in noise, near 1 in a body."""
    both = mask[..., 1:] & mask[..., :-1]
    if int(both.sum()) < 100:
        return 0.0
    pair = torch.stack((values[..., 1:][both], values[..., :-1][both])).double()
    pair -= pair.mean(1, keepdim=True)
    spread = (pair**2).mean(1).prod().sqrt()
    return float((pair[0] * pair[1]).mean() / spread) if spread > 0 else 0.0


def share(mask: Tensor, of: Tensor) -> float:
    """Return the part of the mask `of` that `mask` covers, 0 to 1."""
    return float((mask & of).sum()) / max(int(of.sum()), 1)


def enclosed_by(body: Tensor) -> Tensor:
    """Return the voxels with body to their right, left, front and back: true in the chest, false in a hollow table."""
    solid = body.to(torch.uint8)
    result = torch.ones_like(body)
    for axis in (1, 2):
        result &= solid.cummax(axis).values.bool()
        result &= solid.flip(axis).cummax(axis).values.flip(axis).bool()
    return result


def middle_of(body: Tensor) -> float:
    """Return the column half way between the right and left edge of a body: the median over the planes."""
    columns = body.any(1)
    columns = columns[columns.any(1)].to(torch.uint8)
    if len(columns) == 0:
        return body.shape[2] / 2
    first, last = columns.argmax(1), columns.shape[1] - 1 - columns.flip(1).argmax(1)
    return float((first + last).double().median() / 2)


def midline(body: Tensor, coarse: Coarse) -> Tensor:
    """Return the voxels within `MIDLINE_MM` of the middle of a body, right to left."""
    columns = torch.arange(body.shape[2], device=body.device)
    return ((columns - middle_of(body)).abs() * coarse.grid.spacing[2] <= MIDLINE_MM).expand(body.shape)


def cut_at_sides(mask: Tensor) -> float:
    """Return how much of a body the right, left, front or back side of the grid cuts: 0 to 1 of its largest section."""
    parts = []
    for others in ((0, 2), (0, 1)):
        sections = mask.sum(others).double()
        parts.append(float(torch.maximum(sections[0], sections[-1]) / sections.max().clamp(min=1)))
    return max(parts)


def front_and_back(mask: Tensor, body: Tensor, voxel_ml: float) -> tuple[float, float]:
    """Return the volume of a mask in the front quarter and in the back quarter of a body, ml."""
    rows = torch.nonzero(body.any(2).any(0)).flatten().tolist() or [0]
    quarter = max(1, (rows[-1] - rows[0] + 1) // 4)
    front, back = mask[:, rows[0] : rows[0] + quarter], mask[:, rows[-1] + 1 - quarter : rows[-1] + 1]
    return float(front.sum()) * voxel_ml, float(back.sum()) * voxel_ml


def spread_of(mask: Tensor, axis: int, spacing: float) -> float:
    """Return the standard deviation of the positions of a mask along an axis, mm."""
    others = tuple(other for other in range(3) if other != axis)
    counts = mask.sum(others).double()
    places = torch.arange(len(counts), device=mask.device).double() * spacing
    total = counts.sum().clamp(min=1)
    mean = (counts * places).sum() / total
    return float(((counts * (places - mean) ** 2).sum() / total).sqrt())


MIDLINE_MM = 25.0
"""Trachea and spine lie within this distance of the middle."""
MOST_CUT, LEAST_WIDE = 0.5, 0.95
"""Limits of `Body.cut` and `Body.wide`. Trunks are wider than deep; in infants both are equal."""
TISSUE_HU = -300.0
"""Tissue is denser than this; it lies between fat and lung."""
GAS_HU = -500.0
FAT_HU, SOFT_HU, BONE_HU = (-140.0, -50.0), (-20.0, 150.0), 200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A body in CT on a coarse grid, with its parts of soft tissue, fat and bone.

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
    mask = dilate(largest_piece(erode(tissue))) & tissue
    within = erode(mask)
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
    """Return where values lie between two limits, which are excluded."""
    return (hu > limits[0]) & (hu < limits[1])


def within(value: float, limits: tuple[float, float]) -> bool:
    """Return whether a number lies between two limits, or on one of them."""
    return limits[0] <= value <= limits[1]


def gas_inside(ct: Coarse, body: Body) -> Tensor:
    """Return the gas of a CT that a body encloses, such as that of lungs and bowel."""
    gas = ct.values < GAS_HU
    return gas & enclosed_by(body.mask) & ~joined_to_edge(gas)


def end_sections(mask: Tensor) -> tuple[float, float]:
    """Return the sections of a mask on the lowest and on the highest plane, as parts of its largest section."""
    sections = mask.sum((1, 2)).double()
    largest = max(float(sections.max()), 1.0)
    return float(sections[0]) / largest, float(sections[-1]) / largest


class ShowsBody(Protocol):
    """What a guard of a trunk has measured: at least the body."""

    @property
    def body(self) -> Body:
        """The largest piece of tissue."""


def tissue_check(*, fat: float, bone: float) -> Check[ShowsBody]:
    """Return the check that a body has at least these parts of fat and of bone."""
    return Check(
        lambda seen: seen.body.fat >= fat and seen.body.bone >= bone,
        "no body with fat and bone is seen, by their HU",
    )


UNCUT: Check[ShowsBody] = Check(
    lambda seen: seen.body.cut <= MOST_CUT,
    "the body is cut off at a side of the images",
)
"""The check that no side of the images cuts the body."""


def wide_check(region: str) -> Check[ShowsBody]:
    """Return the check that a trunk is not deeper than wide; `region` names it in the reason."""
    return Check(
        lambda seen: seen.body.wide >= LEAST_WIDE,
        f"the body is deeper than wide: its axes are swapped, or it is no {region}",
    )


def spine_check(region: str) -> Check[ShowsBody]:
    """Return the check that the spine is at the back; `region` names the trunk in the reason."""
    return Check(
        lambda seen: seen.body.spine[1] > seen.body.spine[0],
        f"no spine is seen at the back: front and back are swapped, or it is no {region}",
    )
