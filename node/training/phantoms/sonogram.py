"""Ultrasound of soft tissue near the skin, as of breast and thyroid: a sweep over a lesion, with speckle."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node.training.phantoms.shapes import within

BENIGN, MALIGNANT = "benign", "malignant"
SKIN, FAT, GLAND, MUSCLE = 0.75, 0.42, 0.58, 0.4
GLAND_FROM, MUSCLE_FROM = 0.22, 0.78
"""Depths, as parts of the image's height."""
SPECKLE = 0.11
GRAIN = 3
"""Pixels that speckle is wide; it is half as high."""
LEAST = 0.3
"""Part of its size at which a lesion is still said to be in the plane."""
Random = np.random.Generator


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesion:
    """A lesion: its kind, its centre (row, column) and half its height and width as parts of the image, its bumps."""

    kind: str
    centre: tuple[float, float]
    half: tuple[float, float]
    turn: float


def lesion(kind: str, random: Random) -> Lesion:
    """Return a benign lesion (smooth, wider than high) or a malignant lesion (spiculated, higher than wide)."""
    wide = random.uniform(0.11, 0.18)
    ratio = random.uniform(0.5, 0.72) if kind == BENIGN else random.uniform(1.0, 1.3)
    centre = random.uniform(0.38, 0.56), random.uniform(0.28, 0.72)
    wide = wide if kind == BENIGN else 0.8 * wide
    return Lesion(kind=kind, centre=centre, half=(wide * ratio, wide), turn=random.uniform(0, 2 * np.pi))


def frame(
    rows: int, columns: int, random: Random, there: Lesion | None = None, *, part: float = 1.0
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return one frame (row, column), 0 to 255, and where the lesion is, of which the plane has a part of its size."""
    v, u = np.meshgrid(
        np.linspace(0, 1, rows, dtype=np.float32), np.linspace(0, 1, columns, dtype=np.float32), indexing="ij"
    )
    waves = 0.03 * np.sin(u * random.uniform(3, 8) + random.uniform(0, 6))
    image = np.select([v < 0.05, v < GLAND_FROM + waves, v < MUSCLE_FROM + waves], [SKIN, FAT, GLAND], MUSCLE)
    fibres = (v >= MUSCLE_FROM + waves) * (np.sin((v - waves) * 130) > 0.6)
    image = image.astype(np.float32) + 0.2 * fibres - 0.25 * v**2
    mark = np.zeros(image.shape, np.bool_)
    if there is not None and part > 0:
        image, mark = _with_lesion(image, u, v, there, part)
    speckle = np.log(_blurred(random, image.shape) + 0.3)
    seen = np.clip(image + SPECKLE * speckle + random.uniform(-0.04, 0.04), 0, 1) * random.uniform(0.85, 1.0)
    return np.rint(seen * 255).astype(np.uint8), mark


def _with_lesion(
    image: NDArray[np.float32], u: NDArray[np.float32], v: NDArray[np.float32], there: Lesion, part: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    high, wide = (length * part for length in there.half)
    down, across = v - there.centre[0], u - there.centre[1]
    angle = np.arctan2(down / high, across / wide)
    far = np.hypot(down / high, across / wide)
    malignant = there.kind == MALIGNANT
    edge = 1 + (0.22 * np.abs(np.sin(4.5 * angle + there.turn)) if malignant else 0)
    outside = ((far - edge) * min(high, wide)).astype(np.float32)
    covered = within(outside, 0.01)
    below = within(np.abs(across) - 0.85 * wide, 0.02) * (down > 0) * (1 - covered)
    image = image + below * (-0.26 if malignant else 0.16)
    image = image * (1 - covered) + covered * (0.14 if malignant else 0.24)
    if not malignant:
        image = image + 0.25 * within(np.abs(outside) - 0.004, 0.006)
    return image.astype(np.float32), outside < 0


def _blurred(random: Random, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return fully developed speckle: the envelope of random waves, wider than high (Burckhardt 1978)."""
    rows, columns = shape
    waves = random.standard_normal((2, rows + 1, columns + GRAIN - 1), np.float32)
    summed = waves[:, 1:] + waves[:, :-1]
    spread = np.sum([summed[:, :, first : first + columns] for first in range(GRAIN)], axis=0)
    envelope = np.hypot(*spread)
    return np.asarray(envelope / envelope.mean(), np.float32)


def cine(
    frames: int, rows: int, columns: int, random: Random, kind: str = ""
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return a sweep (frame, row, column), 0 to 255, and where the lesion is; without a kind there is none.

    The probe comes upon the lesion, passes over its middle, and leaves it behind.
    """
    there = lesion(kind, random) if kind else None
    middle, reach = frames * random.uniform(0.35, 0.65), frames * random.uniform(0.3, 0.4)
    parts = np.sqrt(np.clip(1 - ((np.arange(frames) - middle) / reach) ** 2, 0, 1))
    seen = [frame(rows, columns, random, there, part=float(part) if part >= LEAST else 0.0) for part in parts]
    images, marks = zip(*seen, strict=True)
    return np.stack(images), np.stack(marks)
