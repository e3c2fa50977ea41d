"""Features of a picture as readable numbers, and its likeness to pictures of one kind.

A picture is described on a grid of 64 × 64, whatever its size: brightness by its rank in 16 × 16 fields, and the
directions in which it gets brighter in 8 × 8 fields (histograms of oriented gradients: Dalal and Triggs, CVPR 2005).
Ranks make windows and look-up tables irrelevant; inversion and rotation change every number. How alike a picture is to
a kind is a weighted sum of these numbers, whose weights were fitted by ridge regression.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

GRID = 64
"""Rows and columns on which a picture is described."""
LEVELS = 4
"""Grey values that differ by less than a quarter have the same rank: noise of coding gives flat areas no order."""
DIRECTIONS = 8
"""Parts of a full turn: the gradient of an inverted picture has the opposite direction."""
FLAT = 0.02
"""Gradient, in ranks per pixel, below which a field has no direction."""


def description(plane: Tensor) -> Tensor:
    """Return what a plane looks like: float32 (768).

    plane: (row, column, sample), brightness as displayed, 0 to 255; colours count as their mean.
    """
    grey = plane.float().mean(2)[None, None]
    ranks = middle_ranks(functional.interpolate(grey, (GRID, GRID), mode="area")[0, 0])
    brightness = functional.avg_pool2d(ranks[None, None], 4)[0, 0] - 0.5
    return torch.cat([brightness.flatten(), directions(ranks).flatten() / 2])


def middle_ranks(plane: Tensor) -> Tensor:
    """Return the rank of each value of (row, column), 0 to 1; equal values share the middle of their ranks."""
    _, inverse, counts = torch.unique((plane * LEVELS).round(), return_inverse=True, return_counts=True)
    middles: Tensor = (counts.cumsum(0) - counts / 2) / plane.numel()
    return middles[inverse]


def directions(plane: Tensor) -> Tensor:
    """Return how much of the gradient of (row, column) points where: (direction, field, field), each of length 1."""
    wide = functional.pad(plane[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    down = (wide[2:, 1:-1] - wide[:-2, 1:-1]) / 2
    across = (wide[1:-1, 2:] - wide[1:-1, :-2]) / 2
    length = torch.hypot(down, across)
    turn = (torch.atan2(down, across) / (2 * math.pi) + 0.5) * DIRECTIONS
    part = turn.floor().long().clamp(max=DIRECTIONS - 1)
    each = torch.stack([length * (part == number) for number in range(DIRECTIONS)])
    fields = functional.avg_pool2d(each[None], 8)[0]
    parts: Tensor = fields / (fields.norm(dim=0) + FLAT)
    return parts


@dataclass(frozen=True, slots=True)
class Likeness:
    """Weights of a description, (768), and what is added: the sum is about 1 for the kind, and 0 for others."""

    weights: Tensor
    added: float

    @classmethod
    def read(cls, path: Path) -> "Likeness":
        """Read what `write` has written."""
        keys = json.loads(path.read_text(encoding="utf-8"))
        return cls(torch.tensor(keys["weights"]), float(keys["added"]))

    def write(self, path: Path) -> None:
        """Write the weights as JSON, with four digits."""
        weights = [round(weight, 4) for weight in self.weights.tolist()]
        path.write_text(json.dumps({"added": round(self.added, 4), "weights": weights}) + "\n", encoding="utf-8")

    def of(self, plane: Tensor) -> float:
        """Return how alike a plane (row, column, sample) is to the kind, 0 to 1."""
        value = float(description(plane) @ self.weights.to(plane.device)) + self.added
        return min(max(value, 0.0), 1.0)


def fitted(right: Tensor, wrong: Tensor, *, ridge: float) -> Likeness:
    """Fit weights to descriptions, (picture, 768), of pictures of a kind and of others; both groups weigh the same."""
    all_of_them = torch.cat([right, wrong]).double()
    wanted = torch.cat([torch.ones(len(right)), torch.zeros(len(wrong))]).double()
    weight = torch.cat([torch.full((len(group),), 0.5 / len(group)) for group in (right, wrong)]).double()
    middle = weight @ all_of_them
    centred = all_of_them - middle
    moments = centred.T @ (centred * weight[:, None]) + ridge * torch.eye(centred.shape[1])
    found = torch.linalg.solve(moments, centred.T @ (weight * (wanted - 0.5)))
    return Likeness(found.float(), 0.5 - float(middle @ found))
