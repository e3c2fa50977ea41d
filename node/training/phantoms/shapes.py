"""Shapes that phantoms are made of, as distances to their surfaces in mm."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from node.training.phantoms import Spacing


def around(
    centre: tuple[int, int, int], width: float, spacing: Spacing, shape: Sequence[int]
) -> tuple[tuple[slice, ...], list[NDArray[np.float32]]]:
    """Return the box around a thing of a width, with some room, and how far its voxels lie from the centre in mm."""
    box, offsets = [], []
    for middle, length, step in zip(centre, shape, spacing, strict=True):
        reach = int((0.65 * width + 2) / step) + 1
        box.append(slice(max(middle - reach, 0), min(middle + reach + 1, length)))
        offsets.append((np.arange(box[-1].start, box[-1].stop, dtype=np.float32) - middle) * np.float32(step))
    return tuple(box), list(np.meshgrid(*offsets, indexing="ij", sparse=True))


def ball(offsets: list[NDArray[np.float32]], diameter: float, random: np.random.Generator) -> NDArray[np.float32]:
    """Return how far voxels lie outside a ball with bumps, in mm; negative inside."""
    distance = np.sqrt(sum(offset**2 for offset in offsets)) + 1e-3
    bumps = np.zeros(distance.shape, np.float32)
    for _ in range(3):
        direction, phase = random.normal(size=3), random.uniform(0, 2 * np.pi)
        turn = sum(offset * part for offset, part in zip(offsets, direction, strict=True)) / distance
        bumps += np.float32(0.05) * np.sin(3 * turn + phase)
    return np.asarray(distance - diameter / 2 * (1 + bumps), np.float32)


def within(outside: NDArray[np.float32], edge: float) -> NDArray[np.float32]:
    """Return which part of a voxel is covered, 0 to 1, from its distance to the surface."""
    return np.clip(0.5 - outside / (2 * edge), 0, 1)
