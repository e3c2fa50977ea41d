"""Abdomens: a liver with focal lesions, and a spleen, in a CT with or without contrast medium."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node.training.phantoms import Field, Image, Labels
from node.training.phantoms.shapes import ball

LIVER, LESION, SPLEEN = 1, 2, 3
Point = tuple[float, float, float]
"""mm from the middle of the abdomen: towards head, back and left."""
BODY_MM = 112.0, 165.0
"""Half the body, front to back and right to left."""
AIR_HU, LUNG_HU, TABLE_HU, FAT_HU, MUSCLE_HU, DISC_HU, BONE_HU = -1000.0, -850.0, -150.0, -100.0, 55.0, 90.0, 300.0
BLOOD_HU = 40.0, 150.0
"""Without contrast medium, and in the portal venous phase."""
SPARED_MM = 4.0
"""Liver between two lesions."""
APART_HU = 32.0, 75.0
"""How far the attenuation of a lesion is from that of the liver."""
BRIGHT = 0.25
"""Part of the lesions that attenuate more than the liver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Organ:
    """An ellipsoid: where, half its axes in mm, its HU without and with contrast medium, its label."""

    centre: Point
    radii: Point
    hu: tuple[float, float]
    label: int = 0


RIGHT_LOBE = Organ(centre=(0, -2, -72), radii=(72, 74, 62), hu=(58, 112), label=LIVER)
LEFT_LOBE = Organ(centre=(24, -48, -8), radii=(34, 34, 62), hu=(58, 112), label=LIVER)
ORGANS = (
    Organ(centre=(8, -40, 66), radii=(42, 40, 40), hu=(18, 22)),  # the stomach
    Organ(centre=(20, 42, 98), radii=(46, 46, 27), hu=(48, 118), label=SPLEEN),
    Organ(centre=(-62, -55, 20), radii=(26, 24, 70), hu=(30, 55)),  # bowel
    Organ(centre=(-100, -20, -60), radii=(30, 40, 30), hu=(25, 50)),
    Organ(centre=(-95, -20, 65), radii=(34, 42, 30), hu=(28, 52)),
    RIGHT_LOBE,
    LEFT_LOBE,
    Organ(centre=(-48, -50, -48), radii=(28, 15, 15), hu=(8, 8)),  # the gall bladder
    Organ(centre=(-52, 55, -58), radii=(50, 25, 26), hu=(32, 175)),  # kidneys
    Organ(centre=(-40, 55, 60), radii=(50, 25, 26), hu=(32, 175)),
    Organ(centre=(0, 50, 10), radii=(400, 11, 11), hu=BLOOD_HU),  # aorta and vena cava
    Organ(centre=(0, 42, -20), radii=(400, 11, 12), hu=BLOOD_HU),
)
"""In the order in which they are drawn: each over those before it."""


def with_lesions(
    places: tuple[Field, Field, Field], random: np.random.Generator, *, lesions: int, contrast: bool, fat_hu: float = 0
) -> tuple[Image, Labels]:
    """Return a CT of an abdomen, and where in it are liver (1), its lesions (2) and spleen (3).

    Index order (slice, row, column), feet to head, front to back, right to left; `places` are where slices, rows and
    columns lie, in mm from the middle of the abdomen. Of so many lesions, those are drawn that find room. `fat_hu` is
    by how much fat has lowered the attenuation of the liver.
    """
    size = random.uniform(0.9, 1.1)
    z, y, x = np.meshgrid(*(place / size + random.uniform(-8, 8) for place in places), indexing="ij", sparse=True)
    turn = random.uniform(-0.08, 0.08)
    x, y = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    hu, inside = _trunk(z, y, x)
    labels = np.zeros(hu.shape, np.uint8)
    shift = random.normal(0, 6)
    for organ in ORGANS:
        liver = organ.label == LIVER
        moved = random.uniform(-6, 6, 3) * (not liver)
        there = _ellipsoid(z, y, x, organ, moved, random.uniform(0.92, 1.08)) & inside
        hu[there] = organ.hu[contrast] + (shift - fat_hu if liver else random.normal(0, 4))
        labels[there] = organ.label
    liver = labels == LIVER
    for _ in range(4):
        hu[liver & _vessel(z, y, x, random)] = BLOOD_HU[contrast] + random.normal(0, 6)
    for lesion in _lumps(z, y, x, random, lesions):
        apart = random.uniform(*APART_HU) * (1 if random.random() < BRIGHT else -1)
        there = liver & lesion
        hu[there], labels[there] = RIGHT_LOBE.hu[contrast] + shift - fat_hu + apart, LESION
    noise = random.standard_normal(hu.shape, np.float32) * np.float32(random.uniform(5, 14))
    return np.clip(np.rint(hu + noise), -1024, 3071).astype(np.int16), labels


