"""Heads with a tumour of the brain, in the four contrasts of MR in which such a tumour is looked at."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from node.training.phantoms import Field, Image, Labels
from node.training.phantoms.head import HEAD_MM, SCALP_MM, SKULL_MM
from node.training.phantoms.shapes import ball

CONTRASTS = "t1c", "t1", "t2", "flair"
ENHANCING, OEDEMA, NECROSIS = 1, 2, 3
"""Parts of a tumour, as BraTS has them (Menze et al. 2015)."""
HEALTHY = 4, 5, 6, 7, 8, 9
FLUID, GREY, WHITE, BONE, SKIN, VESSEL = HEALTHY
SIGNALS: Mapping[int, tuple[int, int, int, int]] = {
    0: (0, 0, 0, 0),
    ENHANCING: (1000, 450, 760, 820),
    OEDEMA: (440, 430, 950, 1000),
    NECROSIS: (290, 280, 1150, 520),
    FLUID: (200, 200, 1300, 150),
    GREY: (500, 480, 640, 600),
    WHITE: (640, 620, 480, 480),
    BONE: (70, 70, 50, 50),
    SKIN: (900, 900, 500, 450),
    VESSEL: (1000, 300, 120, 120),
}
"""Of each tissue in each contrast, before gain, shading and noise; 0 is air."""
CORE_MM, RIM_MM, SWOLLEN = (16.0, 46.0), (4.0, 8.0), (1.35, 2.0)
"""How wide the core is, how thick its enhancing rim, and how much wider the oedema around it than the core."""
FOLDS_MM = 5.0


def tissues(places: tuple[Field, Field, Field], seed: int, *, tumour: bool = True) -> Labels:
    """Return what lies at places in mm: above the middle of the brain, behind it, to its left; broadcast together.

    The parts of the tumour are 1 to 3, healthy tissues `HEALTHY`, air 0. The same seed is the same head on any grid.
    """
    random = np.random.default_rng(seed)
    size, turn = random.uniform(0.92, 1.06), random.uniform(-0.2, 0.2)
    z, y, x = (np.asarray(place / size + random.uniform(-6, 6), np.float32) for place in places)
    x, y = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    radius = np.sqrt((z / HEAD_MM[0]) ** 2 + (x / HEAD_MM[1]) ** 2 + (y / HEAD_MM[2]) ** 2)
    depth = (1 / np.maximum(radius, 1e-6) - 1) * np.sqrt(z**2 + x**2 + y**2)
    folds = FOLDS_MM * (1 + np.sin(x / 6 + random.uniform(0, 6)) * np.sin(y / 7 + random.uniform(0, 6)) * np.sin(z / 6))
    found = np.select(
        [depth > 3 + folds, depth > 3, depth > 0, depth > -SKULL_MM, depth > -SCALP_MM],
        [WHITE, GREY, FLUID, BONE, SKIN],
        0,
    ).astype(np.uint8)
    wide = random.uniform(0.8, 1.5)
    ventricles = ((np.abs(x) - 12) / (7 * wide)) ** 2 + ((y + 5) / 32) ** 2 + ((z - 8) / (14 * wide)) ** 2 < 1
    found[ventricles] = FLUID
    found[(depth > 0) & (depth < 5) & (np.abs(x) < 4) & (np.abs(y) > 40)] = VESSEL
    if tumour:
        _grow(found, (z, y, x), random)
    return found


def _grow(found: Labels, zyx: Sequence[NDArray[np.float32]], random: np.random.Generator) -> None:
    """Put a tumour into a brain: oedema in white matter, a core that displaces tissue, and necrosis in a large core."""
    direction = random.normal(size=3)
    centre = direction / np.linalg.norm(direction) * np.multiply(HEAD_MM, random.uniform(0.25, 0.6))
    centre = centre[[0, 2, 1]]
    wide, rim = random.uniform(*CORE_MM), random.uniform(*RIM_MM)
    offsets = [np.asarray(coordinate - middle, np.float32) for coordinate, middle in zip(zyx, centre, strict=True)]
    brain = (found == WHITE) | (found == GREY) | (found == FLUID)
    swollen = ball(offsets, wide * random.uniform(*SWOLLEN), random) < 0
    outside = ball(offsets, wide, random)
    found[swollen & (found == WHITE)] = OEDEMA
    brain |= found == OEDEMA
    found[(outside < 0) & brain] = ENHANCING
    found[(outside < -rim) & brain] = NECROSIS


def seen(found: Labels, contrast: str, random: np.random.Generator) -> Image:
    """Return tissues as MR shows them in a contrast: (slice, row, column), with gain, shading and noise of its own."""
    column = CONTRASTS.index(contrast)
    table = np.array([SIGNALS[tissue][column] for tissue in range(len(SIGNALS))], np.float32)
    table *= random.uniform(0.92, 1.08, len(table)).astype(np.float32) * np.float32(random.uniform(0.6, 1.6))
    signal = table[found]
    for axis, length in enumerate(found.shape):
        wave = 1 + 0.12 * np.sin(np.linspace(0, 3, length) + random.uniform(0, 6))
        signal *= wave.astype(np.float32).reshape([-1 if other == axis else 1 for other in range(3)])
    noise = random.standard_normal((2, *found.shape), np.float32) * np.float32(random.uniform(8, 30))
    magnitude = np.hypot(signal + noise[0], noise[1])  # so that noise is Rician, as in MR
    return np.asarray(np.rint(magnitude).clip(0, 4095), np.int16)


def grid(slices: int, rows: int, spacing: tuple[float, float]) -> tuple[Field, Field, Field]:
    """Return the places of axial images around the middle of the brain: feet to head, front to back, right to left.

    `spacing` is mm from slice to slice, and from pixel to pixel.
    """
    heights = (np.arange(slices) - (slices - 1) / 2) * spacing[0]
    across = (np.arange(rows) - (rows - 1) / 2) * spacing[1]
    z, y, x = np.meshgrid(heights, across, across, indexing="ij", sparse=True)
    return z, y, x


def parts(found: Labels) -> NDArray[np.uint8]:
    """Return the tumour alone: its parts 1 to 3, else 0."""
    return np.where(found <= NECROSIS, found, 0).astype(np.uint8)
