"""What phantoms of photographs are painted with: textures, strokes and spots with soft edges.

Places are (column, row) and lengths are parts of the picture's width: (0, 0) is its upper left corner, (1, 1) its lower
right one. A picture is (row, column, 3), red, green and blue, 0 to 255, as high as it is wide.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

Picture = NDArray[np.float32]
Part = NDArray[np.float32]
"""How much of each pixel something covers, 0 to 1: (row, column)."""
Line = tuple[NDArray[np.float64], float]
"""Points (n, 2) that a stroke runs through, and its width."""

Place = Sequence[float] | NDArray[np.floating[Any]]
"""Column and row."""

FINER = 2
"""Strokes and spots are drawn so many times finer than the picture, and averaged: their edges are soft."""


def texture(rows: int, bumps: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Return a smooth field about 0 with about so many bumps along each axis, deviation about 1: (row, column)."""
    coarse = Image.fromarray(random.standard_normal((bumps, bumps), np.float32))
    return np.asarray(coarse.resize((rows, rows), Image.Resampling.BICUBIC))


def places(rows: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return where the centres of pixels lie: columns (1, column) and rows (row, 1)."""
    along = (np.arange(rows, dtype=np.float32) + np.float32(0.5)) / np.float32(rows)
    return along[None], along[:, None]


def strokes(rows: int, lines: Sequence[Line]) -> Part:
    """Return what strokes cover."""
    page = Image.new("L", (rows * FINER, rows * FINER))
    draw = ImageDraw.Draw(page)
    for points, width in lines:
        corners = [(float(x), float(y)) for x, y in points * rows * FINER]
        draw.line(corners, 255, max(1, round(width * rows * FINER)), joint="curve")
    return _covered(page, rows)


def spots(rows: int, centres: NDArray[np.float64], radii: NDArray[np.float64]) -> Part:
    """Return what discs cover: centres (n, 2), radii (n,)."""
    page = Image.new("L", (rows * FINER, rows * FINER))
    draw = ImageDraw.Draw(page)
    for (x, y), radius in zip(centres * rows * FINER, radii * rows * FINER, strict=True):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), 255)
    return _covered(page, rows)


def _covered(page: Image.Image, rows: int) -> Part:
    return np.asarray(page.resize((rows, rows), Image.Resampling.BOX), np.float32) / np.float32(255)


def lump(
    rows: int, centre: Place, radius: float, random: np.random.Generator, *, rough: float = 0.1
) -> NDArray[np.float32]:
    """Return how far pixels lie outside an uneven disc, negative inside: (row, column).

    `rough` is how far its edge lies off a circle, as a part of the radius.
    """
    x, y = places(rows)
    x, y = x - np.float32(centre[0]), y - np.float32(centre[1])
    angle, edge = np.arctan2(y, x), np.ones((rows, rows), np.float32)
    for turns in range(2, 7):
        edge += np.float32(rough * random.normal() / turns) * np.sin(turns * angle + random.uniform(0, 2 * np.pi))
    return np.asarray(np.hypot(x, y) - np.float32(radius) * edge, np.float32)


def inside(outside: NDArray[np.float32], edge: float) -> Part:
    """Return what lies inside, from distances to an outline, with an edge of a width."""
    return np.clip(np.float32(0.5) - outside / np.float32(edge), 0, 1)


def painted(picture: Picture, color: ArrayLike, part: Part | float) -> Picture:
    """Return a picture with a colour over part of it, or thinly over all of it."""
    return picture + (np.asarray(color, np.float32) - picture) * np.asarray(part, np.float32)[..., None]


def photographed(picture: Picture, random: np.random.Generator, *, noise: float) -> NDArray[np.uint8]:
    """Return a picture as a camera takes it: a little too bright or dark, off in colour, and with noise."""
    light = random.uniform(0.85, 1.12) * random.uniform(0.96, 1.04, 3)
    grain = random.standard_normal(picture.shape, np.float32) * np.float32(random.uniform(0.3, 1) * noise)
    return np.clip(picture * light.astype(np.float32) + grain, 0, 255).astype(np.uint8)
