"""Is it a CT of the abdomen with a whole liver: a large homogeneous organ on the right, below the lungs, cut nowhere?

The liver is the largest piece of homogeneous soft tissue. It is looked for around the commonest attenuation in the
right half of the body, so contrast medium and fat in it do not matter.
"""

from dataclasses import dataclass

import numpy as np
import torch
from serving.body import (
    GAS_HU,
    LEAST_WIDE,
    MOST_CUT,
    Body,
    Coarse,
    between,
    biggest,
    body_of,
    coarsened,
    enclosed,
    inner,
    mean_around,
    middle_of,
    open_to_side,
    outer,
)
from serving.guarding import Answer, Check, judged
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
    """What is seen: the body; the piece that may be liver: ml, HU, the part of it in the right half.

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
    Check(
        lambda seen: seen.body.fat >= LEAST_FAT and seen.body.bone >= LEAST_BONE,
        "no body with fat and bone is seen, by their HU",
    ),
    Check(lambda seen: seen.body.cut <= MOST_CUT, "the body is cut off at a side of the images"),
    Check(
        lambda seen: seen.body.wide >= LEAST_WIDE,
        "the body is deeper than wide: its axes are swapped, or it is no abdomen",
    ),
    Check(
        lambda seen: seen.body.spine[1] > seen.body.spine[0],
        "no spine is seen at the back: front and back are swapped, or it is no abdomen",
    ),
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
    return judged(look_at(coarsened(volume, affine, COARSE_MM)), CHECKS)


def look_at(ct: Coarse) -> Abdomen:
    """Measure what may be the liver."""
    body = body_of(ct)
    right = (torch.arange(body.mask.shape[2], device=body.mask.device) < middle_of(body.mask)).expand(body.mask.shape)
    liver = homogeneous(ct, body.mask, right)
    sections = liver.sum((1, 2)).double()
    gas = ct.values < GAS_HU
    gas &= enclosed(body.mask) & ~open_to_side(gas)
    largest = max(float(sections.max()), 1.0)
    return Abdomen(
        body=body,
        ml=float(liver.sum()) * ct.voxel_ml,
        hu=float(ct.values[liver].double().mean()) if liver.any() else 0.0,
        right=float((liver & right).sum()) / max(float(liver.sum()), 1.0),
        cut=(float(sections[0]) / largest, float(sections[-1]) / largest),
        lung=(
            float((above(liver.flip(0), ct).flip(0) & gas).sum()) * ct.voxel_ml,
            float((above(liver, ct) & gas).sum()) * ct.voxel_ml,
        ),
    )


def homogeneous(ct: Coarse, body: Tensor, right: Tensor) -> Tensor:
    """Return the largest piece of homogeneous tissue that attenuates as is commonest in the right half."""
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
    return outer(biggest(inner(near))) & near


def above(mask: Tensor, ct: Coarse) -> Tensor:
    """Return the voxels that lie within `LUNG_MM` above a mask and not in it."""
    result = torch.zeros_like(mask)
    for step in range(1, min(round(LUNG_MM / ct.grid.spacing[0]), len(mask) - 1) + 1):
        result[step:] |= mask[:-step]
    return result & ~mask
