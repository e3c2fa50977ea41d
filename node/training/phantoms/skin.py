"""Skin: photographs of pigmented and other lesions, of the seven kinds that HAM10000 has (Tschandl et al. 2018)."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from node.training.phantoms import Labels
from node.training.phantoms.painting import (
    Line,
    Part,
    Picture,
    inside,
    lump,
    painted,
    photographed,
    places,
    spots,
    strokes,
    texture,
)

LESIONS = "akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"
"""Actinic keratosis, basal cell carcinoma, benign keratosis, dermatofibroma, melanoma, nevus, vascular lesion."""
TONES = (238, 196, 172), (222, 176, 146), (196, 146, 112), (168, 118, 88)
BROWN, BLACK, BLUE, PINK, TAN, CREAM = (
    (112, 68, 44), (44, 30, 28), (92, 98, 122), (222, 142, 138), (164, 116, 78), (240, 226, 206),
)  # fmt: skip
ROUGH = {"akiec": 0.5, "bcc": 0.25, "bkl": 0.25, "df": 0.1, "mel": 0.45, "nv": 0.08, "vasc": 0.12}
"""How far the edge of each kind lies off a circle, as a part of its radius."""
SOFT = {"akiec": 0.09, "bcc": 0.03, "bkl": 0.012, "df": 0.06, "mel": 0.02, "nv": 0.03, "vasc": 0.02}
"""How wide the edge of each kind is."""


def lesion(rows: int, random: np.random.Generator, *, kind: str) -> tuple[NDArray[np.uint8], Labels]:
    """Return a photograph (row, column, 3) of a lesion of a kind, and which pixels are of it (row, column)."""
    tone = np.array(TONES[random.integers(len(TONES))]) * random.uniform(0.94, 1.04, 3)
    skin = np.full((rows, rows, 3), tone, np.float32)
    skin *= (1 + 0.025 * texture(rows, 5, random) + 0.02 * texture(rows, rows // 3, random))[..., None]
    centre, radius = 0.5 + random.uniform(-0.09, 0.09, 2), random.uniform(0.17, 0.32)
    outside = lump(rows, centre, radius, random, rough=ROUGH[kind])
    body = _BODIES[kind](skin, centre, radius, random)
    picture = painted(skin, body, inside(outside, SOFT[kind]))
    if random.random() < 0.5:
        picture = painted(picture, (40, 30, 26), 0.85 * strokes(rows, _hairs(random)))
    x, y = places(rows)
    away = (np.hypot(x - 0.5, y - 0.5) / 0.7) ** 2
    picture = picture * (1 - random.uniform(0, 0.35) * away)[..., None].astype(np.float32)
    return photographed(picture, random, noise=5), (outside < 0).astype(np.uint8)


def _hairs(random: np.random.Generator) -> list[Line]:
    lines: list[Line] = []
    for _ in range(random.integers(2, 9)):
        start, turn = random.uniform(-0.1, 0.9, 2), random.uniform(0, np.pi)
        steps = np.linspace(0, 1, 10)[:, None]
        along = np.array([np.cos(turn), np.sin(turn)]) * random.uniform(0.3, 0.9)
        bend = np.array([-along[1], along[0]]) * random.normal() * 0.15
        lines.append((start + along * steps + bend * np.sin(steps * np.pi), random.uniform(0.004, 0.008)))
    return lines


def _within(centre: NDArray[np.float64], reach: float, count: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Return places (n, 2) no further from a centre than `reach`."""
    away, turn = reach * np.sqrt(random.uniform(0, 1, count)), random.uniform(0, 2 * np.pi, count)
    return np.add(centre, np.column_stack((away * np.cos(turn), away * np.sin(turn))))


def _dots(
    rows: int,
    centre: NDArray[np.float64],
    radius: float,
    random: np.random.Generator,
    *,
    sizes: tuple[float, float],
    counts: tuple[int, int],
) -> Part:
    count = random.integers(*counts)
    return spots(rows, _within(centre, 0.85 * radius, count, random), random.uniform(*sizes, count))


def _keratosis(skin: Picture, centre: NDArray[np.float64], radius: float, random: np.random.Generator) -> Picture:
    """Red, with scales of yellow and white."""
    rows = len(skin)
    body = painted(skin, (206, 112, 104), random.uniform(0.5, 0.75))
    scales = _dots(rows, centre, radius, random, sizes=(0.02, 0.05), counts=(5, 10))
    return painted(body, (236, 216, 178), 0.7 * scales * inside(-texture(rows, 14, random), 0.8))


