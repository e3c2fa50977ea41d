"""A synthetic chest for CT, without breathing and without a patient."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node.testing.ct import ct_series

CHEST_FIELD = 400.0
CHEST_HEIGHT = 300.0
"""Extent of the chest phantom in mm: width and depth, height."""


def chest_ct(*, slices: int = 100, rows: int = 512, **options: Any) -> list[Dataset]:
    """Return a CT series of the chest phantom, 400 mm wide and 300 mm high; all other arguments as in `ct_series`."""
    spacing = (CHEST_HEIGHT / slices, CHEST_FIELD / rows, CHEST_FIELD / rows)
    half = CHEST_FIELD / 2 - spacing[1] / 2
    images = ct_series(
        **{
            "array": chest_phantom(slices=slices, rows=rows),
            "spacing": spacing,
            "origin": (-half, -half, (spacing[0] - CHEST_HEIGHT) / 2),
            "description": "Chest phantom",
            **options,
        }
    )
    for image in images:
        image.WindowCenter, image.WindowWidth = [-500, 40], [1500, 400]
    return images


def chest_phantom(*, slices: int = 100, rows: int = 512) -> NDArray[np.int16]:
    """Return a synthetic chest: (slice, row, column), HU, feet to head, front to back, patient's right to left.

    It spans 300 × 400 × 400 mm. The two lungs are of different size (right about 1.8 l, left about 1.4 l), with
    vessels, and closed off from trachea and bronchi by their walls; there are a heart, an aorta, a spine, ribs, the
    domes of the diaphragm with liver and spleen, a gas bubble in the stomach and a table.
    """
    random = np.random.default_rng(20)
    voxel = CHEST_FIELD / rows
    x = ((np.arange(rows, dtype=np.float32) + 0.5) * voxel - CHEST_FIELD / 2)[None, :]
    y = ((np.arange(rows, dtype=np.float32) + 0.5) * voxel - CHEST_FIELD / 2)[:, None]
    heights = (np.arange(slices) + 0.5) * CHEST_HEIGHT / slices - CHEST_HEIGHT / 2
    # A bronchus is oblique: its wall must cover the step between two slices.
    wall = max(2.5, 1.3 * voxel, 1.5 * CHEST_HEIGHT / slices)
    chest = np.empty((slices, rows, rows), np.int16)
    lung = np.zeros((slices, rows, rows), np.bool_)
    for index, z in enumerate(heights):
        chest[index], lung[index] = _chest_slice(x, y, float(z), wall)
    _draw_vessels(chest, lung, random)
    for plane in chest:
        blurred = (2 * plane + np.roll(plane, 1, 0) + np.roll(plane, 1, 1)) // 4 if voxel < 2 else plane
        noise = random.standard_normal(plane.shape, np.float32) * np.float32(14)
        plane[:] = np.clip(blurred + noise, -1024, 3071)
    return chest


def _ellipse(x: Any, y: Any, centre: tuple[float, float], radii: tuple[float, float]) -> Any:
    """Return the squared distance from a centre in units of the radii: below 1 inside."""
    return ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2


def _ball(x: Any, y: Any, z: float, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Any:
    return _ellipse(x, y, centre[:2], radii[:2]) + ((z - centre[2]) / radii[2]) ** 2


def _chest_slice(x: Any, y: Any, z: float, wall: float) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """Return one slice at height z: its HU, and the mask of its lungs; x to the left, y to the back, all in mm."""
    shoulders = 1 - 0.35 / (1 + math.exp(-(z - 135) / 8))
    body = _ellipse(x, y, (0, 0), (172 * shoulders, 116 * (0.85 + 0.15 * shoulders)))
    plane = np.full(body.shape, -1000, np.int16)
    table = np.abs(y - 128 + (x / 34) ** 2)
    plane[(table < 7) & (np.abs(x) < 190)] = -860
    plane[(np.abs(table - 7) < 1.5) & (np.abs(x) < 190)] = -150
    plane[body < 1] = -95
    plane[body < 0.86] = 48
    # Ribs run down and forward: their height depends on depth.
    bone = (body > 0.62) & (body < 0.76) & (np.sin((z + 0.45 * y) * 2 * math.pi / 28) > 0.25) & (z < 125)
    plane[bone & (np.abs(x) > 28)] = 420

    right = _ball(x, y, z, (-74, 4, -18), (58, 84, 128))
    left = _ball(x, y, z, (78, 8, -14), (52, 78, 122))
    lung = ((right < 1) | (left < 1)) & (body < 0.60)
    liver = _ball(x, y, z, (-66, -4, -168), (98, 104, 108))
    spleen = _ball(x, y, z, (74, 10, -176), (88, 96, 96))
    heart = _ball(x, y, z, (26, -28, -42), (62, 52, 58))
    aorta = np.minimum(_ellipse(x, y, (20, 46), (12, 12)), _ball(x, y, z, (6, 4, 58), (22, 46, 13)))
    mediastinum = _ellipse(x, y, (0, 14), (27, 62))
    plane[mediastinum < 1] = 35
    for organ, value in ((liver, 62), (spleen, 50), (heart, 44), (mediastinum, 35)):
        lung &= organ >= 1
        plane[(organ < 1) & (body < 0.60) & (organ is not mediastinum)] = value
    breath = -868 + 0.35 * (y * np.ones_like(x))
    plane[lung] = breath[lung]
    plane[(aorta < 1) & (z < 70)] = 150
    plane[(_ball(x, y, z, (58, -30, -128), (34, 26, 20)) < 1) & ~lung] = -940

    disc = math.sin(z * 2 * math.pi / 30) > 0.8
    spine = _ellipse(x, y, (0, 74), (21, 18))
    plane[spine < 1] = 90 if disc else 190
    plane[(spine < 1) & (spine > 0.8)] = 120 if disc else 560
    plane[_ellipse(x, y, (0, 99), (9, 8)) < 1] = 25
    plane[(np.abs(x) < 16) & (np.abs(y + 96) < 6) & (z < 100) & (z > -70) & (body < 0.86)] = 300

    lumen, walls = _airway(x, y, z, wall)
    plane[walls & (body < 0.86)] = 30
    lung &= ~walls
    plane[lumen & (body < 0.86)] = -985
    return plane, lung


def _airway(x: Any, y: Any, z: float, wall: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return trachea and main bronchi at height z: their lumen, and lumen and wall together."""
    carina, hilum = 40.0, 5.0
    if z >= carina:
        distance = np.sqrt(_ellipse(x, y, (-2, 8), (1, 1)))
        return distance < 9, distance < 9 + wall
    far = np.full(np.broadcast_shapes(np.shape(x), np.shape(y)), np.inf)
    for reach in (-44.0, 52.0):  # the right bronchus is shorter and steeper
        along = (carina - z) / (carina - hilum)
        centre = (-2 + reach * along, 8 + 6 * along)
        far = np.minimum(far, np.sqrt(_ellipse(x, y, centre, (1.35, 1))))
    shut = z < hilum
    return (far < 7) & (not shut), (far < 7 + wall) & (z > hilum - 2 * wall)


