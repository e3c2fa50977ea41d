"""Is it a CT of the head without contrast medium: a closed skull with brain inside, of the size of a head, vertex up?

No real CT of a head was at hand when this was made: its limits are physics and anatomy, and no figure on real heads
stands behind them. Bone closes a ring in each plane; what lies inside has the HU of brain, 20 to 45, blood up to 90.
"""

from dataclasses import dataclass

import torch
from serving.body import Coarse, between, erode, joined_to_edge, to_coarse_grid, within
from serving.coarse_grid import grow
from serving.guarding import Answer, Check, answer_by_checks
from torch import Tensor

COARSE_MM = 3.0
BONE_HU, BRAIN_HU, VESSEL_HU = 220.0, (-10.0, 100.0), (120.0, 350.0)
RING_CM2 = 30.0  # the least section of a skull's inside that counts as closed
LEAST_CLOSED_MM = 50.0
BRAIN_ML = 500.0, 2200.0  # an infant of six months to the largest adults, less what lies against the bone
WIDTH_MM, LENGTH_MM = (85.0, 180.0), (100.0, 220.0)
MOST_VERTEX, MOST_BASE = 0.75, 0.95  # of the largest section: a skull tapers at the vertex, and opens above the orbits
LEAST_BRAIN = 0.8  # of what lies inside the skull
MEAN_HU = 15.0, 60.0
MOST_SPREAD_HU = 30.0
LEAST_SPREAD_HU = 1.0
MOST_VESSEL_ML = 3.0  # a calcified pineal gland and choroid plexus have less


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Measurements: the inside of the skull, measured.

    closed: mm over which bone closes a ring. brain: ml; part: of the inside; mean, spread: HU. width, length: mm, right
    to left and front to back. vessels: ml with the HU of contrast medium, away from bone. ends: sections of the inside
    at the lowest and the highest closed plane, as parts of the largest.
    """

    closed: float
    brain: float
    part: float
    mean: float
    spread: float
    width: float
    length: float
    vessels: float
    ends: tuple[float, float]


CHECKS: tuple[Check[Head], ...] = (
    Check(
        lambda seen: seen.closed >= LEAST_CLOSED_MM,
        lambda seen: f"bone closes a ring over {seen.closed:.0f} mm only: no closed skull is seen",
    ),
    Check(
        lambda seen: seen.part >= LEAST_BRAIN and within(seen.mean, MEAN_HU),
        lambda seen: f"what lies inside the bone is no brain: {seen.mean:.0f} HU on average",
    ),
    Check(
        lambda seen: within(seen.spread, (LEAST_SPREAD_HU, MOST_SPREAD_HU)),
        lambda seen: f"what lies inside the bone is no brain: its HU have a spread of {seen.spread:.0f}",
    ),
    Check(
        lambda seen: within(seen.brain, BRAIN_ML),
        lambda seen: f"{seen.brain:.0f} ml inside the skull are no whole brain",
    ),
    Check(
        lambda seen: within(seen.width, WIDTH_MM) and within(seen.length, LENGTH_MM),
        lambda seen: (
            f"the inside of the bone is {seen.width:.0f} mm wide and {seen.length:.0f} mm long, unlike a skull"
        ),
    ),
    Check(
        lambda seen: seen.length > seen.width,
        "the skull is wider than it is long: its axes are swapped",
    ),
    Check(
        lambda seen: seen.ends[1] <= MOST_VERTEX and seen.ends[0] <= MOST_BASE,
        lambda seen: "the skull is cut off at the {}, or upside down".format(
            "base" if seen.ends[0] > MOST_BASE else "vertex"
        ),
    ),
    Check(
        lambda seen: seen.vessels <= MOST_VESSEL_ML,
        lambda seen: f"{seen.vessels:.0f} ml inside the brain have the HU of contrast medium, which looks like blood",
    ),
)


def judge(volume: Tensor, affine: Tensor, header: str) -> Answer:  # noqa: ARG001 - the pixels decide
    """Say whether a CT shows a head as it must be. See docs/plugin-author.md for what is given and returned."""
    return answer_by_checks(look_at(to_coarse_grid(volume, affine, COARSE_MM)), CHECKS)


def look_at(ct: Coarse) -> Head:
    """Measure the inside of the skull."""
    hu, (down, back, left) = ct.values, ct.grid.spacing
    bone = grow(hu > BONE_HU, ct.grid, COARSE_MM)
    inside = ~bone & ~joined_to_edge(~bone)
    sections = inside.sum((1, 2)).double() * back * left / 100
    inside &= (sections >= RING_CM2)[:, None, None]
    closed = sections[sections >= RING_CM2]
    values, brain = hu[inside].double(), inside & between(hu, BRAIN_HU)
    there = len(values) > 0
    first_last = (float(closed[0] / closed.max()), float(closed[-1] / closed.max())) if len(closed) else (0.0, 0.0)
    return Head(
        closed=len(closed) * down,
        brain=float(brain.sum()) * ct.voxel_ml,
        part=float(brain.sum()) / max(len(values), 1),
        mean=float(values.mean()) if there else 0.0,
        spread=float(hu[brain].double().std(unbiased=False)) if brain.any() else 0.0,
        width=_reach(inside, 2) * left,
        length=_reach(inside, 1) * back,
        vessels=float((erode(inside, 2) & between(hu, VESSEL_HU)).sum()) * ct.voxel_ml,
        ends=first_last,
    )


def _reach(mask: Tensor, axis: int) -> int:
    """Return the number of voxels from the first to the last along an axis."""
    others = tuple(other for other in range(3) if other != axis)
    there = torch.nonzero(mask.any(others[1]).any(others[0])).flatten()
    return int(there[-1] - there[0] + 1) if len(there) else 0
