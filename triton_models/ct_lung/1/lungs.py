"""Right and left lung in a chest CT, by air, connectivity and shape; no trained weights.

The method is the classical one (Hu, Hoffman, Reinhardt, IEEE TMI 2001;20:490): air inside the body, without the
trachea and main bronchi, split into right and left, closed over vessels and nodules. Connectivity and shape are worked
out on a coarse grid of about 2 mm; the edge of the lung is then found at full resolution. What is not aerated (large
consolidation, effusion) is not counted as lung.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from serving.body import enclosed_by, middle_of
from serving.coarse_grid import (
    COARSE_MM,
    Grid,
    box_of,
    grid_of,
    grow,
    largest_body,
    outside_air,
    pool,
    shrink,
    squared_distance,
    total,
)
from serving.components import components
from torch import Tensor
from torch.nn import functional

AIR = -500  # HU of a coarse voxel that is air or lung; dense expiratory lung is about -600
EDGE = -400  # HU half way between lung (-850) and soft tissue (40): the edge of the lung at full resolution

CLOSING_MM = 8.0  # what a ball of this radius cannot enter is lung: vessels, and nodules on the pleura up to 16 mm wide
OPENING_MM = (2.0, 4.0)  # erosion that parts what only a thin bridge joins
JUNCTION_MM = 50.0  # how far from the middle the anterior and posterior junction lines may wander
JUNCTION_MM2 = 6000.0  # lungs touch over less; a larger cut would go through one lung
JUNCTION_SHARE = 0.3  # of the larger lung; a cut that leaves less has cut a herniated piece off a single lung

# Total lung capacity is about 60 to 80 ml/kg at every age: 0.2 l for one lung is an infant of 6 kg. 7.99 H - 7.08
# (Quanjer, Eur Respir J 1993;6 Suppl 16:5) gives 8.9 l for a man of 2 m, 1.15 l more at the 95th centile: 5.5 l for the
# right lung, and some hyperinflation.
SMALLEST_ML, LARGEST_ML = 200.0, 6500.0
GAS = -970  # mean HU: even the worst emphysema is denser; gas in bowel, stomach and pneumothorax is -1000
LEAST_COVER_MM = 80.0  # an infant's lungs are about as high
LEAST_HEIGHT_MM = 60.0
CUT_SHARE = 0.25  # of a lung's largest section; with less on the first or last image some 2 % of the volume is missing
CONTACT_MM2 = 100.0  # of lung lying against air that reaches the edge of the image

SLAB = 8
"""Slices whose voxels are counted at a time."""
NO_BODY = "no body is visible in the images"
NO_LUNGS = "no two air-filled regions of lung size lie inside the body"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lungs:
    """What `find_lungs` returns.

    labels: uint8, the shape and grid of the image; 0 none, 1 right lung, 2 left lung.
    statistics: float64 (3, 4); rows right, left, both; columns volume in ml, mean HU, voxels below -950 HU in per cent,
    15th percentile in HU. NaN when no lungs were found.
    reason: empty when lungs were found, else one sentence that says why not.
    """

    labels: Tensor
    statistics: NDArray[np.float64]
    reason: str


class NotLungs(Exception):
    """Not an error but an answer: the images do not show two whole lungs; the message says why."""


def find_lungs(image: Tensor, affine: NDArray[np.float64]) -> Lungs:
    """Segment and measure the right and the left lung.

    image: int16 (slice, row, column) in HU, on any device; the work is done there. affine: (4, 4), maps (slice, row,
    column, 1) to (x, y, z, 1) in mm, LPS (PS3.3 C.7.6.2.1.1). The same input gives the same bytes.

    Raises
    ------
    ValueError
        The image or the affine has another shape or type, or the affine maps the voxels onto a plane.
    """
    if image.dtype != torch.int16 or image.ndim != 3 or 0 in image.shape:
        raise ValueError(f"the image must be int16 with three dimensions, but is {image.dtype} {tuple(image.shape)}")
    voxel_mm3 = abs(np.linalg.det(affine[:3, :3])) if affine.shape == (4, 4) and np.isfinite(affine).all() else 0.0
    if voxel_mm3 < 1e-6:
        raise ValueError("the affine must be a finite, invertible 4 x 4 matrix")
    grid = grid_of(affine)
    try:
        labels = _segment(image, grid)
    except NotLungs as answer:
        nothing = torch.zeros(image.shape, dtype=torch.uint8, device=image.device)
        return Lungs(labels=nothing, statistics=np.full((3, 4), np.nan), reason=str(answer))
    return Lungs(labels=labels, statistics=_statistics(image, labels, voxel_mm3), reason="")


def _segment(image: Tensor, grid: Grid) -> Tensor:
    cover = image.shape[grid.axes[0]] * grid.spacing[0] / grid.block[grid.axes[0]]
    if cover < LEAST_COVER_MM:
        raise NotLungs(f"the images cover only {cover:.0f} mm from head to foot, too little for whole lungs")
    hu = pool(image, grid)
    air = hu < AIR
    outside = outside_air(air)
    body = largest_body(hu, grid)
    if not body.any():
        raise NotLungs(NO_BODY)
    inner = air & ~outside
    trachea, airway = _airway(hu, inner, grid, middle_of(body))
    lung_air = inner & ~grow(airway, grid, 1.25 * COARSE_MM)
    lungs = _right_and_left(hu, lung_air, body, grid)
    if lungs is None:
        part = _junction(pool(image, grid, functional.max_pool3d), lung_air & enclosed_by(body), middle_of(body), grid)
        lungs = _right_and_left(hu, lung_air, body, grid, part)
    if lungs is None:
        raise NotLungs(NO_LUNGS)
    _refuse_cut_by_edge(lungs, outside, grid)
    near, sure = _closed(lungs, air, trachea, grid)
    labels = _refine(image, grid.to_image(near), grid.to_image(sure), grid.block)
    _refuse_implausible(labels, grid)
    return labels


# ------------------------------------------------------------------------------------------------------------ anatomy


def _airway(hu: Tensor, inner: Tensor, grid: Grid, middle: float) -> tuple[Tensor, Tensor]:
    """The trachea, and the trachea with the main bronchi; both empty where no trachea is seen.

    The trachea is the tallest stack of small air-filled sections near the middle. From it the bronchi are grown at
    rising thresholds, until growth leaks into the lung.
    """
    _, dy, dx = grid.spacing
    sections = components(inner, planar=True)
    area = total(sections) * dy * dx
    column = torch.arange(inner.shape[2], device=inner.device).expand(inner.shape)
    offset = (total(sections, column) / total(sections).clamp(min=1) - middle).abs() * dx
    small = (area > 20) & (area < 900) & (offset < 35)  # 5 mm wide (infant) to 27 mm (Breatnach, AJR 1984;142:903)
    small[0] = False
    stacks = components(small[sections])
    nothing = torch.zeros_like(inner)
    if not stacks.any():
        return nothing, nothing
    planes = torch.stack([torch.bincount(plane.flatten(), minlength=int(stacks.max()) + 1) > 0 for plane in stacks])
    height = planes[:, 1:].sum(0)
    tallest = int(height.argmax()) + 1
    if float(height.max()) * grid.spacing[0] < 30:
        return nothing, nothing
    trachea = stacks == tallest
    box = box_of(trachea, grid, 60.0)
    seed, airway = trachea[box], trachea
    for threshold in (-960, -940, -920, -900, -880, -860):
        labels = components((hu[box] < threshold) & inner[box] | seed)
        grown = torch.isin(labels, torch.unique(labels[seed]))
        if float((grown & ~seed).sum()) * grid.voxel_ml > 40:  # both main bronchi hold about 12 ml
            break
        airway = trachea.clone()
        airway[box] = grown
    return trachea, airway


def _junction(densest: Tensor, air: Tensor, middle: float, grid: Grid) -> Tensor:
    """A thin wall (bool) to take out of the air where the lungs touch; empty when it would cut through a lung.

    In each axial plane the cheapest path from front to back, where air costs and tissue is free, as Hu et al. do it:
    it runs along the junction lines, which the densest voxel of each block shows better than the mean.
    """
    reach = JUNCTION_MM / grid.spacing[2]
    start, stop = max(0, int(middle - reach)), int(middle + reach) + 1
    cost = torch.where(air, -densest, 0)[..., start:stop].clamp(0, 1000) / 1000
    n = int(8.0 / grid.spacing[0])  # the junction lies much the same 8 mm above and below
    cost = functional.avg_pool3d(cost[None], (2 * n + 1, 1, 1), 1, (n, 0, 0), count_include_pad=False)[0]
    column = torch.arange(start, start + cost.shape[2], device=air.device)
    cost = cost + 0.1 * (column - middle).abs() / reach  # of two equal paths, the path nearer the middle
    total, came_from = cost[:, 0], []
    for plane in cost.unbind(1):
        wide = functional.pad(total, (1, 1), value=torch.inf)
        steps = torch.stack((wide[:, 1:-1], wide[:, :-2] + 0.1, wide[:, 2:] + 0.1))
        least, step = steps.min(0)
        came_from.append(step)
        total = least + plane
    at = total.argmin(1, keepdim=True)
    path = []
    for step in reversed(came_from):
        path.append(at)
        taken = step.gather(1, at)
        at = at - (taken == 1).long() + (taken == 2).long()
    border = torch.cat(path[::-1], 1) + start
    left = torch.arange(air.shape[2], device=air.device) >= border[..., None]
    wall = torch.zeros_like(air)
    for axis in range(3):
        n = air.shape[axis]
        ahead, behind = left.narrow(axis, 1, n - 1), left.narrow(axis, 0, n - 1)
        wall.narrow(axis, 1, n - 1).logical_or_(ahead & ~behind)
        wall.narrow(axis, 0, n - 1).logical_or_(behind & ~ahead)
    wall &= air
    touching = float((wall.any(2)).sum()) * grid.spacing[0] * grid.spacing[1]
    return wall & (touching < JUNCTION_MM2)


def _right_and_left(hu: Tensor, air: Tensor, body: Tensor, grid: Grid, wall: Tensor | None = None) -> Tensor | None:
    """uint8 (z, y, x): 1 right lung, 2 left lung, aerated voxels only; None where no two lie beside each other."""
    if not air.any():
        return None
    box = box_of(air, grid, 0.0)
    hu, air, middle, inner = hu[box], air[box], middle_of(body) - box[2].start, enclosed_by(body)[box]
    parted = air if wall is None else air & ~wall[box]
    for radius in OPENING_MM:
        cores = components(shrink(parted, grid, radius))
        least_share = 0.0 if wall is None else JUNCTION_SHARE
        pair = _pair(cores, hu, inner, middle=middle, grid=grid, least_share=least_share)
        if pair is not None:
            break
    else:
        return None
    seeds = torch.zeros_like(cores, dtype=torch.uint8)
    gas = total(cores, hu) / total(cores).clamp(min=1) < GAS
    gas[0] = False
    seeds[gas[cores]] = 3  # gas in the stomach keeps to itself where the diaphragm is too thin to see
    seeds[cores == pair[0]] = 1
    seeds[cores == pair[1]] = 2
    found = _flood(_flood(seeds, parted), air)
    lungs = torch.zeros(body.shape, dtype=torch.uint8, device=body.device)
    lungs[box] = torch.where(found == 3, 0, found)
    return lungs


def _pair(
    cores: Tensor, hu: Tensor, inner: Tensor, *, middle: float, grid: Grid, least_share: float
) -> tuple[int, int] | None:
    """Return the cores of the right and left lung: the largest, and another wholly beside it; or None."""
    count = total(cores)
    share = total(cores, inner) / count.clamp(min=1)
    mean = total(cores, hu) / count.clamp(min=1)
    fits = (share > 0.95) & (mean > GAS) & (count * grid.voxel_ml > SMALLEST_ML / 4)
    fits[0] = False
    size = torch.where(fits, count, 0)
    order = [int(k) for k in size.argsort(descending=True, stable=True)[:6] if size[k] > 0]
    spans = {}
    for k in order:
        columns = (cores == k).sum((0, 1)).double().cumsum(0) / size[k]
        spans[k] = [float(torch.searchsorted(columns, share_)) - middle for share_ in (0.1, 0.5, 0.9)]
    for a, b in combinations(order, 2):
        if a != order[0]:
            break
        right, left = sorted((a, b), key=lambda k: spans[k][1])
        apart = spans[right][2] < spans[left][0]
        if apart and spans[right][1] < 0 < spans[left][1] and size[b] >= least_share * size[a]:
            return right, left
    return None


def _flood(seeds: Tensor, within: Tensor) -> Tensor:
    """Every voxel that a seed reaches inside `within` gets the number of the seed that is fewest steps away."""
    labels = seeds
    while True:
        spread = labels.clone()
        for axis in range(3):
            n = labels.shape[axis]
            ahead, behind = spread.narrow(axis, 1, n - 1), spread.narrow(axis, 0, n - 1)
            torch.maximum(ahead, labels.narrow(axis, 0, n - 1), out=ahead)
            torch.maximum(behind, labels.narrow(axis, 1, n - 1), out=behind)
        spread = torch.where((labels == 0) & within, spread, labels)
        if torch.equal(spread, labels):
            return labels
        labels = spread


def _closed(lungs: Tensor, air: Tensor, trachea: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Where the full-resolution edge may lie (uint8: 1 right, 2 left), and what is lung whatever its density (bool)."""
    closed = torch.zeros_like(lungs)
    barred = grow(trachea, grid, 1.25 * COARSE_MM)
    for label in (1, 2):
        box = box_of(lungs == label, grid, CLOSING_MM)
        whole = _close_one(lungs[box] == label, grid) & ~barred[box] & (closed[box] == 0)
        closed[box] = torch.where(whole & ((lungs[box] == 0) | (lungs[box] == label)), label, closed[box])
    other = squared_distance((air | barred) & (closed == 0), grid, 2 * COARSE_MM)
    right = squared_distance(closed == 1, grid, 2 * COARSE_MM)
    left = squared_distance(closed == 2, grid, 2 * COARSE_MM)
    nearest = torch.minimum(right, left)
    rim = (nearest <= (2 * COARSE_MM) ** 2) & (nearest < other)
    near = torch.where(rim, torch.where(right <= left, 1, 2), 0).to(torch.uint8)
    step = 1.05 * max(grid.spacing[1:])
    deep = shrink(closed > 0, grid, step)
    solid = grow(deep & ~air, grid, step) & (closed > 0)  # a nodule reaches as far as the closed pleura
    return near, deep | solid