def _trunk(z: Field, y: Field, x: Field) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return a trunk without organs, HU, and where there is room for them."""
    body = (y / BODY_MM[0]) ** 2 + (x / BODY_MM[1]) ** 2 + 0 * z
    spine = (x / 21) ** 2 + ((y - 76) / 18) ** 2 + 0 * z
    ribs = (np.abs(body - 0.75) < 0.05) & (np.sin((z + 0.45 * y) * 2 * np.pi / 28) > 0.3) & (z > -30)
    discs = np.where(np.sin(z * 2 * np.pi / 30) > 0.8, DISC_HU, BONE_HU) + 0 * spine
    table = (np.abs(y - BODY_MM[0] - 12) < 3) & (np.abs(x) < 190) & (body >= 1)
    inside = (body < 0.69) & (spine >= 1)
    hu = np.select(
        [spine < 1, inside & (z > 38), inside, ribs, body < 0.82, body < 1, table],
        [discs, LUNG_HU, FAT_HU, BONE_HU, MUSCLE_HU, FAT_HU, TABLE_HU],
        AIR_HU,
    )
    return hu, inside


def _ellipsoid(
    z: Field, y: Field, x: Field, organ: Organ, moved: NDArray[np.float64], size: float
) -> NDArray[np.bool_]:
    parts = zip((z, y, x), np.add(organ.centre, moved), np.multiply(organ.radii, size), strict=True)
    return np.asarray(sum(((place - middle) / radius) ** 2 for place, middle, radius in parts) < 1)


def _vessel(z: Field, y: Field, x: Field, random: np.random.Generator) -> NDArray[np.bool_]:
    """Return a straight vessel through the right lobe."""
    direction = random.normal(size=3)
    direction /= np.linalg.norm(direction)
    offsets = [
        place - middle - random.uniform(-25, 25) for place, middle in zip((z, y, x), RIGHT_LOBE.centre, strict=True)
    ]
    along = sum(offset * part for offset, part in zip(offsets, direction, strict=True))
    return np.asarray(sum(offset**2 for offset in offsets) - along**2 < random.uniform(2, 5) ** 2)


def _lumps(z: Field, y: Field, x: Field, random: np.random.Generator, count: int) -> Iterator[NDArray[np.bool_]]:
    """Yield lumps in either lobe that leave one another room."""
    held: list[tuple[NDArray[np.float64], float]] = []
    for _ in range(count):
        lobe = RIGHT_LOBE if random.random() < 0.75 else LEFT_LOBE
        direction, diameter = random.normal(size=3), random.uniform(10, 45)
        reach = random.uniform(0, 0.75) / np.linalg.norm(direction)
        centre = np.add(lobe.centre, direction * reach * lobe.radii)
        if any(np.linalg.norm(centre - other) < (diameter + width) / 2 + 2 * SPARED_MM for other, width in held):
            continue
        held.append((centre, diameter))
        offsets = [np.asarray(place - middle, np.float32) for place, middle in zip((z, y, x), centre, strict=True)]
        yield ball(offsets, diameter, random) < 0
