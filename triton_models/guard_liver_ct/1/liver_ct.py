"""Is it a CT of the abdomen with a whole liver: a large homogeneous organ on the right, below the lungs, not cut off?

The liver is the largest piece of homogeneous soft tissue. The search begins at the most frequent attenuation in
the right half of the body, so contrast medium and fat in the liver do not matter.
"""

from dataclasses import dataclass

import numpy as np
import torch
from serving.body import (
    UNCUT,
    Body,
    Coarse,
    between,
    body_of,
    dilate,
    end_sections,
    erode,
    gas_inside,
    largest_piece,
    mean_around,
    middle_of,
    spine_check,
    tissue_check,
    to_coarse_grid,
    wide_check,
)
from serving.guarding import Answer, Check, answer_by_checks
from torch import Tensor
from torch.nn import functional

COARSE_MM = 5.0
LIVER_HU = -10.0, 220.0  # the fattest liver, and the late arterial to portal venous phases
BIN_HU, NEAR_HU = 10.0, 25.0
MOST_SPREAD_HU = 35.0  # of 27 coarse voxels
LEAST_ML, LEAST_RIGHT = 250.0, 0.6
MOST_LIVER_CUT = 0.12  # of its largest section, on the first or last plane
LUNG_MM = 60.0  # lung lies so near above the liver
LUNG_ML = 20.0
LEAST_FAT, LEAST_BONE = 0.01, 0.003


@dataclass(frozen=True, slots=True, kw_only=True)
class Abdomen:
    """Measurements: the body; the piece that may be liver: ml, mean HU, and the part of it in the right half.

    cut: its sections on the lowest and the highest plane, as parts of the largest. lung: ml of gas inside
    the body below and above it.
    """

    body: Body
    ml: float
    hu: float
    right: float
    cut: tuple[float, float]
    lung: tuple[float, float]


CHECKS: tuple[Check[Abdomen], ...] = (
    tissue_check(fat=LEAST_FAT, bone=LEAST_BONE),
    UNCUT,
    wide_check("abdomen"),
    spine_check("abdomen"),
    Check(
        lambda seen: seen.ml >= LEAST_ML,
        lambda seen: f"no liver is seen: the largest homogeneous organ has {seen.ml:.0f} ml",
    ),
    Check(
        lambda seen: seen.right >= LEAST_RIGHT,
        lambda seen: f"no liver is seen on the right: {seen.right:.0%} of the largest homogeneous organ lie there",
    ),
    Check(
        lambda seen: max(seen.cut) <= MOST_LIVER_CUT,
        lambda seen: f"the liver is cut off at {('its lower', 'its upper')[int(np.argmax(seen.cut))]} end",
    ),
    Check(
        lambda seen: seen.lung[1] >= max(LUNG_ML, seen.lung[0]),
        "no lung is seen above what may be the liver: it is cut, upside down, or no liver",
    ),
)


def judge(volume: Tensor, affine: Tensor, header: str) -> Answer:  # noqa: ARG001 - the pixels decide
    """Say whether a CT shows a whole liver. See docs/plugin-author.md for what is given and returned."""
    return answer_by_checks(look_at(to_coarse_grid(volume, affine, COARSE_MM)), CHECKS)


def look_at(ct: Coarse) -> Abdomen:
    """Measure what may be the liver."""
    body = body_of(ct)
    right = (torch.arange(body.mask.shape[2], device=body.mask.device) < middle_of(body.mask)).expand(body.mask.shape)
    liver = homogeneous(ct, body.mask, right)
    gas = gas_inside(ct, body)
    return Abdomen(
        body=body,
        ml=float(liver.sum()) * ct.voxel_ml,
        hu=float(ct.values[liver].double().mean()) if liver.any() else 0.0,
        right=float((liver & right).sum()) / max(float(liver.sum()), 1.0),
        cut=end_sections(liver),
        lung=(
            float((above(liver.flip(0), ct).flip(0) & gas).sum()) * ct.voxel_ml,
            float((above(liver, ct) & gas).sum()) * ct.voxel_ml,
        ),
    )


def homogeneous(ct: Coarse, body: Tensor, right: Tensor) -> Tensor:
    """Return the largest piece of homogeneous tissue with the most frequent attenuation of the right half."""
    mean = mean_around(ct.values)
    even = (mean_around(ct.values**2) - mean**2).clamp(min=0).sqrt() < MOST_SPREAD_HU
    there = even & body & between(mean, LIVER_HU)
    values = mean[there & right]
    if len(values) == 0:
        return torch.zeros_like(body)
    bins = int((LIVER_HU[1] - LIVER_HU[0]) / BIN_HU)
    counts = torch.histc(values, bins, *LIVER_HU)
    around = functional.avg_pool1d(counts[None], 3, 1, 1)[0]
    commonest = LIVER_HU[0] + (float(around.argmax()) + 0.5) * BIN_HU
    near = there & ((mean - commonest).abs() < NEAR_HU)
    return dilate(largest_piece(erode(near))) & near


def above(mask: Tensor, ct: Coarse) -> Tensor:
    """Return the voxels that lie within `LUNG_MM` above a mask and not in it."""
    result = torch.zeros_like(mask)
    for step in range(1, min(round(LUNG_MM / ct.grid.spacing[0]), len(mask) - 1) + 1):
        result[step:] |= mask[:-step]
    return result & ~mask