def _close_one(lung: Tensor, grid: Grid) -> Tensor:
    """One lung closed by a ball, and what it encloses on every side filled."""
    pad = [int(CLOSING_MM / spacing) + 2 for spacing in grid.spacing]
    (z, y, x), (nz, ny, nx) = pad, lung.shape
    wide = functional.pad(lung, (x, x, y, y, z, z))
    closed = shrink(grow(wide, grid, CLOSING_MM), grid, CLOSING_MM) | wide
    around = components(~closed)
    filled = around != around[0, 0, 0]
    return filled[z : z + nz, y : y + ny, x : x + nx]


# ---------------------------------------------------------------------------------------------------- full resolution


def _refine(image: Tensor, near: Tensor, sure: Tensor, block: tuple[int, int, int]) -> Tensor:
    labels = torch.zeros(image.shape, dtype=torch.uint8, device=image.device)
    box = tuple(_span(near.any(others)) for others in ((1, 2), (0, 2), (0, 1)))
    part = tuple(slice(side.start * width, side.stop * width) for side, width in zip(box, block, strict=True))
    near, sure = near[box], sure[box]
    fine, found = image[part], labels[part]
    rows = torch.arange(fine.shape[1], device=image.device) // block[1]
    columns = torch.arange(fine.shape[2], device=image.device) // block[2]
    for k in range(near.shape[0]):
        slab = slice(k * block[0], (k + 1) * block[0])
        inside = (fine[slab] < EDGE) | sure[k][rows][:, columns]
        found[slab] = inside * near[k][rows][:, columns]
    return labels


