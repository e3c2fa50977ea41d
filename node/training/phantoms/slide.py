"""Slides: breast tissue stained with haematoxylin and eosin, of the four classes of BACH (Aresta et al. 2019).

A field is 256 µm wide: a nucleus of 8 µm has a diameter of 1/32 of it.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from node.training.phantoms.painting import (
    Part,
    Picture,
    Place,
    inside,
    lump,
    painted,
    photographed,
    places,
    spots,
    texture,
)

CLASSES = "normal", "benign", "in situ", "invasive"
GLASS = "glass"
"""A field without tissue."""
STROMA, CELLS, LUMEN, NUCLEUS, FAT = (224, 172, 198), (204, 142, 184), (244, 236, 242), (94, 62, 138), (250, 246, 248)
BARE = 243
"""Brightness of glass."""

Nuclei = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Centres (n, 2) and radii (n,)."""


def slide(kinds: Sequence[Sequence[str]], rows: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """Return a slide (row, column, 3) of fields of so many rows and columns, of the given kinds (down, across)."""
    lines = [np.concatenate([field(rows, random, kind=kind) for kind in line], axis=1) for line in kinds]
    return np.concatenate(lines, axis=0)


def field(rows: int, random: np.random.Generator, *, kind: str) -> NDArray[np.uint8]:
    """Return a field (row, column, 3) of a class, or of bare glass."""
    if kind == GLASS:
        return photographed(np.full((rows, rows, 3), BARE / 1.12, np.float32), random, noise=2)
    stain = random.uniform(0.93, 1.05, 3)
    picture = np.full((rows, rows, 3), STROMA, np.float32)
    fibres = np.sin(texture(rows, 5, random) * 4 + 40 * places(rows)[random.integers(2)])
    picture *= (1 + 0.03 * fibres + 0.03 * texture(rows, 12, random))[..., None]
    picture = _TISSUES[kind](picture, random) * stain.astype(np.float32)
    return photographed(picture, random, noise=5)


def _normal(picture: Picture, random: np.random.Generator) -> Picture:
    """Few nuclei in the stroma, round glands with one layer of cells, fat."""
    rows = len(picture)
    for centre in random.uniform(0, 1, (random.integers(0, 4), 2)):
        picture = painted(picture, FAT, inside(lump(rows, centre, random.uniform(0.08, 0.16), random), 0.02))
    picture = _stained(picture, _scattered(int(random.integers(15, 35)), (0.006, 0.010), random))
    for centre in random.uniform(0.1, 0.9, (random.integers(2, 5), 2)):
        wide = random.uniform(0.07, 0.12)
        picture = _gland(picture, centre, (wide, wide * random.uniform(0.75, 1)), random, layers=1)
    return picture


def _benign(picture: Picture, random: np.random.Generator) -> Picture:
    """More stroma than usual, with long, narrow glands of two layers of cells."""
    picture = _stained(picture, _scattered(int(random.integers(70, 120)), (0.007, 0.010), random))
    for centre in random.uniform(0.05, 0.95, (random.integers(4, 8), 2)):
        wide = random.uniform(0.14, 0.24)
        picture = _gland(picture, centre, (wide, wide * random.uniform(0.25, 0.4)), random, layers=2)
    return picture


def _in_situ(picture: Picture, random: np.random.Generator) -> Picture:
    """Round ducts full of large nuclei, with a sharp edge, at times dead in the middle."""
    rows = len(picture)
    picture = _stained(picture, _scattered(int(random.integers(15, 40)), (0.006, 0.010), random))
    for centre in random.uniform(0.2, 0.8, (random.integers(1, 3), 2)):
        radius = random.uniform(0.2, 0.32)
        duct = lump(rows, centre, radius, random, rough=0.06)
        picture = painted(picture, CELLS, inside(duct, 0.01))
        centres, radii = _scattered(int(1500 * radius**2), (0.014, 0.020), random, around=centre, reach=0.92 * radius)
        picture = _stained(picture, (centres, radii))
        if random.random() < 0.5:
            dead = lump(rows, centre, 0.4 * radius, random, rough=0.3)
            picture = painted(picture, (226, 160, 190), inside(dead, 0.03))
    return picture


def _invasive(picture: Picture, random: np.random.Generator) -> Picture:
    """Large, dark, uneven nuclei everywhere, in strands and clusters without glands."""
    picture = painted(picture, (220, 158, 188), random.uniform(0.2, 0.6))
    picture = _stained(picture, _scattered(int(random.integers(60, 110)), (0.012, 0.022), random))
    for centre in random.uniform(0, 1, (random.integers(6, 12), 2)):
        along = random.normal(0, 0.08, 2)
        steps = random.uniform(-1, 1, (random.integers(8, 20), 1))
        strand = centre + along * steps + random.normal(0, 0.018, (len(steps), 2))
        picture = _stained(picture, (strand, random.uniform(0.013, 0.022, len(strand))))
    return picture


_TISSUES: Mapping[str, Callable[[Picture, np.random.Generator], Picture]] = {
    "normal": _normal,
    "benign": _benign,
    "in situ": _in_situ,
    "invasive": _invasive,
}


def _stained(picture: Picture, nuclei: Nuclei) -> Picture:
    return painted(picture, NUCLEUS, 0.85 * spots(len(picture), *nuclei))


def _scattered(
    count: int,
    radii: tuple[float, float],
    random: np.random.Generator,
    *,
    around: Place = (0.5, 0.5),
    reach: float = 0.75,
) -> Nuclei:
    """Return nuclei no further from a place than `reach`; without a place, everywhere in the field."""
    away, turn = reach * np.sqrt(random.uniform(0, 1, count)), random.uniform(0, 2 * np.pi, count)
    return np.asarray(around) + np.column_stack((away * np.cos(turn), away * np.sin(turn))), random.uniform(
        *radii, count
    )


def _gland(
    picture: Picture,
    centre: NDArray[np.float64],
    radii: tuple[float, float],
    random: np.random.Generator,
    *,
    layers: int,
) -> Picture:
    """Return a picture with an oval gland: its lumen, and its cells in layers with a nucleus each."""
    turn = random.uniform(0, np.pi)
    axes = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    thick = 0.028 * layers
    picture = painted(picture, CELLS, _oval(len(picture), centre, axes, np.add(radii, thick / 2)))
    picture = painted(
        picture, LUMEN, _oval(len(picture), centre, axes, np.maximum(np.subtract(radii, thick / 2), 0.008))
    )
    for layer in range(layers):
        wide = np.add(radii, 0.026 * (layer - (layers - 1) / 2))
        count = int(2 * np.pi * wide.mean() / 0.03)
        around = np.linspace(0, 2 * np.pi, count, endpoint=False) + random.normal(0, 0.05, count)
        ring = centre + (np.column_stack((np.cos(around), np.sin(around))) * wide) @ axes.T
        picture = _stained(picture, (ring, random.uniform(0.009, 0.012, count)))
    return picture


def _oval(rows: int, centre: NDArray[np.float64], axes: NDArray[np.float64], radii: NDArray[np.float64]) -> Part:
    x, y = places(rows)
    x, y = x - np.float32(centre[0]), y - np.float32(centre[1])
    across = [(x * np.float32(axis[0]) + y * np.float32(axis[1])) for axis in axes.T]
    away = np.hypot(across[0] / np.float32(radii[0]), across[1] / np.float32(radii[1]))
    return inside((away - 1) * np.float32(radii.min()), 0.008)
