"""Registration of one pair of volumes by optimisation, without trained weights.

The loss is VoxelMorph's (Balakrishnan et al. 2019), its network replaced by the field itself: the squared local
correlation, and the squared gradient of the displacement. First a rigid motion is found, then a stationary velocity
field on a coarse grid, whose flow by scaling and squaring (Arsigny et al. 2006; Dalca et al. 2019) is smooth and does
not fold. Points are (x, y, z) in mm, LPS, unless an index order is named.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

VOXELS = 25_000, 200_000
"""Of the two grids that images are compared on, one after the other."""
STEPS = 60, 40
"""Of the optimiser on each of them."""
RIGID_STEPS = 100
WINDOW = 7
"""Voxels across in which correlation is local."""
SMOOTHNESS = 1.0
COARSER = 2.0
"""How much coarser the velocity's grid is than that of the images."""
SQUARINGS = 6
FAINT = 1e-6
"""Product of variances, of values from 0 to 1, below which there is nothing to correlate but noise."""
LOWEST, HIGHEST = 0.5, 99.5
"""Percentiles of a volume that become 0 and 1."""
FLIP_VOXELS = 8_000
"""Of the grid on which the two are compared as they are, and mirrored along each axis."""
SHIFTS_MM = -80.0, -40.0, 0.0, 40.0, 80.0
"""Tried along the body, where one of the two shows more of it."""
SLAB = 4
"""Slices that are resampled at a time."""
LEAST_OVERLAP = 0.1
BODY = 0.1
"""Values from 0 to 1 above this are of the body."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A regular grid: its shape (slice, row, column), and its affine (4, 4), float64, to mm LPS."""

    shape: tuple[int, int, int]
    affine: Tensor

    @property
    def spacing(self) -> Tensor:
        """From slice to slice, row to row, column to column, in mm."""
        lengths: Tensor = self.affine[:3, :3].norm(dim=0)
        return lengths

    @property
    def extent(self) -> Tensor:
        """How many voxels there are along each axis."""
        return torch.tensor(self.shape, dtype=torch.float64, device=self.affine.device)

    def points(self, slices: slice = slice(None)) -> Tensor:
        """Return where the voxels of some slices lie: (slice, row, column, 3), float32."""
        steps = [torch.arange(length, dtype=torch.float64, device=self.affine.device) for length in self.shape]
        steps[0] = steps[0][slices]
        indices = torch.stack(torch.meshgrid(*steps, indexing="ij"), -1)
        return (indices @ self.affine[:3, :3].T + self.affine[:3, 3]).float()

    def within(self, points: Tensor) -> Tensor:
        """Return points as grid_sample wants them: column, row, slice from -1 to 1 between the outermost centres."""
        inverse = torch.linalg.inv(self.affine).float()
        indices = points @ inverse[:3, :3].T + inverse[:3, 3]
        last = torch.tensor([max(length - 1, 1) for length in self.shape], device=points.device)
        within: Tensor = (2 * indices / last - 1).flip(-1)
        return within

    def with_voxels(self, count: float) -> "Grid":
        """Return a grid over the same place with about so many voxels, as far apart along every axis."""
        return self.spaced(float((self.spacing * self.extent).prod() / count) ** (1 / 3))

    def spaced(self, spacing: float) -> "Grid":
        """Return a grid over the same place with a spacing in mm, no finer than this grid."""
        wanted = (self.spacing * self.extent / spacing).round().clamp(min=2).minimum(self.extent)
        return self.coarser(self.extent / wanted, wanted)

    def coarser(self, factor: Tensor, extent: Tensor) -> "Grid":
        """Return a grid whose voxels are so many times as far apart, the first beginning where the first does here."""
        affine = self.affine.clone()
        affine[:3, 3] += affine[:3, :3] @ ((factor - 1) / 2)
        affine[:3, :3] *= factor
        slices, rows, columns = (int(length) for length in extent)
        return Grid((slices, rows, columns), affine)


@dataclass(frozen=True, slots=True)
class Field:
    """Values on a grid: (channel, slice, row, column)."""

    values: Tensor
    grid: Grid

    def at(self, points: Tensor, padding: str = "border") -> Tensor:
        """Return the values at points (slice, row, column, 3), by trilinear interpolation."""
        where = self.grid.within(points)[None]
        return functional.grid_sample(self.values[None], where, padding_mode=padding, align_corners=True)[0]

    def on(self, grid: Grid) -> "Field":
        """Return the values on a coarser grid, each the mean of what lies around it."""
        ratio = [max(int(a / b + 0.5), 1) for a, b in zip(grid.spacing, self.grid.spacing, strict=True)]
        pooled = functional.avg_pool3d(self.values[None], ratio, ceil_mode=True, count_include_pad=False)[0]
        factor = torch.tensor(ratio, dtype=torch.float64, device=pooled.device)
        between = self.grid.coarser(factor, torch.tensor(pooled.shape[1:]))
        return Field(Field(pooled, between).at(grid.points()), grid)


