"""Chests: nodules and vessels in the lungs of a CT."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node.training.phantoms import Image, Labels, Spacing
from node.training.phantoms.shapes import around, ball, within

SOLID, PART_SOLID, GROUND_GLASS = "solid", "part-solid", "ground-glass"
SOLID_HU, GROUND_GLASS_HU = 40, -620
CORE = 0.6
"""Diameter of the solid core of a part-solid nodule, as a part of the whole."""
LUNG_HU = -960, -700
TABLE = 0.75
"""Rows behind this part of a chest phantom are spine and table."""
EDGE_MM = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodule:
    """A nodule as it was drawn: where (slice, row, column), how wide in mm on average, and of which type."""

    centre: tuple[int, int, int]
    diameter: float
    type: str


def with_nodules(
    chest: Image,
    spacing: Spacing,
    random: np.random.Generator,
    *,
    count: int,
    diameters: tuple[float, float] = (6.0, 24.0),
    types: Sequence[str] = (SOLID, PART_SOLID, GROUND_GLASS),
) -> tuple[Image, Labels, tuple[Nodule, ...]]:
    """Return a chest phantom with nodules in its lungs, their labels from 1 on, and what they are."""
    hu, labels, nodules = chest.copy(), np.zeros(chest.shape, np.uint8), []
    for number in range(1, count + 1):
        diameter, kind = random.uniform(*diameters), types[random.integers(len(types))]
        centre = _in_lung(hu, labels, spacing, diameter, random)
        box, offsets = around(centre, diameter, spacing, hu.shape)
        outside = ball(offsets, diameter, random)
        value = np.full(outside.shape, SOLID_HU if kind == SOLID else GROUND_GLASS_HU, np.float32)
        edge = max(EDGE_MM, max(spacing) / 2)
        if kind == PART_SOLID:
            value += (SOLID_HU - GROUND_GLASS_HU) * within(outside + (1 - CORE) * diameter / 2, edge)
        part = within(outside, edge)
        hu[box] = np.rint(np.maximum(hu[box], hu[box] * (1 - part) + value * part))
        labels[box][outside < 0] = number
        nodules.append(Nodule(centre=centre, diameter=diameter, type=kind))
    return hu, labels, tuple(nodules)


def with_vessels(chest: Image, spacing: Spacing, random: np.random.Generator, *, count: int) -> Image:
    """Return a chest phantom with straight vessels across its lungs: what a nodule must be distinguished from."""
    hu = chest.copy()
    for _ in range(count):
        length, width = random.uniform(20, 60), random.uniform(2, 5)
        centre = _in_lung(hu, None, spacing, width, random)
        box, offsets = around(centre, length, spacing, hu.shape)
        direction = random.normal(size=3)
        direction /= np.linalg.norm(direction)
        along = sum(offset * part for offset, part in zip(offsets, direction, strict=True))
        across = np.sqrt(np.maximum(sum(offset**2 for offset in offsets) - along**2, 0))
        part = within(across - width / 2, max(spacing) / 2) * (np.abs(along) < length / 2) * _lung(hu[box])
        hu[box] = np.rint(hu[box] * (1 - part) + SOLID_HU * part)
    return hu


def _lung(hu: Image) -> NDArray[np.bool_]:
    return (hu > LUNG_HU[0]) & (hu < LUNG_HU[1])


def _in_lung(
    hu: Image, labels: Labels | None, spacing: Spacing, diameter: float, random: np.random.Generator
) -> tuple[int, int, int]:
    """Return a voxel of the lungs around which mostly lung lies, and no other nodule."""
    last = np.multiply(hu.shape, (1, TABLE, 1)).astype(int)
    while True:
        centre = tuple(int(random.integers(length)) for length in last)
        if not _lung(hu[centre]):
            continue
        box, _ = around(centre, diameter, spacing, hu.shape)  # type: ignore[arg-type]  # three of them
        if _lung(hu[box]).mean() > 0.6 and (labels is None or not labels[box].any()):
            return centre  # type: ignore[return-value]  # three of them
