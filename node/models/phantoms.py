"""Phantoms to train and judge networks on: images of what a network looks for, with the truth beside them.

Nothing here comes from a patient. All is drawn with the generator that is handed in: the same seed draws the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.int16]
"""HU, (slice, row, column)."""
Labels = NDArray[np.uint8]
Field = NDArray[np.float64]
Spacing = tuple[float, float, float]
"""mm: from slice to slice, row to row, column to column."""

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
        box, offsets = _around(centre, diameter, spacing, hu.shape)
        outside = _ball(offsets, diameter, random)
        value = np.full(outside.shape, SOLID_HU if kind == SOLID else GROUND_GLASS_HU, np.float32)
        edge = max(EDGE_MM, max(spacing) / 2)
        if kind == PART_SOLID:
            value += (SOLID_HU - GROUND_GLASS_HU) * _within(outside + (1 - CORE) * diameter / 2, edge)
        part = _within(outside, edge)
        hu[box] = np.rint(np.maximum(hu[box], hu[box] * (1 - part) + value * part))
        labels[box][outside < 0] = number
        nodules.append(Nodule(centre=centre, diameter=diameter, type=kind))
    return hu, labels, tuple(nodules)


def with_vessels(chest: Image, spacing: Spacing, random: np.random.Generator, *, count: int) -> Image:
    """Return a chest phantom with straight vessels across its lungs: what a nodule must be told from."""
    hu = chest.copy()
    for _ in range(count):
        length, width = random.uniform(20, 60), random.uniform(2, 5)
        centre = _in_lung(hu, None, spacing, width, random)
        box, offsets = _around(centre, length, spacing, hu.shape)
        direction = random.normal(size=3)
        direction /= np.linalg.norm(direction)
        along = sum(offset * part for offset, part in zip(offsets, direction, strict=True))
        across = np.sqrt(np.maximum(sum(offset**2 for offset in offsets) - along**2, 0))
        part = _within(across - width / 2, max(spacing) / 2) * (np.abs(along) < length / 2) * _lung(hu[box])
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
        box, _ = _around(centre, diameter, spacing, hu.shape)  # type: ignore[arg-type]  # three of them
        if _lung(hu[box]).mean() > 0.6 and (labels is None or not labels[box].any()):
            return centre  # type: ignore[return-value]  # three of them


def _around(
    centre: tuple[int, int, int], width: float, spacing: Spacing, shape: Sequence[int]
) -> tuple[tuple[slice, ...], list[NDArray[np.float32]]]:
    """Return the box around a thing of a width, with some room, and how far its voxels lie from the centre in mm."""
    box, offsets = [], []
    for middle, length, step in zip(centre, shape, spacing, strict=True):
        reach = int((0.65 * width + 2) / step) + 1
        box.append(slice(max(middle - reach, 0), min(middle + reach + 1, length)))
        offsets.append((np.arange(box[-1].start, box[-1].stop, dtype=np.float32) - middle) * np.float32(step))
    return tuple(box), list(np.meshgrid(*offsets, indexing="ij", sparse=True))


def _ball(offsets: list[NDArray[np.float32]], diameter: float, random: np.random.Generator) -> NDArray[np.float32]:
    """Return how far voxels lie outside a ball with bumps, in mm; negative inside."""
    distance = np.sqrt(sum(offset**2 for offset in offsets)) + 1e-3
    bumps = np.zeros(distance.shape, np.float32)
    for _ in range(3):
        direction, phase = random.normal(size=3), random.uniform(0, 2 * np.pi)
        turn = sum(offset * part for offset, part in zip(offsets, direction, strict=True)) / distance
        bumps += np.float32(0.05) * np.sin(3 * turn + phase)
    return np.asarray(distance - diameter / 2 * (1 + bumps), np.float32)


def _within(outside: NDArray[np.float32], edge: float) -> NDArray[np.float32]:
    """Return which part of a voxel is covered, 0 to 1, from its distance to the surface."""
    return np.clip(0.5 - outside / (2 * edge), 0, 1)


HEAD_MM = 62.0, 72.0, 90.0
"""Half the inside of the skull: feet to head, right to left, front to back."""
SKULL_MM, SCALP_MM = 7.0, 13.0
"""How far skull and scalp reach outside it."""
BRAIN_HU, FLUID_HU, BONE_HU, SKIN_HU, BLOOD_HU = 33.0, 7.0, 900.0, 35.0, 68.0
BLEEDS = "epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural"


def head(
    heights: NDArray[np.float64], rows: int, random: np.random.Generator, *, bleeds: Sequence[str], field: float = 240.0
) -> tuple[Image, Labels]:
    """Return a head with a bleed of each kind asked for, and where they are: n is the n-th of `BLEEDS`.

    Axial images, index order (slice, row, column), feet to head, front to back, right to left; `heights` are those of
    the slices in mm above the middle of the brain, `field` is the width of the images in mm.
    """
    place = (np.arange(rows) + 0.5) * field / rows - field / 2
    size = random.uniform(0.92, 1.06)
    z, y, x = np.meshgrid(
        heights / size,
        place / size + random.uniform(-8, 8),
        place / size + random.uniform(-8, 8),
        indexing="ij",
        sparse=True,
    )
    turn = random.uniform(-0.2, 0.2)
    x, y = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    radius = np.sqrt((z / HEAD_MM[0]) ** 2 + (x / HEAD_MM[1]) ** 2 + (y / HEAD_MM[2]) ** 2)
    length = np.sqrt(z**2 + x**2 + y**2) + 1e-6
    depth = (1 / np.maximum(radius, 1e-6) - 1) * length
    hu = np.select(
        [depth > 0, depth > -SKULL_MM, depth > -SCALP_MM], [BRAIN_HU, BONE_HU, SKIN_HU], -1000.0
    )  # fmt: skip
    hu += (depth > 4) * 3 * np.sin(x / 7 + random.uniform(0, 6)) * np.sin(y / 9 + random.uniform(0, 6))
    hu[(depth > 0) & (np.abs(x) < 1) & (np.abs(y) > 30)] += 8
    fluid = _ventricles(x, y, z, random.uniform(0.8, 1.5)) & (depth > 10)
    hu[fluid] = FLUID_HU
    labels = np.zeros(hu.shape, np.uint8)
    for kind in bleeds:
        blood = (depth > 0) & _bleed(kind, (z, x, y), length, depth, fluid, random)
        hu[blood], labels[blood] = random.uniform(0.85, 1.1) * BLOOD_HU, 1 + BLEEDS.index(kind)
    noise = random.standard_normal(hu.shape, np.float32) * np.float32(random.uniform(2, 6))
    return np.clip(np.rint(hu + noise), -1024, 3071).astype(np.int16), labels


def _ventricles(x: Field, y: Field, z: Field, wide: float) -> NDArray[np.bool_]:
    """Return both lateral ventricles."""
    across = (np.abs(x) - 12) / (7 * wide)
    return np.asarray(across**2 + ((y + 5) / 32) ** 2 + ((z - 8) / (14 * wide)) ** 2 < 1)


def _bleed(
    kind: str,
    zxy: tuple[Field, Field, Field],
    length: Field,
    depth: Field,
    fluid: NDArray[np.bool_],
    random: np.random.Generator,
) -> NDArray[np.bool_]:
    """Return where blood of a kind lies: a lump, a filled ventricle, or a layer under the skull around a direction."""
    z, x, y = zxy
    if kind == "intraventricular":
        return np.asarray(fluid & (x * random.choice((-1, 1)) > -4) & (y > random.uniform(-20, 5)))
    direction = random.normal(size=3) * (0.6, 1, 1)
    direction /= np.linalg.norm(direction)
    if kind == "intraparenchymal":
        centre = direction * np.multiply(HEAD_MM, random.uniform(0.35, 0.65))
        offsets = [np.asarray(one - middle, np.float32) for one, middle in zip(zxy, centre, strict=True)]
        return _ball(offsets, random.uniform(16, 44), random) < 0
    cosine = (z * direction[0] + x * direction[1] + y * direction[2]) / length
    angle = np.arccos(np.clip(cosine, -1, 1))
    if kind == "epidural":
        return np.asarray(depth < random.uniform(14, 26) * (1 - (angle / 0.5) ** 2))
    if kind == "subdural":
        return np.asarray(depth < random.uniform(5, 10) * np.sqrt(np.maximum(1 - (angle / 1.2) ** 2, 0)))
    furrows = np.abs(np.sin((x + y + z) / 6 + 2 * np.sin((x - y) / 9))) < 0.22
    return np.asarray((depth < 16) & (angle < 0.9) & furrows)
