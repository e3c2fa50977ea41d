"""Bone, muscle, fat and calcium of the chest in a CT, by density and the place of the ribs; no trained weights.

Densities are those of Mourtzakis et al. (Appl Physiol Nutr Metab 2008;33:997): muscle -29 to 150, fat -190 to -30 HU.
The inside of the rib cage ends at the innermost bone in each direction from the middle of the body, taken over a few
slices above and below, since ribs run aslant. Calcium is scored as by Agatston et al. (J Am Coll
Cardiol 1990;15:827) in what lies inside, not joined to bone, and only where no contrast medium is seen.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from serving.coarse_grid import Grid, grid_of, grow, largest_body, outside_air, pool, shrink, total
from serving.components import components
from torch import Tensor
from torch.nn import functional

BONE, MUSCLE, OUTER_FAT, INNER_FAT, CALCIUM = 1, 2, 3, 4, 5
MUSCLE_HU, FAT_HU = (-29, 150), (-190, -30)
BONE_HU = 150
SPONGY_HU = 165  # of a coarse voxel: above the spleen in the arterial phase
AIR_HU = -500
EDGE_HU = -250  # of a coarse voxel: below, it holds lung, and its fat is the edge of a vessel
SKIN_MM = 3.0
LUMEN_HU, LUMEN_MM, LUMEN_ML = 230, 5.0, 5.0  # brighter than spongy bone, wider than a rib is thick
FAINT_HU = 130  # of contrast medium in the venous phase, which no plaque reaches over so wide a lumen
RIM_MM = 4.0  # around what contrast medium fills, where its edge is blurred
SKELETON_ML = 3.0  # smaller pieces are calcium, clips and the like
PLEURA_MM = 8.0  # bones may reach so far between the lungs, vessels near the pleura are thin
SPINE_MM, SPINE_DEPTH_MM = 36.0, 50.0  # from its middle to its sides, and from its back to its front
ANGLES = 72  # directions from the middle of the body
REACH_MM = 24.0  # ribs come down by about as much from spine to side
GAP = 9  # directions in a row, 45 degrees, that may be without bone
LEAST_HEIGHT_MM = 60.0
LEAST_AIR_ML = 400.0
LUNG_MM2 = 2000.0  # of air in a plane: more than any trachea has
CALCIUM_HU, CALCIUM_MM2 = 130, 1.0
NOMINAL_MM = 3.0  # the slice thickness that the score was made for
THICKEST_MM = 3.01


class NotSuitable(Exception):
    """Not an error but an answer: the images show no chest that can be measured; the message says why."""


def find_tissue(image: Tensor, affine: Tensor) -> dict[str, Tensor | NDArray[np.float64] | str]:
    """Outline and measure.

    image: int16 (slice, row, column) in HU; affine: float64 (4, 4), (slice, row, column, 1) to mm, LPS.

    Returns
    -------
    labels: uint8 on the grid of the image: 0 none, 1 bone, 2 muscle, 3 fat outside the rib cage, 4 fat inside, 5
    calcium inside that is not bone.
    statistics: float64 (5, 2): per label, volume in ml and mean HU, NaN where there is none.
    score: float64 (3): calcium score, NaN where there is none to be had; millimetres along the body that were measured;
    millilitres filled with contrast medium.
    reason: empty, or one sentence that says why there are no labels.

    Raises
    ------
    ValueError
        The image or the affine has another shape or type.
    """
    if image.dtype != torch.int16 or image.ndim != 3 or affine.shape != (4, 4):
        raise ValueError(f"the image is int16 with three axes and the affine 4 × 4, not {tuple(image.shape)}")
    matrix = affine.cpu().numpy()
    try:
        return _measured(image, matrix, grid_of(matrix))
    except NotSuitable as answer:
        nothing = torch.zeros(image.shape, dtype=torch.uint8, device=image.device)
        empty = np.full((5, 2), np.nan)
        return {"labels": nothing, "statistics": empty, "score": np.full(3, np.nan), "reason": str(answer)}


def _measured(image: Tensor, matrix: NDArray[np.float64], grid: Grid) -> dict[str, Tensor | NDArray[np.float64] | str]:
    hu = pool(image, grid)
    body = _filled(largest_body(hu, grid))
    if not body.any():
        raise NotSuitable("no body is visible in the images")
    lung = (hu < AIR_HU) & body
    between = hull(lung)
    bright = (hu > SPONGY_HU) & body
    lumen = _lumen(pool(image - BONE_HU, grid) + BONE_HU, between, grid)  # the pool is cut off at 200 HU
    vessels = shrink(between, grid, PLEURA_MM)
    contrast = grow(lumen, grid, RIM_MM)
    skeleton = _skeleton(bright & ~contrast, vessels, grid)
    inside, enclosed = rib_cage(skeleton & ~vessels, body, grid)
    enclosed &= lung.sum((1, 2)) * grid.spacing[1] * grid.spacing[2] > LUNG_MM2
    inside = (inside | between & ~skeleton) & enclosed[:, None, None]
    height = float(enclosed.sum()) * grid.spacing[0]
    if height < LEAST_HEIGHT_MM:
        raise NotSuitable(f"ribs enclose the body along {height:.0f} mm only")
    air = float((inside & (hu < AIR_HU)).sum()) * grid.voxel_ml
    if air < LEAST_AIR_ML:
        raise NotSuitable(f"what bone encloses holds {air:.0f} ml of air, too little for lungs")
    near = grow(skeleton, grid, max(grid.spacing)) & ~contrast
    faint = shrink((hu >= FAINT_HU) & inside & ~near, grid, LUMEN_MM)
    filled = float(((lumen | grow(faint, grid, LUMEN_MM)) & inside).sum()) * grid.voxel_ml
    scored = filled < LUMEN_ML and grid.axes[0] == 0 and float(np.linalg.norm(matrix[:3, 0])) <= THICKEST_MM
    wall = shrink(body, grid, SKIN_MM) & enclosed[:, None, None]
    places = torch.where(inside, 2, torch.where(wall, 1, 0)).to(torch.uint8)
    places[contrast | inside & (hu < EDGE_HU)] = 3
    fine = [_fine(part, image.shape, grid) for part in (places, near.to(torch.uint8))]
    labels = _labels(image, *fine)
    score = math.nan
    if scored:
        score = agatston(image, labels, matrix)
    else:
        labels[labels == CALCIUM] = 0
    statistics = _statistics(image, labels, abs(float(np.linalg.det(matrix[:3, :3]))))
    return {"labels": labels, "statistics": statistics, "score": np.array([score, height, filled]), "reason": ""}


def _filled(body: Tensor) -> Tensor:
    """The body with the lungs and whatever else it encloses, plane by plane."""
    return ~outside_air(~body)


def _lumen(hu: Tensor, between: Tensor, grid: Grid) -> Tensor:
    """What contrast medium fills between the lungs: bright as far as a ball reaches, and grown back."""
    core = shrink(hu >= LUMEN_HU, grid, LUMEN_MM) & between
    return grow(core, grid, LUMEN_MM + 1) & (hu > LUMEN_HU - 60) if core.any() else core


def hull(mask: Tensor) -> Tensor:
    """The convex hull of a mask, plane by plane: what no straight line parts from it, in 36 directions."""
    y, x = (torch.arange(n, device=mask.device, dtype=torch.float32) for n in mask.shape[1:])
    inside = mask.any(2).any(1)[:, None, None].expand(mask.shape).clone()
    for step in range(36):
        turn = 2 * math.pi * step / 36
        along = y[:, None] * math.sin(turn) + x[None] * math.cos(turn)
        farthest = torch.where(mask, along, -math.inf).amax((1, 2))
        inside &= along <= farthest[:, None, None]
    return inside


def _skeleton(bright: Tensor, between: Tensor, grid: Grid) -> Tensor:
    """Large pieces of bone: what lies between the lungs is bone only where the spine stands, else a vessel."""
    columns = torch.arange(bright.shape[2], device=bright.device)
    near = (columns - _middle(bright & ~between)).abs() * grid.spacing[2] < SPINE_MM
    spine = bright & ~between & near & _behind(between)
    bone = bright & (~between | near & grow(spine, grid, SPINE_DEPTH_MM))
    pieces = components(grow(bone, grid, max(grid.spacing)))
    large = total(pieces) * grid.voxel_ml > SKELETON_ML
    large[0] = False
    return bone & large[pieces]


def _middle(bone: Tensor) -> Tensor:
    """The column half way between the outermost bones."""
    columns = bone.any(0).any(0).nonzero().flatten()
    return (columns[0] + columns[-1]) / 2 if len(columns) else torch.tensor(0.0, device=bone.device)


def _behind(between: Tensor) -> Tensor:
    """What lies behind the middle of the lungs, plane by plane (bool)."""
    rows = torch.arange(between.shape[1], device=between.device)[:, None]
    middle = (between * rows).sum((1, 2)) / between.sum((1, 2)).clamp(min=1)
    return rows > middle[:, None, None]


def rib_cage(skeleton: Tensor, body: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """What lies inside the ribs, bool (z, y, x), and at which heights they enclose it, bool (z)."""
    z, y, x = (torch.arange(n, device=body.device, dtype=torch.float32) for n in body.shape)
    middle = [(body * axis).sum((1, 2)) / body.sum((1, 2)).clamp(min=1) for axis in (y[:, None], x[None])]
    dy = (y[None, :, None] - middle[0][:, None, None]) * grid.spacing[1]
    dx = (x[None, None] - middle[1][:, None, None]) * grid.spacing[2]
    radius = torch.sqrt(dy * dy + dx * dx)
    angle = ((torch.atan2(dy, dx) / (2 * math.pi) + 1) * ANGLES).long() % ANGLES
    plane = torch.arange(len(z), device=body.device)[:, None, None].expand_as(angle) * ANGLES
    nearest = torch.full((len(z) * ANGLES,), math.inf, device=body.device)
    nearest.scatter_reduce_(0, (plane + angle)[skeleton], radius[skeleton], "amin")
    nearest = _over_slices(nearest.view(len(z), ANGLES), round(REACH_MM / grid.spacing[0]))
    nearest, enclosed = _without_gaps(nearest)
    inside = body & (radius < nearest.gather(1, angle.flatten(1)).view_as(radius)) & enclosed[:, None, None]
    return inside, enclosed


def _over_slices(nearest: Tensor, reach: int) -> Tensor:
    """The least of each direction over the slices within reach."""
    wide = functional.pad(-nearest.T[:, None], (reach, reach), value=-math.inf)
    return -functional.max_pool1d(wide, 2 * reach + 1, 1)[:, 0].T


def _without_gaps(nearest: Tensor) -> tuple[Tensor, Tensor]:
    """Directions without bone get the radius between their neighbours'; a slice with a wider gap is not enclosed."""
    filled, enclosed = torch.zeros_like(nearest), torch.zeros(len(nearest), dtype=torch.bool, device=nearest.device)
    for index, radii in enumerate(nearest.cpu().numpy()):
        (known,) = np.nonzero(np.isfinite(radii))
        if len(known) > 1 and np.diff([*known, known[0] + ANGLES]).max() <= GAP + 1:
            whole = np.interp(np.arange(ANGLES), known, radii[known], period=ANGLES)
            filled[index] = torch.from_numpy(whole).to(nearest)
            enclosed[index] = True
    return filled, enclosed


