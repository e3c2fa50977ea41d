"""Heads: bleeds in a CT without contrast medium."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from node.training.phantoms import Field, Image, Labels
from node.training.phantoms.shapes import ball

HEAD_MM = 62.0, 72.0, 90.0
"""Half the inside of the skull: feet to head, right to left, front to back."""
SKULL_MM, SCALP_MM = 7.0, 13.0
"""How far skull and scalp reach outside it."""
BRAIN_HU, FLUID_HU, BONE_HU, SKIN_HU, BLOOD_HU = 33.0, 7.0, 900.0, 35.0, 68.0
BLEEDS = "epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural"


def with_bleeds(
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
        offsets = [np.asarray(coordinate - middle, np.float32) for coordinate, middle in zip(zxy, centre, strict=True)]
        return ball(offsets, random.uniform(16, 44), random) < 0
    cosine = (z * direction[0] + x * direction[1] + y * direction[2]) / length
    angle = np.arccos(np.clip(cosine, -1, 1))
    if kind == "epidural":
        return np.asarray(depth < random.uniform(14, 26) * (1 - (angle / 0.5) ** 2))
    if kind == "subdural":
        return np.asarray(depth < random.uniform(5, 10) * np.sqrt(np.maximum(1 - (angle / 1.2) ** 2, 0)))
    furrows = np.abs(np.sin((x + y + z) / 6 + 2 * np.sin((x - y) / 9))) < 0.22
    return np.asarray((depth < 16) & (angle < 0.9) & furrows)