@dataclass(frozen=True, slots=True)
class Still:
    """The fixed volume on a grid, and what of a local correlation is the same for every place of the moving one."""

    values: Tensor
    mean: Tensor
    square: Tensor

    @classmethod
    def of(cls, fixed: Field) -> "Still":
        """Take the local mean and variance of a volume."""
        values = fixed.values[0]
        mean = _box(values)
        return cls(values, mean, (_box(values * values) - mean**2).clamp(min=0))


class Apart(Exception):
    """The two volumes have no place in common."""


def register(
    fixed: Tensor, fixed_affine: Tensor, moving: Tensor, moving_affine: Tensor, outside: Tensor
) -> dict[str, Tensor | NDArray[Any]]:
    """Return rigid motion, deformation and the moving volume on the fixed grid, as config.pbtxt has them.

    Whether the two belong together is not decided here: likeness, Jacobian and overlap say how well they came together.
    Two volumes without a place in common have none of each, and no motion.
    """
    with torch.inference_mode(mode=False), torch.enable_grad():
        still = _normalised(fixed, fixed_affine)
        other = _normalised(moving, moving_affine)
        # what is compared lies on grids along the fixed images' axes
        coarse, fine = (still.grid.with_voxels(count) for count in VOXELS)
        try:
            rigid = find_rigid(still.on(coarse), other.on(other.grid.spaced(float(coarse.spacing.mean()))))
        except Apart:
            rigid = torch.eye(4, dtype=torch.float64, device=fixed.device)
            field = Field(torch.zeros(3, *coarse.shape, device=fixed.device), coarse)
            return _answer(rigid, field, torch.full_like(fixed, int(outside[0])), NOTHING)
        field = find_deformation(still, other, rigid, (coarse, fine))
        with torch.no_grad():
            image = resampled(moving, other.grid, still.grid, rigid, field, float(outside[0]))
            return _answer(rigid, field, image, _quality(still, other, rigid, field))


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How well two volumes came together, as config.pbtxt has it."""

    likeness: tuple[float, ...]
    least_jacobian: float
    overlap: tuple[float, float]
    mirrored: tuple[float, ...]


NOTHING = Quality(likeness=(0.0, 0.0, 0.0), least_jacobian=0.0, overlap=(0.0, 0.0), mirrored=(0.0,) * 4)


def _answer(rigid: Tensor, field: Field, image: Tensor, quality: Quality) -> dict[str, Tensor | NDArray[Any]]:
    return {
        "matrix": torch.linalg.inv(rigid).cpu().numpy(),
        "vectors": field.values.permute(1, 2, 3, 0),
        "vectors_affine": field.grid.affine.cpu().numpy(),
        "image": image,
        "likeness": np.array(quality.likeness),
        "least_jacobian": np.array([quality.least_jacobian]),
        "overlap": np.array(quality.overlap),
        "mirrored": np.array(quality.mirrored),
    }


def _quality(still: Field, moving: Field, rigid: Tensor, field: Field) -> Quality:
    """Return likeness before and after each step, the smallest Jacobian, and how much of the two lies together."""
    fixed = still.on(still.grid.with_voxels(VOXELS[0]))
    ways = ((torch.eye(4, dtype=torch.float64, device=rigid.device), None), (rigid, None), (rigid, field))
    there = moving.on(moving.grid.spaced(float(fixed.grid.spacing.mean())))
    points = fixed.grid.points()
    moved = _moved(points + field.at(points).permute(1, 2, 3, 0), rigid)
    inside = _inside(there, moved) > 0
    bodies = (fixed.values[0] > BODY) & inside, (there.at(moved)[0] > BODY) & inside
    both = (bodies[0] & bodies[1]).sum()
    return Quality(
        likeness=tuple(float(_likeness(fixed, there, motion, shift)) for motion, shift in ways),
        least_jacobian=float(jacobian(field).min()),
        overlap=(float(inside.float().mean()), float(2 * both / (bodies[0].sum() + bodies[1].sum()).clamp(min=1))),
        mirrored=mirrored_likeness(still, moving),
    )


def mirrored_likeness(fixed: Field, moving: Field) -> tuple[float, ...]:
    """Return the likeness after the rigid step as the moving volume is, and mirrored along the patient's x, y and z.

    A volume that is more like the other when it is mirrored has swapped sides, or stands on its head. The smooth
    deformation hides that in symmetric bodies.
    """
    here = fixed.on(fixed.grid.with_voxels(FLIP_VOXELS))
    there = moving.on(moving.grid.spaced(float(here.grid.spacing.mean())))
    along = (there.grid.affine[:3, :3].abs() / there.grid.spacing).argmax(1).tolist()
    found = []
    for axis in (None, *along):
        seen = there if axis is None else Field(there.values.flip(axis + 1), there.grid)
        with torch.enable_grad():
            rigid = find_rigid(here, seen)
        found.append(float(_likeness(here, seen, rigid, None)))
    return tuple(found)


def find_rigid(fixed: Field, moving: Field) -> Tensor:
    """Return the motion (4, 4), float64, that takes points of the fixed images to the moving ones.

    It turns around the middle of what the fixed images show. From several starts the search continues at the best.
    """
    points, still = fixed.grid.points(), Still.of(fixed)
    middle = _middle(fixed)
    starts = [_middle(moving) - middle, torch.zeros_like(middle)]
    up = torch.tensor([0.0, 0.0, 1.0], device=middle.device)
    tried = [start + shift * up for start in starts for shift in SHIFTS_MM]
    with torch.no_grad():
        scores = [float(_global(fixed, moving, points + shift)) for shift in tried]
    if not np.isfinite(scores).any():
        raise Apart
    shift = tried[int(np.nanargmax(scores))].clone().requires_grad_()
    turn = torch.zeros(3, device=middle.device, requires_grad=True)
    optimiser = torch.optim.Adam([{"params": [shift], "lr": 1.0}, {"params": [turn], "lr": 0.01}])
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, RIGID_STEPS)
    for _ in range(RIGID_STEPS):
        turned = (points - middle) @ _rotation(turn).T + middle + shift
        _step(-_local(still, moving, turned), optimiser)
        rate.step()
    motion = torch.eye(4, dtype=torch.float64, device=middle.device)
    rotation = _rotation(turn.detach().double())
    motion[:3, :3] = rotation
    motion[:3, 3] = middle.double() + shift.detach().double() - rotation @ middle.double()
    return motion


def find_deformation(fixed: Field, moving: Field, rigid: Tensor, grids: Sequence[Grid]) -> Field:
    """Return the vectors in mm that are added to points of the fixed images before the rigid motion."""
    velocity: Field | None = None
    for grid, steps in zip(grids, STEPS, strict=True):
        here = Still.of(fixed.on(grid))
        there = moving.on(moving.grid.spaced(float(grid.spacing.mean())))
        control = grid.spaced(float(grid.spacing.mean()) * COARSER)
        values = torch.zeros(3, *control.shape, device=rigid.device)
        if velocity is not None:
            values = velocity.at(control.points())
        values.requires_grad_()
        points = grid.points()
        optimiser = torch.optim.Adam([values], lr=0.1 * float(control.spacing.mean()))
        rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for _ in range(steps):
            flow = flowing(Field(_smooth(values), control))
            moved = _moved(points + flow.at(points).permute(1, 2, 3, 0), rigid)
            _step(SMOOTHNESS * _roughness(flow) - _local(here, there, moved), optimiser)
            rate.step()
        velocity = Field(_smooth(values.detach()), control)
    if velocity is None:
        raise ValueError("there is no grid to deform")
    return flowing(velocity)


def flowing(velocity: Field) -> Field:
    """Return where a velocity takes points in its unit of time, less where they were, by scaling and squaring."""
    flow = Field(velocity.values / 2**SQUARINGS, velocity.grid)
    points = velocity.grid.points()
    for _ in range(SQUARINGS):
        flow = Field(flow.values + flow.at(points + flow.values.permute(1, 2, 3, 0)), flow.grid)
    return flow


def jacobian(field: Field) -> Tensor:
    """Return the determinant of the Jacobian of x + field(x) in every cell of the grid (slice, row, column)."""
    axes = (field.grid.affine[:3, :3] / field.grid.spacing).float()
    corner = field.values[:, :-1, :-1, :-1]
    along = torch.stack(
        [
            (neighbour - corner) / step
            for neighbour, step in zip(
                (field.values[:, 1:, :-1, :-1], field.values[:, :-1, 1:, :-1], field.values[:, :-1, :-1, 1:]),
                field.grid.spacing.float(),
                strict=True,
            )
        ],
        -1,
    ).permute(1, 2, 3, 0, 4)
    determinants: Tensor = torch.linalg.det(torch.eye(3, device=axes.device) + along @ axes.T)
    return determinants


def resampled(moving: Tensor, there: Grid, here: Grid, rigid: Tensor, field: Field, outside: float) -> Tensor:
    """Return the moving volume on the fixed grid, int16, with a value for what it does not show."""
    image = Field(moving.float()[None] - outside, there)  # what lies beyond is 0
    result = torch.empty(here.shape, dtype=torch.int16, device=moving.device)
    for start in range(0, here.shape[0], SLAB):
        points = here.points(slice(start, start + SLAB))
        moved = _moved(points + field.at(points).permute(1, 2, 3, 0), rigid)
        result[start : start + SLAB] = (image.at(moved, "zeros")[0] + outside).round().clamp(-32768, 32767)
    return result


def _normalised(volume: Tensor, affine: Tensor) -> Field:
    values = volume.clone().float()
    few = values[tuple(slice(None, None, max(length // 64, 1)) for length in values.shape)]
    low, high = np.percentile(few.cpu().numpy(), (LOWEST, HIGHEST))
    values = ((values - float(low)) / max(float(high - low), 1e-3)).clamp(0, 1)
    return Field(values[None], Grid(_shape(values[None]), affine.clone().double()))


def _shape(values: Tensor) -> tuple[int, int, int]:
    return int(values.shape[-3]), int(values.shape[-2]), int(values.shape[-1])


def _middle(field: Field) -> Tensor:
    """Return the centre of what is bright."""
    weights = field.values[0].reshape(-1, 1)
    return (field.grid.points().reshape(-1, 3) * weights).sum(0) / weights.sum().clamp(min=1e-6)


def _moved(points: Tensor, motion: Tensor) -> Tensor:
    return points @ motion[:3, :3].float().T + motion[:3, 3].float()


def _rotation(turn: Tensor) -> Tensor:
    """Return the rotation (3, 3) around an axis by its length in radians."""
    x, y, z = turn
    zero = torch.zeros_like(x)
    rows = [torch.stack(row) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero))]
    rotation: Tensor = torch.linalg.matrix_exp(torch.stack(rows))
    return rotation


def _step(loss: Tensor, optimiser: torch.optim.Optimizer) -> None:
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def _inside(field: Field, points: Tensor) -> Tensor:
    """Return 1 for points that a volume shows, else 0: (slice, row, column)."""
    return (field.grid.within(points).detach().abs() <= 1).all(-1).float()


def _global(fixed: Field, moving: Field, points: Tensor) -> Tensor:
    """Return the correlation of what both show, nan where that is too little."""
    inside = _inside(moving, points) > 0
    if inside.float().mean() < LEAST_OVERLAP:
        return torch.tensor(torch.nan)
    pair = torch.stack((fixed.values[0][inside], moving.at(points)[0][inside]))
    return torch.corrcoef(pair)[0, 1] * inside.float().mean().sqrt()


def _local(fixed: Still, moving: Field, points: Tensor) -> Tensor:
    """Return the mean squared local correlation of what both show."""
    m, inside = moving.at(points)[0], _inside(moving, points)
    mean = _box(m)
    product, square = _box(fixed.values * m) - fixed.mean * mean, _box(m * m) - mean**2
    there = product**2 / (fixed.square * square.clamp(min=0) + FAINT)
    return (there * inside).sum() / inside.sum().clamp(min=1)


def _likeness(fixed: Field, moving: Field, rigid: Tensor, field: Field | None) -> Tensor:
    points = fixed.grid.points()
    shifted = points if field is None else points + field.at(points).permute(1, 2, 3, 0)
    return _local(Still.of(fixed), moving, _moved(shifted, rigid))


def _box(x: Tensor) -> Tensor:
    """Return the mean of the window around each voxel (slice, row, column)."""
    y = x[None, None]
    for kernel in ((WINDOW, 1, 1), (1, WINDOW, 1), (1, 1, WINDOW)):
        pads = tuple(length // 2 for length in kernel)
        y = functional.avg_pool3d(y, kernel, 1, pads, count_include_pad=False)
    return y[0, 0]


def _smooth(x: Tensor) -> Tensor:
    return functional.avg_pool3d(x[None], 3, 1, 1, count_include_pad=False)[0]


def _roughness(field: Field) -> Tensor:
    """Return the mean square of the gradient of a field in mm, per mm."""
    steps = [field.values.diff(dim=axis) / float(field.grid.spacing[axis - 1]) for axis in (1, 2, 3)]
    return torch.stack([(step**2).sum(0).mean() for step in steps]).sum()