def _fine(coarse: Tensor, shape: torch.Size, grid: Grid) -> Tensor:
    """A coarse uint8 volume (z, y, x) on the grid of the image."""
    fine = grid.to_image(coarse)
    for axis, block in enumerate(grid.block):
        fine = fine.index_select(axis, torch.arange(shape[axis], device=fine.device) // block)
    return fine


def _labels(image: Tensor, places: Tensor, near_bone: Tensor) -> Tensor:
    """Density and place make the label: places are 0 none, 1 wall, 2 inside, 3 lung or contrast medium."""
    labels = torch.zeros(image.shape, dtype=torch.uint8, device=image.device)
    for index, (hu, place, bone) in enumerate(zip(image, places, near_bone, strict=True)):
        plane = labels[index]
        wall, inner = place == 1, place == 2
        smooth = functional.avg_pool2d(hu[None].float(), 3, 1, 1, count_include_pad=False)[0]  # noise makes no holes
        plane[(smooth >= MUSCLE_HU[0]) & (smooth <= MUSCLE_HU[1]) & wall] = MUSCLE
        beside_air = functional.max_pool2d(-hu[None].float(), 3, 1, 1)[0] > -AIR_HU
        density = torch.where(beside_air, hu.float(), smooth)  # the mean of lung and muscle is that of fat
        fat = (density >= FAT_HU[0]) & (density <= FAT_HU[1])
        plane[fat & wall] = OUTER_FAT
        plane[fat & inner] = INNER_FAT
        plane[(hu >= CALCIUM_HU) & inner & (bone == 0)] = CALCIUM
        plane[(hu > BONE_HU) & (wall | inner) & (bone > 0)] = BONE
    return labels


def agatston(image: Tensor, labels: Tensor, matrix: NDArray[np.float64]) -> float:
    """The score: area in mm² times 1 to 4 by the brightest voxel, over pieces of 1 mm² or more in each slice.

    Pieces that are smaller lose their label.
    """
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    area = float(spacing[1] * spacing[2])
    pieces = components(labels == CALCIUM, planar=True)
    size = total(pieces) * area
    peak = torch.zeros(len(size), device=image.device).scatter_reduce_(
        0, pieces.flatten(), image.flatten().float(), "amax"
    )
    counted = size >= CALCIUM_MM2
    counted[0] = False
    labels[(labels == CALCIUM) & ~counted[pieces]] = 0
    weight = torch.bucketize(peak, torch.tensor([200.0, 300.0, 400.0], device=image.device), right=True) + 1
    return float((size * weight)[counted].sum()) * float(spacing[0]) / NOMINAL_MM


def _statistics(image: Tensor, labels: Tensor, voxel_mm3: float) -> NDArray[np.float64]:
    numbers = labels.flatten().long()
    count = torch.bincount(numbers, minlength=6)[1:6].double()
    sums = torch.bincount(numbers, image.flatten().double(), minlength=6)[1:6]
    return torch.stack([count * voxel_mm3 / 1000, sums / count], 1).cpu().numpy()  # 0 / 0 is NaN
