"""Heads as MR (T1-weighted) and CT show them at once."""

import numpy as np
from numpy.typing import NDArray

from node.training.phantoms import Field, Image

TISSUES = {
    "air": (0, -1000), "fat": (900, -95), "muscle": (420, 50), "bone": (60, 1100), "marrow": (650, 450),
    "fluid": (180, 8), "grey": (480, 38), "white": (640, 29), "eye": (230, 15),
}  # fmt: skip
"""Signal in T1-weighted MR, and HU."""
NUMBERS = {name: number for number, name in enumerate(TISSUES)}
BRAIN_MM = 62.0, 86.0, 66.0
"""Half the inside of the skull: feet to head, front to back, right to left."""
FLUID_MM, TABLE_MM, MARROW_MM, FAT_MM, SKIN_MM = 3.0, 2.0, 3.5, 5.0, 2.0
"""How thick what lies around the brain is: fluid, each table of the skull, marrow between them, fat, skin."""


def mr_and_ct(
    heights: NDArray[np.float64], rows: int, random: np.random.Generator, *, field: float = 240.0
) -> tuple[Image, Image]:
    """Return a head in MR signal (0 to about 1000, with shading and noise) and in HU, on one grid.

    Axial images, index order (slice, row, column), feet to head, front to back, right to left; `heights` are those of
    the slices in mm above the middle of the brain, `field` is the width of the images in mm.
    """
    tissues = _tissues(heights, rows, random, field)
    signals, hu = np.array(list(TISSUES.values()), np.float32).T
    signal = (signals * random.uniform(0.85, 1.15, len(signals)))[tissues]
    ct = hu[tissues] + random.normal(0, 5, tissues.shape)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, length) for length in tissues.shape), indexing="ij", sparse=True)
    tilt = random.uniform(-0.15, 0.15, 3)
    shading = 1 + tilt[0] * z + tilt[1] * y + tilt[2] * x
    noise = random.normal(0, random.uniform(8, 20), (2, *tissues.shape))
    mr = np.hypot(signal * shading + noise[0], noise[1])  # the magnitude of a complex signal (Rice)
    return np.rint(mr).astype(np.int16), np.clip(np.rint(ct), -1000, 3000).astype(np.int16)


def _tissues(heights: NDArray[np.float64], rows: int, random: np.random.Generator, field: float) -> NDArray[np.intp]:
    """Return which of the tissues each voxel is, of a head of some size that lies somewhat turned."""
    place = (np.arange(rows) + 0.5) * field / rows - field / 2
    size, shift, turn = random.uniform(0.9, 1.05), random.uniform(-6, 6, 2), random.uniform(-0.15, 0.15)
    z, y, x = np.meshgrid(heights / size, place / size + shift[0], place / size + shift[1], indexing="ij", sparse=True)
    x, y = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    radius = np.sqrt((z / BRAIN_MM[0]) ** 2 + (y / BRAIN_MM[1]) ** 2 + (x / BRAIN_MM[2]) ** 2)
    outside = (1 - 1 / np.maximum(radius, 1e-3)) * np.sqrt(z**2 + y**2 + x**2)
    layers = np.cumsum([FLUID_MM, TABLE_MM, MARROW_MM, TABLE_MM, FAT_MM * random.uniform(0.7, 1.6), SKIN_MM])
    shells = ("fluid", "bone", "marrow", "bone", "fat", "muscle", "air")
    tissues = np.array([NUMBERS[name] for name in shells])[np.searchsorted(layers, outside)]
    brain = outside < 0
    folded = outside + 11 + 10 * np.sin(x / random.uniform(4, 6)) * np.sin(y / random.uniform(4, 6) + z / 7)
    tissues[brain] = np.where(folded[brain] > 0, NUMBERS["grey"], NUMBERS["white"])
    _fill(tissues, "fluid", brain & (np.abs(x) < 1) & (outside > -18))
    wide = random.uniform(0.8, 1.5)
    ventricles = ((np.abs(x) - 11) / (6 * wide)) ** 2 + ((y + 4) / 30) ** 2 + ((z - 8) / (13 * wide)) ** 2
    _fill(tissues, "fluid", brain & (ventricles < 1))
    _face(tissues, x, y, z, random)
    return np.asarray(tissues, np.intp)


def _face(tissues: NDArray[np.intp], x: Field, y: Field, z: Field, random: np.random.Generator) -> None:
    """Draw what MR alone cannot tell by its signal: air in the sinuses, beside bone; and the eyes."""
    sinus = ((np.abs(x) - 12) / 11) ** 2 + ((y + 84) / 5) ** 2 + ((z - 2) / random.uniform(9, 15)) ** 2
    _fill(tissues, "bone", sinus < 1.7)
    _fill(tissues, "air", sinus < 1)
    mastoid = ((np.abs(x) - 48) / 9) ** 2 + ((y - 26) / 12) ** 2 + ((z + 44) / 14) ** 2
    _fill(tissues, "bone", mastoid < 1)
    _fill(tissues, "air", (mastoid < 0.75) & (np.sin(x * 1.3) * np.sin(y * 1.3) * np.sin(z * 1.3) > -0.1))
    eyes = ((np.abs(x) - 32) / 12) ** 2 + ((y + 84) / 12) ** 2 + ((z + 32) / 12) ** 2
    _fill(tissues, "fat", (eyes < 2.2) & (tissues != NUMBERS["air"]))
    _fill(tissues, "eye", eyes < 1)


def _fill(tissues: NDArray[np.intp], name: str, where: NDArray[np.bool_]) -> None:
    tissues[where] = NUMBERS[name]
