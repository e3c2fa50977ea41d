"""Breasts: mammograms with masses and clusters of calcifications."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from node.training.phantoms import Labels
from node.training.phantoms.shapes import within

MASS, CALCIFICATION = "mass", "calcification"
LESIONS = MASS, CALCIFICATION
WHITE = 4095
AIR, FAT, DENSE, SKIN = 0.04, 0.32, 0.56, 0.4
LUMP, GRAIN = 0.047, 0.012
"""How wide dense tissue, and the texture of all of it, is about, as a part of the rows."""
FARTHEST = 0.75
"""Part of the way to the skin within which the middle of a lesion lies."""
Random = np.random.Generator
Field = NDArray[np.float32]


def mammogram(
    rows: int, columns: int, random: Random, lesions: Sequence[str] = (), *, density: float | None = None
) -> tuple[NDArray[np.int16], Labels, Labels]:
    """Return a cranio-caudal mammogram, the chest wall on the left, and what is on it.

    Parameters
    ----------
    density
        Part of the breast that is dense tissue; any from 0.05 to 0.6 without it.

    Returns
    -------
    image
        (row, column), 0 to 4095.
    labels
        Of the same shape: 0 none, n the n-th of `LESIONS`; a cluster of calcifications is all the place it takes.
    tissue
        Of the same shape: 0 air, 1 breast, 2 dense tissue.
    """
    row, column = np.ogrid[:rows, :columns]
    high, deep = rows * random.uniform(0.36, 0.46), columns * random.uniform(0.6, 0.85)
    middle = rows * random.uniform(0.47, 0.53)
    radius = np.sqrt(((row - middle) / high) ** 2 + (column / deep) ** 2).astype(np.float32)
    outside = (radius - 1) * np.float32(min(high, deep))
    breast = within(outside, 1.0)
    wanted = random.uniform(0.05, 0.6) if density is None else density
    gland = _smooth(rows, columns, random, LUMP) - 1.2 * radius
    inside = (outside < -4) & (radius < 0.93)
    limit = np.quantile(gland[inside], max(1 - wanted * (outside < 0).sum() / inside.sum(), 0))
    dense = within((limit - gland).astype(np.float32), 0.02) * inside
    image = AIR + breast * (FAT - AIR) * (1 - 0.35 * np.clip(radius, 0, 1) ** 6)
    image += dense * np.float32(DENSE - FAT) + 0.03 * breast * _smooth(rows, columns, random, GRAIN)
    image += (SKIN - FAT) * within(np.abs(outside + 1.5) - 1.5, 1.0)
    labels = np.zeros((rows, columns), np.uint8)
    centres: list[NDArray[np.intp]] = []
    for kind in lesions:
        centres.append(_apart(radius, centres, random))
        part, place = _lesion(kind, row, column, centres[-1], random)
        image += part
        labels[place & (outside < 0)] = 1 + LESIONS.index(kind)
    tissue = (outside < 0).astype(np.uint8) + (dense > 0.5)
    noise = random.standard_normal(image.shape, np.float32) * np.float32(random.uniform(0.005, 0.015))
    return np.rint(np.clip(image + noise, 0, 1) * WHITE).astype(np.int16), labels, tissue


def _smooth(rows: int, columns: int, random: Random, width: float) -> Field:
    """Return random values, about as wide as that part of the rows, with a deviation of one: linear between coarse."""
    grain = round(width * rows)
    size = rows // grain + 3, columns // grain + 3
    coarse = random.standard_normal(size, np.float32)
    for axis, length in enumerate((rows, columns)):
        place = (np.arange(length) / grain + random.random()).astype(np.float32)
        low = place.astype(int)
        part = (place - low).reshape(-1, *[1] * (1 - axis))
        coarse = np.take(coarse, low, axis) * (1 - part) + np.take(coarse, low + 1, axis) * part
    return np.asarray(coarse / coarse.std())


def _apart(radius: Field, centres: Sequence[NDArray[np.intp]], random: Random) -> NDArray[np.intp]:
    """Return a pixel well within the breast, of twenty the one that is farthest from other lesions."""
    inside = np.argwhere(radius < FARTHEST)
    inside = inside[inside[:, 1] > radius.shape[1] / 12]
    tries = inside[random.integers(len(inside), size=20)]
    away = [min((float(np.hypot(*(place - centre))) for centre in centres), default=0.0) for place in tries]
    return np.asarray(tries[int(np.argmax(away))])


def _lesion(
    kind: str, row: NDArray[np.int64], column: NDArray[np.int64], centre: NDArray[np.intp], random: Random
) -> tuple[Field, NDArray[np.bool_]]:
    """Return how much brighter a lesion makes the image, and where it is."""
    rows = len(row)
    y, x = (row - centre[0]).astype(np.float32), (column - centre[1]).astype(np.float32)
    away, angle = np.hypot(y, x), np.arctan2(y, x)
    if kind == MASS:
        size = rows * random.uniform(0.03, 0.055)
        edge = size * (
            1 + 0.12 * np.sin(2 * angle + random.uniform(0, 6)) + 0.08 * np.sin(5 * angle + random.uniform(0, 6))
        )
        outside = (away - edge).astype(np.float32)
        spikes = 0.12 * (np.cos(11 * angle + random.uniform(0, 6)) > 0.6) * within(away - 1.5 * size, 3.0)
        part = np.maximum(random.uniform(0.34, 0.42) * within(outside, 1.0), spikes * random.integers(2))
        return np.asarray(part, np.float32), outside < 0
    size = rows * random.uniform(0.025, 0.045)
    part = np.zeros(away.shape, np.float32)
    for _ in range(random.integers(8, 16)):
        turn, far = random.uniform(0, 2 * np.pi), size * np.sqrt(random.random())
        dot = np.hypot(y - far * np.sin(turn), x - far * np.cos(turn))
        part = np.maximum(part, random.uniform(0.45, 0.65) * within((dot - rows / 200).astype(np.float32), 0.6))
    return part, away < size + 1
