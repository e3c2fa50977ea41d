"""Measures of a picture that guards judge by: how large and round its lit field is, its colours, its texture.

A plane is (row, column, sample), 0 to 255, as a guard gets it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .components import components

SIDE = 256
"""Pixels of the longer side on which a picture is measured: a size of structure then means the same in all."""
LIT = 25
"""Of 255: pixels that are brighter in any colour belong to the lit field."""
FEW = 0.02
"""Part of a row or column that must be lit for it to belong to the box of the field."""


def sized(plane: Tensor, side: int = SIDE) -> Tensor:
    """Return a plane as (sample, row, column) with red, green and blue, its longer side of so many pixels."""
    samples = plane.float().movedim(2, 0)[None]
    rows, columns = samples.shape[2:]
    scale = side / max(rows, columns)
    size = [max(8, round(rows * scale)), max(8, round(columns * scale))]
    mode = "area" if scale < 1 else "bilinear"
    return functional.interpolate(samples, size, mode=mode)[0].expand(3, -1, -1)


def mean_over(plane: Tensor, width: int) -> Tensor:
    """Return the mean of (row, column) over squares of an odd width; what lies outside does not count."""
    given = plane[None, None]
    return functional.avg_pool2d(given, width, 1, width // 2, count_include_pad=False)[0, 0]


def closed(plane: Tensor, width: int) -> Tensor:
    """Return (row, column) without dark structures that are narrower than an odd width (closing)."""
    given = plane[None, None]
    grown = functional.max_pool2d(given, width, 1, width // 2)
    return -functional.max_pool2d(-grown, width, 1, width // 2)[0, 0]


def box_of(mask: Tensor) -> tuple[slice, slice] | None:
    """Return rows and columns of the box around a mask (row, column), without those that have few of its pixels."""
    rows, columns = ((mask.float().mean(axis) > FEW).nonzero().flatten() for axis in (1, 0))
    if not len(rows) or not len(columns):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def largest_piece(mask: Tensor) -> Tensor:
    """Return the largest connected piece of a mask (row, column)."""
    pieces = components(mask[None])[0]
    size = torch.bincount(pieces.flatten())
    size[0] = 0
    return (pieces == size.argmax()) & mask


@dataclass(frozen=True, slots=True)
class Field:
    """The lit field of a picture: which pixels are lit, (row, column), and the disc that fits its box."""

    lit: Tensor
    disc: Tensor
    inner: Tensor
    """The disc without its rim, which optics darken."""

    @property
    def roundness(self) -> float:
        """How much of field and disc together both have, 0 to 1; the disc may be cut off above and below."""
        return float((self.disc & self.lit).sum() / (self.disc | self.lit).sum().clamp(min=1))


def lit_field(picture: Tensor) -> Field | None:
    """Return the lit field of (sample, row, column); None where nothing is lit."""
    lit = picture.amax(0) > LIT
    box = box_of(lit)
    if box is None:
        return None
    rows, columns = box
    radius = max(rows.stop - rows.start, columns.stop - columns.start) / 2
    down = torch.arange(lit.shape[0], device=lit.device)[:, None] + 0.5 - (rows.start + rows.stop) / 2
    across = torch.arange(lit.shape[1], device=lit.device)[None] + 0.5 - (columns.start + columns.stop) / 2
    distance = torch.hypot(down, across)
    within = torch.zeros_like(lit)
    within[rows] = True
    return Field(lit, (distance <= radius) & within, (distance <= 0.85 * radius) & within)


def colour_difference(picture: Tensor) -> Tensor:
    """Return how far the strongest and the weakest colour of each pixel are apart, (row, column)."""
    return picture.amax(0) - picture.amin(0)