def _span(there: Tensor) -> slice:
    """Return the part of a line from the first to the last place that is true; all of it where none is."""
    places = there.nonzero()
    return slice(int(places.min()), int(places.max()) + 1) if len(places) else slice(0, len(there))


def _refuse_cut_by_edge(lungs: Tensor, outside: Tensor, grid: Grid) -> None:
    touching = ((lungs[1:] > 0) & outside[:-1]).sum() + ((lungs[:-1] > 0) & outside[1:]).sum()
    if float(touching) * grid.spacing[1] * grid.spacing[2] > CONTACT_MM2:
        raise NotLungs("the lungs are cut off by the edge of the image")


def _refuse_implausible(labels: Tensor, grid: Grid) -> None:
    upwards = labels.movedim(grid.axes[0], 0)
    fine_mm = grid.spacing[0] / grid.block[grid.axes[0]]
    pixel_mm2 = 1.0
    for coarse, axis in enumerate(grid.axes):
        if coarse:
            pixel_mm2 *= grid.spacing[coarse] / grid.block[axis]
    for label, name in ((1, "right"), (2, "left")):
        section = torch.stack([(plane == label).sum() for plane in upwards]).double() * pixel_mm2
        volume = float(section.sum()) * fine_mm / 1000
        if not SMALLEST_ML <= volume <= LARGEST_ML:
            raise NotLungs(f"the {name} lung would measure {volume:.0f} ml, which no lung does")
        if float((section > 0).sum()) * fine_mm < LEAST_HEIGHT_MM:
            raise NotLungs(f"the {name} lung would be less than {LEAST_HEIGHT_MM:.0f} mm high")
        if float(torch.maximum(section[0], section[-1])) > CUT_SHARE * float(section.max()):
            raise NotLungs(f"the {name} lung goes on beyond the first or last image")


def _statistics(image: Tensor, labels: Tensor, voxel_mm3: float) -> NDArray[np.float64]:
    counts = torch.zeros(2 << 16, dtype=torch.int64, device=image.device)
    for start in range(0, image.shape[0], SLAB):
        values, numbers = image[start : start + SLAB], labels[start : start + SLAB]
        lung = numbers > 0
        side = (numbers[lung].long() - 1) << 16
        counts += torch.bincount(values[lung].long() + (32768 + side), minlength=2 << 16)
    right, left = counts.view(2, 1 << 16).cpu().numpy()
    return np.array([_row(histogram, voxel_mm3) for histogram in (right, left, right + left)])


def _row(histogram: NDArray[np.int64], voxel_mm3: float) -> tuple[float, float, float, float]:
    hu = np.arange(-32768, 32768)
    n = int(histogram.sum())
    mean = float((histogram * hu).sum() / n)
    low = 100 * float(histogram[hu < -950].sum() / n)
    fifteenth = float(hu[np.searchsorted(histogram.cumsum(), 0.15 * n)])
    return n * voxel_mm3 / 1000, mean, low, fifteenth
