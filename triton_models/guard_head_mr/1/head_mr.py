"""Is it an MR of a whole head: of a head's size, alike on both sides, vertex up, with a brain that has structure?

The head is what is brighter than the background, filled. Images of a brain without its skull pass, too. The guard
does not check which side is the front.
"""

from dataclasses import dataclass

import torch
from serving.body import (
    Coarse,
    correlation_of_neighbours,
    cut_at_sides,
    end_sections,
    erode,
    joined_to_edge,
    largest_piece,
    middle_of,
    to_coarse_grid,
    within,
)
from serving.guarding import Answer, Check, answer_by_checks
from torch import Tensor

COARSE_MM = 4.0
LEAST_TALL = 0.64  # of its length: less is a part of a head; the least of whole real heads has 0.81
HEIGHT_MM, LENGTH_MM, WIDTH_MM = (95.0, 300.0), (115.0, 250.0), (95.0, 205.0)
HEAD_ML = 600.0, 7500.0  # the brain of an infant, without its skull; the largest head with neck
MOST_CUT = 0.3  # of the largest section, on a side of the images; the most of real heads is 0.17
LEAST_ALIKE = 0.3  # noise has 0; the least of real heads has 0.52
LEAST_OVERLAP, LEAST_SYMMETRY = 0.85, 0.3  # the least of real heads have 0.94 and 0.35
VERTEX = 0.1  # of the largest section: a smaller one closes
MOST_VERTEX = 0.6
LEAST_STRUCTURE = 0.1
BRAIN_MM, DEEP_MM = 130.0, 20.0  # below the vertex, and below the surface of the head
CT_HU = -200.0  # MR has no such values


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Measurements: the head's height, length and width in mm; its ml, filled.

    cut: `cut_at_sides`. alike: correlation of neighbours. overlap: Dice of the head and its mirror image; symmetry: the
    correlation of their values. ends: the lowest and the highest section, as parts of the largest. lowest: the value
    below which 1 % lie. dark, bright: 5th and 95th percentile of what lies deep in the head, as parts of its median.
    """

    size: tuple[float, float, float]
    ml: float
    cut: float
    alike: float
    overlap: float
    symmetry: float
    ends: tuple[float, float]
    lowest: float
    dark: float
    bright: float


CHECKS: tuple[Check[Head], ...] = (
    Check(lambda seen: seen.lowest > CT_HU, "the values are those of CT, not of MR"),
    Check(
        lambda seen: seen.alike >= LEAST_ALIKE,
        "no head is seen: neighbouring voxels have nothing in common",
    ),
    Check(lambda seen: seen.cut <= MOST_CUT, "what is seen is cut off at a side: it is no whole head"),
    Check(
        lambda seen: all(map(within, seen.size, (HEIGHT_MM, LENGTH_MM, WIDTH_MM))),
        lambda seen: "what is seen is {:.0f} mm high, {:.0f} mm long and {:.0f} mm wide, unlike a head".format(
            *seen.size
        ),
    ),
    Check(
        lambda seen: within(seen.ml, HEAD_ML),
        lambda seen: f"what is seen has {seen.ml:.0f} ml, unlike a head",
    ),
    Check(
        lambda seen: seen.overlap >= LEAST_OVERLAP and seen.symmetry >= LEAST_SYMMETRY,
        "right and left are unlike each other: it is no whole head",
    ),
    Check(
        lambda seen: seen.size[1] > seen.size[2],
        "what is seen is wider than long: its axes are swapped, or it is no head",
    ),
    Check(
        lambda seen: seen.ends[1] <= MOST_VERTEX and seen.ends[1] <= max(seen.ends[0], VERTEX),
        "the vertex is not seen at the top: the head is cut off or upside down",
    ),
    Check(
        lambda seen: seen.size[0] >= LEAST_TALL * seen.size[1],
        lambda seen: f"only {seen.size[0]:.0f} mm of a head are seen that is {seen.size[1]:.0f} mm long: it is cut off",
    ),
    Check(
        lambda seen: seen.bright - seen.dark >= LEAST_STRUCTURE,
        "the inside has no structure: a phantom, not a brain",
    ),
)


def judge(volume: Tensor, affine: Tensor, header: str) -> Answer:  # noqa: ARG001 - the pixels decide
    """Say whether an MR shows a whole head. See docs/plugin-author.md for what is given and returned."""
    return answer_by_checks(look_at(to_coarse_grid(volume, affine, COARSE_MM)), CHECKS)


def look_at(mr: Coarse) -> Head:
    """Measure what is brighter than the background."""
    low, high = torch.quantile(mr.values.flatten()[::3], torch.tensor((0.01, 0.99), device=mr.values.device)).tolist()
    values = mr.values.clamp(low, high)
    head = ~joined_to_edge(~largest_piece(values > low + 0.5 * (_threshold(values) - low)))
    overlap, symmetry = _mirrored(values, head)
    dark, bright = _deep(values, head, mr)
    return Head(
        size=(_reach(head, 0, mr), _reach(head, 1, mr), _reach(head, 2, mr)),
        ml=float(head.sum()) * mr.voxel_ml,
        cut=cut_at_sides(head),
        alike=correlation_of_neighbours(mr.values, head),
        overlap=overlap,
        symmetry=symmetry,
        ends=end_sections(head),
        lowest=low,
        dark=dark,
        bright=bright,
    )


def _threshold(values: Tensor) -> float:
    """Return the value that best separates dark from bright (Otsu, IEEE Trans SMC 1979;9:62)."""
    low, high = float(values.min()), float(values.max())
    counts = torch.histc(values, 128, low, high).double()
    places = low + (torch.arange(128, device=values.device).double() + 0.5) * (high - low) / 128
    part = counts.cumsum(0) / counts.sum()
    mean = (counts * places).cumsum(0) / counts.sum()
    between = (mean[-1] * part - mean) ** 2 / (part * (1 - part)).clamp(min=1e-9)
    return float(places[between.argmax()])


def _reach(mask: Tensor, axis: int, mr: Coarse) -> float:
    """Return how far a mask reaches along an axis in mm, without sections below a twentieth of the largest."""
    sections = mask.sum(tuple(other for other in range(3) if other != axis))
    there = torch.nonzero(sections > 0.05 * sections.max()).flatten().tolist()
    return (there[-1] - there[0] + 1) * mr.grid.spacing[axis] if there else 0.0


def _mirrored(values: Tensor, head: Tensor) -> tuple[float, float]:
    """Return Dice of a head and its mirror image, and the correlation of their values."""
    columns = (2 * middle_of(head) - torch.arange(head.shape[2], device=head.device)).round().long()
    inside = (columns >= 0) & (columns < head.shape[2])
    columns = columns.clamp(0, head.shape[2] - 1)
    both = head & head[..., columns] & inside
    if int(both.sum()) < 100:
        return 0.0, 0.0
    pair = torch.stack((values[both], values[..., columns][both])).double()
    pair -= pair.mean(1, keepdim=True)
    spread = float((pair**2).mean(1).prod().sqrt())
    return float(both.sum() / head.sum()), float((pair[0] * pair[1]).mean()) / spread if spread > 0 else 0.0


def _deep(values: Tensor, head: Tensor, mr: Coarse) -> tuple[float, float]:
    """Return 5th and 95th percentile of what lies deep in the head, as parts of the median."""
    planes = torch.nonzero(head.any(2).any(1)).flatten().tolist() or [0]
    brain = head.clone()
    brain[: max(0, planes[-1] - round(BRAIN_MM / mr.grid.spacing[0]))] = False
    found = values[erode(brain, round(DEEP_MM / COARSE_MM))].double()
    if len(found) < 20:
        return 1.0, 1.0
    dark, median, bright = torch.quantile(found, torch.tensor((0.05, 0.5, 0.95), device=found.device).double()).tolist()
    return (dark / median, bright / median) if median > 0 else (1.0, 1.0)
