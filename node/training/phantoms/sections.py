"""Sections of a body made of many shapes, without noise: the truth for a network that restores CT images."""

import numpy as np
from numpy.typing import NDArray

from node.training.phantoms import Image

FAT_HU, AIR_HU = -95.0, -1000.0
ORGANS_HU = -860.0, -700.0, -95.0, -10.0, 10.0, 35.0, 50.0, 70.0, 130.0, 250.0
BONES_HU = 400.0, 1300.0
ORGANS, BONES, VESSELS = 25, 12, 120


def section(rows: int, random: np.random.Generator) -> Image:
    """Return a square section, (row, column): a body with a rim of fat, organs of every tissue, bones and vessels."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, rows),) * 2, indexing="ij", sparse=True)
    hu = np.full((rows, rows), AIR_HU)
    body = _ellipse(y, x, (0, 0), random.uniform(0.6, 0.9, 2), 0)
    rim = random.uniform(0.75, 0.95)
    hu[body < 1], hu[body < rim] = FAT_HU, random.uniform(30, 60)
    for _ in range(ORGANS):
        organ = _ellipse(y, x, random.uniform(-0.6, 0.6, 2), random.uniform(0.03, 0.35, 2), random.uniform(0, np.pi))
        hu[(organ < 1) & (body < rim)] = random.choice(ORGANS_HU) + random.uniform(-15, 15)
    for _ in range(BONES):
        bone = _ellipse(y, x, random.uniform(-0.6, 0.6, 2), random.uniform(0.02, 0.1, 2), random.uniform(0, np.pi))
        hu[(bone < 1) & (bone > random.uniform(0, 0.6)) & (body < rim)] = random.uniform(*BONES_HU)
    for _ in range(VESSELS):
        vessel = _ellipse(y, x, random.uniform(-0.7, 0.7, 2), random.uniform(0.005, 0.03, 2), random.uniform(0, np.pi))
        hu[(vessel < 1) & (body < rim)] += random.uniform(-150, 250)
    softened = hu + np.roll(hu, 1, 0)
    softened += np.roll(softened, 1, 1)
    return np.asarray(np.rint(softened / 4), np.int16)


def _ellipse(
    y: NDArray[np.float64], x: NDArray[np.float64], centre: NDArray[np.float64] | tuple[float, float],
    radii: NDArray[np.float64], turn: float,
) -> NDArray[np.float64]:  # fmt: skip
    """Return the squared distance from a centre in units of the radii: below 1 inside."""
    across, along = x - centre[1], y - centre[0]
    first = across * np.cos(turn) + along * np.sin(turn)
    second = along * np.cos(turn) - across * np.sin(turn)
    return np.asarray((first / radii[0]) ** 2 + (second / radii[1]) ** 2)