def _draw_vessels(chest: NDArray[np.int16], lung: NDArray[np.bool_], random: np.random.Generator) -> None:
    """Draw vessels from each hilum into its lung, thinner towards their ends; only inside the lungs."""
    slices, rows, _ = chest.shape
    voxel = np.array([CHEST_HEIGHT / slices, CHEST_FIELD / rows, CHEST_FIELD / rows])
    edge = np.array([-CHEST_HEIGHT / 2, -CHEST_FIELD / 2, -CHEST_FIELD / 2])
    along = np.linspace(0, 1, 220)[:, None]
    for hilum in ((5.0, 14.0, -40.0), (8.0, 14.0, 46.0)):
        for _ in range(70):
            direction = random.normal(size=3) * (1.2, 0.9, 0.7) + (0, 0, math.copysign(0.5, hilum[2]))
            direction *= random.uniform(50, 115) / np.linalg.norm(direction)
            bend = random.normal(size=3) * 14
            path = np.array(hilum) + direction * along + bend * np.sin(along * math.pi)
            radius = 3.4 * (1 - 0.8 * along[:, 0])
            for offset in np.ndindex(5, 5, 5):
                shift = (np.array(offset) - 2) * 1.4
                near = path[np.linalg.norm(shift) <= radius] + shift
                at = ((near - edge) / voxel).astype(np.intp)
                at = at[((at >= 0) & (at < chest.shape)).all(axis=1)].T
                inside = lung[tuple(at)]
                chest[tuple(at[:, inside])] = 20
