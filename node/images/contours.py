"""Outlines of masks along the edges of their pixels, for regions, presentation states and structure sets."""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

Loop = NDArray[np.float64]
"""(n, 2): column, row, in pixels from the outer corner of the first pixel (PS3.3 C.18.6.1.1); the first point is not
repeated at the end."""


def contours(mask: NDArray[np.bool_]) -> tuple[list[Loop], list[Loop]]:
    """Return the outer borders of a mask, (row, column), and the borders of its holes, in the opposite direction.

    Pixels that touch only at a corner are not connected. The loops have only corners as points, and enclose exactly the
    pixels of the mask.
    """
    outer: list[Loop] = []
    holes: list[Loop] = []
    for loop in _loops(mask):
        (outer if _area(loop) > 0 else holes).append(loop)
    return outer, holes


def keyholed(mask: NDArray[np.bool_]) -> list[Loop]:
    """Return outer borders only; each hole is joined to a border by a cut of zero width (PS3.3 C.8.8.6.3)."""
    outer, holes = contours(mask)
    boxes = np.array([(*loop.min(axis=0), *-loop.max(axis=0)) for loop in outer]).reshape(-1, 4)
    for hole in holes:
        around = np.flatnonzero((boxes < (*hole.min(axis=0), *-hole.max(axis=0))).all(axis=1))
        nearest = [(int(index), np.abs(outer[index] - hole[0]).sum(axis=1)) for index in around]
        index, distances = min(nearest, key=lambda candidate: float(candidate[1].min()))
        at = int(distances.argmin())
        outer[index] = np.concatenate([outer[index][: at + 1], hole, hole[:1], outer[index][at:]])
    return outer


def _loops(mask: NDArray[np.bool_]) -> list[Loop]:
    """Return closed loops of borders. As the image is displayed, the mask is on their right."""
    padded = np.pad(mask, 1)
    inside, above, left = padded[1:, 1:], padded[:-1, 1:], padded[1:, :-1]
    edges: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for row, column in np.argwhere(inside != above).tolist():
        ends = (column, row), (column + 1, row)
        start, end = ends if inside[row, column] else ends[::-1]
        edges[start].append(end)
    for row, column in np.argwhere(inside != left).tolist():
        ends = (column, row + 1), (column, row)
        start, end = ends if inside[row, column] else ends[::-1]
        edges[start].append(end)
    loops = []
    while edges:
        start = next(iter(edges))
        loops.append(_loop(edges, start))
    return loops


def _loop(edges: dict[tuple[int, int], list[tuple[int, int]]], start: tuple[int, int]) -> Loop:
    """Remove one loop from the edges, turning right where two loops cross, and return its corners."""
    points, at, going = [], start, (0, 0)
    while True:
        on = edges[at]
        right = (at[0] - going[1], at[1] + going[0])
        after = right if right in on else on[0]
        on.remove(after)
        if not on:
            del edges[at]
        heading = (after[0] - at[0], after[1] - at[1])
        if heading != going:
            points.append(at)
        at, going = after, heading
        if at == start:
            break
    corners = np.array(points, np.float64)
    if len(corners) > 1 and _straight(corners[-1], corners[0], corners[1]):
        corners = corners[1:]
    return corners


def _straight(before: Loop, at: Loop, after: Loop) -> bool:
    """Return whether the loop is straight at its first point."""
    return bool(np.sign(at - before).tolist() == np.sign(after - at).tolist())


def _area(loop: Loop) -> float:
    """Return twice the area, positive where the mask is inside: clockwise, rows running down."""
    following = np.roll(loop, -1, axis=0)
    return float((loop[:, 0] * following[:, 1] - following[:, 0] * loop[:, 1]).sum())
