"""Eyes: photographs of the retina with disc, macula and vessels, and the lesions of diabetic retinopathy."""

from dataclasses import dataclass

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

GRADES = 5
"""No, mild, moderate, severe and proliferative retinopathy (International Clinical Diabetic Retinopathy scale)."""
FIELD = 0.48
"""Radius of the round field that is lit."""
ARTERY, VEIN, RED = (168, 62, 36), (132, 38, 26), (110, 20, 16)
DISC, YELLOW, WHITE = (244, 205, 140), (238, 216, 128), (226, 196, 158)
LEAST_COVERED = 0.5
"""A pixel counts as vessel if at least this part of it is vessel, and lit."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Retina:
    """A retina without lesions: its colours, what vessels cover, and where the disc is (column, row)."""

    picture: Picture
    vessels: Part
    disc: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesions:
    """How many lesions of each kind there are, at the least and at the most."""

    microaneurysms: tuple[int, int] = (0, 0)
    haemorrhages: tuple[int, int] = (0, 0)
    exudates: tuple[int, int] = (0, 0)
    cotton_wool: tuple[int, int] = (0, 0)
    new_vessels: tuple[int, int] = (0, 0)
    preretinal: tuple[int, int] = (0, 0)


OF_GRADE = (
    Lesions(),
    Lesions(microaneurysms=(3, 8)),
    Lesions(microaneurysms=(5, 14), haemorrhages=(3, 9), exudates=(0, 2)),
    Lesions(microaneurysms=(10, 20), haemorrhages=(28, 45), exudates=(0, 2), cotton_wool=(1, 4)),
    Lesions(
        microaneurysms=(5, 15),
        haemorrhages=(4, 25),
        exudates=(0, 2),
        cotton_wool=(0, 2),
        new_vessels=(1, 3),
        preretinal=(0, 1),
    ),
)
"""What each grade has; severe retinopathy has more than 20 haemorrhages in each quadrant, or nearly so."""


def fundus(rows: int, random: np.random.Generator, *, grade: int = 0) -> tuple[NDArray[np.uint8], Labels]:
    """Return a photograph (row, column, 3) of a retina of a grade, and which pixels are vessels (row, column)."""
    return taken(retina(rows, random), random, grade=grade)


def retina(rows: int, random: np.random.Generator) -> Retina:
    """Return a retina without lesions, of a right or a left eye."""
    side = random.choice((-1, 1))
    fovea = np.array([0.5 - side * random.uniform(0.04, 0.12), 0.5 + random.uniform(-0.03, 0.03)])
    disc = np.add(fovea, (side * random.uniform(0.29, 0.34), random.uniform(-0.05, 0.01)))
    tone = random.uniform(0.8, 1.15) * np.array([205, 104, 52]) * random.uniform(0.92, 1.08, 3)
    picture = np.full((rows, rows, 3), tone, np.float32)
    choroid = 0.05 * texture(rows, 6, random) + 0.03 * texture(rows, 24, random)
    picture *= (1 + choroid)[..., None]
    x, y = places(rows)
    dark = np.exp(-((x - fovea[0]) ** 2 + (y - fovea[1]) ** 2) / (2 * 0.055**2))
    picture = painted(picture, tone * (0.55, 0.45, 0.4), (0.7 * dark).astype(np.float32))
    radius = random.uniform(0.06, 0.075)
    picture = painted(picture, DISC, inside(lump(rows, disc, radius, random, rough=0.04), 0.02))
    cup = lump(rows, disc, radius * random.uniform(0.3, 0.55), random, rough=0.04)
    picture = painted(picture, (255, 238, 200), inside(cup, 0.02))
    veins, arteries = ([line for _ in range(2) for line in _tree(disc, side, random)] for _ in range(2))
    under, over = strokes(rows, veins), strokes(rows, arteries)
    picture = painted(painted(picture, VEIN, 0.85 * under), ARTERY, 0.75 * over)
    return Retina(picture=picture, vessels=np.maximum(under, over), disc=disc)


def _tree(disc: NDArray[np.float64], side: int, random: np.random.Generator) -> list[Line]:
    """Return vessels from the disc: two arcades round the macula, two to the nasal side, all with branches."""
    lines: list[Line] = []
    for up in (-1, 1):
        arc, reach = random.uniform(0.24, 0.36), random.uniform(0.6, 0.8)
        way = np.linspace(0, 1, 24)
        bow = np.column_stack((-side * reach * way**1.4, up * arc * np.sin(way * random.uniform(1.9, 2.6))))
        lines += _branching(disc + bow, random.uniform(0.012, 0.018), random, twigs=7)
        away = np.column_stack((side * way * 0.3, up * way * random.uniform(0.1, 0.35)))
        lines += _branching(disc + away, random.uniform(0.008, 0.012), random, twigs=3)
    return lines


def _branching(path: NDArray[np.float64], width: float, random: np.random.Generator, *, twigs: int) -> list[Line]:
    """Return a vessel that winds along a path (n, 2) and grows thinner, and the twigs that leave it."""
    way = np.linspace(0, 1, len(path))[:, None]
    winding = sum(random.normal(size=2) * 0.012 / turns * np.sin(way * np.pi * turns) for turns in (1, 3, 5))
    path = path + winding
    pieces = np.array_split(np.arange(len(path)), 4)
    lines = [
        (path[max(piece[0] - 1, 0) : piece[-1] + 1], width * (1 - 0.18 * number)) for number, piece in enumerate(pieces)
    ]
    for start in random.integers(3, len(path) - 2, twigs):
        along = path[start + 1] - path[start]
        turn = random.choice((-1, 1)) * random.uniform(0.4, 1.0)
        towards = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ along
        towards *= random.uniform(0.1, 0.28) / max(float(np.hypot(*along)), 1e-6)
        steps = np.linspace(0, 1, 8)[:, None]
        bend = np.array([-towards[1], towards[0]]) * random.normal() * 0.2
        lines.append((path[start] + towards * steps + bend * np.sin(steps * np.pi), width * random.uniform(0.3, 0.6)))
    return lines


def taken(eye: Retina, random: np.random.Generator, *, grade: int) -> tuple[NDArray[np.uint8], Labels]:
    """Return a photograph of a retina with the lesions of a grade, as `fundus` does."""
    rows = len(eye.picture)
    picture = _with_lesions(eye, random, OF_GRADE[grade])
    x, y = places(rows)
    away = np.hypot(x - 0.5, y - 0.5)
    light = 1.08 - random.uniform(0.2, 0.5) * (away / FIELD) ** 2
    lit = inside(away - np.float32(FIELD), 0.006)
    photo = photographed(picture * (light * lit)[..., None].astype(np.float32), random, noise=5)
    photo[lit == 0] = 0
    return photo, ((eye.vessels >= LEAST_COVERED) & (lit >= LEAST_COVERED)).astype(np.uint8)


def _with_lesions(eye: Retina, random: np.random.Generator, lesions: Lesions) -> Picture:
    rows, picture = len(eye.picture), eye.picture
    for _ in range(_count(lesions.exudates, random)):
        ring, turn = random.uniform(0.02, 0.06), random.uniform(0, 2 * np.pi, random.integers(8, 20))
        around = _somewhere(1, random) + ring * np.column_stack((np.cos(turn), np.sin(turn)))
        around += random.normal(0, 0.008, around.shape)
        picture = painted(picture, YELLOW, 0.95 * spots(rows, around, random.uniform(0.004, 0.009, len(around))))
    for centre in _somewhere(_count(lesions.cotton_wool, random), random):
        soft = inside(lump(rows, centre, random.uniform(0.02, 0.035), random, rough=0.3), 0.025)
        picture = painted(picture, WHITE, 0.85 * soft)
    count = _count(lesions.haemorrhages, random)
    blots = _somewhere(count, random)
    trails = np.concatenate([blots + random.normal(0, 0.007, blots.shape) for _ in range(3)])
    picture = painted(picture, RED, 0.85 * spots(rows, trails, random.uniform(0.006, 0.014, 3 * count)))
    count = _count(lesions.microaneurysms, random)
    picture = painted(picture, RED, 0.85 * spots(rows, _somewhere(count, random), random.uniform(0.005, 0.008, count)))
    for number in range(_count(lesions.new_vessels, random)):
        centre = eye.disc if number == 0 and random.random() < 0.5 else _somewhere(1, random)[0]
        picture = painted(picture, (170, 28, 24), 0.9 * strokes(rows, _tangle(centre, random)))
    for centre in _somewhere(_count(lesions.preretinal, random), random):
        pool = lump(rows, centre, random.uniform(0.07, 0.12), random, rough=0.1)
        level = places(rows)[1] - np.float32(centre[1])
        picture = painted(picture, RED, 0.95 * inside(np.maximum(pool, -level), 0.01))
    return picture


def _count(span: tuple[int, int], random: np.random.Generator) -> int:
    return int(random.integers(span[0], span[1] + 1))


def _somewhere(count: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Return places in the field, (n, 2)."""
    away, turn = FIELD * 0.88 * np.sqrt(random.uniform(0.01, 1, count)), random.uniform(0, 2 * np.pi, count)
    return np.column_stack((0.5 + away * np.cos(turn), 0.5 + away * np.sin(turn)))


def _tangle(centre: NDArray[np.float64], random: np.random.Generator) -> list[Line]:
    """Return new vessels: fine loops that grow from one place."""
    lines: list[Line] = []
    for _ in range(random.integers(10, 18)):
        steps = np.linspace(0, 1, 12)[:, None]
        towards, bend = random.normal(0, 0.05, (2, 2))
        lines.append((centre + towards * steps + bend * np.sin(steps * np.pi * random.uniform(1, 3)), 0.0045))
    return lines