def _carcinoma(skin: Picture, centre: NDArray[np.float64], radius: float, random: np.random.Generator) -> Picture:
    """Pearly pink, with branching vessels and nests of blue-grey."""
    rows = len(skin)
    body = painted(skin, PINK, random.uniform(0.55, 0.8))
    body = painted(body, BLUE, 0.8 * _dots(rows, centre, radius, random, sizes=(0.015, 0.035), counts=(2, 7)))
    lines: list[Line] = []
    for _ in range(random.integers(4, 8)):
        path = np.cumsum(random.normal(0, 0.035, (8, 2)), axis=0) + _within(centre, 0.7 * radius, 1, random)
        lines.append((path, random.uniform(0.008, 0.014)))
    return painted(body, (176, 28, 36), 0.85 * strokes(rows, lines))


def _benign(skin: Picture, centre: NDArray[np.float64], radius: float, random: np.random.Generator) -> Picture:
    """Tan and waxy, with white cysts and dark plugs."""
    rows = len(skin)
    body = painted(skin, TAN, random.uniform(0.7, 0.95))
    body *= (1 + 0.07 * texture(rows, 12, random))[..., None]
    body = painted(body, CREAM, 0.9 * _dots(rows, centre, radius, random, sizes=(0.008, 0.018), counts=(8, 20)))
    return painted(body, (58, 38, 28), 0.9 * _dots(rows, centre, radius, random, sizes=(0.01, 0.02), counts=(5, 14)))


def _fibroma(skin: Picture, centre: NDArray[np.float64], radius: float, random: np.random.Generator) -> Picture:
    """A white scar in a faint brown rim."""
    rows = len(skin)
    body = painted(skin, (176, 124, 96), random.uniform(0.5, 0.75))
    scar = lump(rows, centre, radius * random.uniform(0.4, 0.6), random, rough=0.2)
    return painted(body, (244, 226, 216), 0.85 * inside(scar, 0.05))


def _melanoma(skin: Picture, centre: NDArray[np.float64], radius: float, random: np.random.Generator) -> Picture:
    """Of many colours, each to one side."""
    rows = len(skin)
    body = painted(skin, BROWN, random.uniform(0.8, 1))
    for color in (BLACK, BLUE, (160, 84, 74), BLACK):
        at = _within(centre, 0.75 * radius, 1, random)[0]
        patch = lump(rows, at, radius * random.uniform(0.3, 0.6), random, rough=0.6)
        body = painted(body, color, random.uniform(0.7, 0.95) * inside(patch, 0.04))
    return body


def _nevus(skin: Picture, centre: NDArray[np.float64], radius: float, random: np.random.Generator) -> Picture:
    """One brown, a little darker in the middle, with a regular net."""
    rows = len(skin)
    body = painted(skin, BROWN, random.uniform(0.55, 0.9))
    x, y = places(rows)
    deep = np.clip(1 - np.hypot(x - np.float32(centre[0]), y - np.float32(centre[1])) / np.float32(radius), 0, 1)
    mesh = random.uniform(60, 90)
    net = np.maximum(np.abs(np.sin(mesh * x)), np.abs(np.sin(mesh * y))) > 0.85
    return painted(painted(body, (78, 46, 32), 0.4 * deep), (70, 42, 30), 0.25 * net.astype(np.float32))


def _vascular(skin: Picture, centre: NDArray[np.float64], radius: float, random: np.random.Generator) -> Picture:
    """Lakes of red and purple."""
    rows = len(skin)
    body = painted(skin, (178, 44, 58), random.uniform(0.7, 0.95))
    lakes = _dots(rows, centre, radius, random, sizes=(0.03, 0.06), counts=(8, 16))
    return painted(body, (112, 20, 60) if random.random() < 0.5 else (204, 24, 32), 0.75 * lakes)


_BODIES: Mapping[str, Callable[[Picture, NDArray[np.float64], float, np.random.Generator], Picture]] = {
    "akiec": _keratosis,
    "bcc": _carcinoma,
    "bkl": _benign,
    "df": _fibroma,
    "mel": _melanoma,
    "nv": _nevus,
    "vasc": _vascular,
}
