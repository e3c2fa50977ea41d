"""Radiographs of the chest from the front, with twenty findings, each drawn where and as it is seen most often.

Places are (u, v), from -1 to 1: from the left of the image, which is the patient's right, to its right, and from its
top to its bottom. Values are brightness from 0 to 1 until they are stored.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node.training.phantoms.shapes import within

Part = NDArray[np.float32]
"""Which part of each pixel is covered, 0 to 1, (row, column)."""
WHITE = 4095
AIR, LUNG, TISSUE, BELLY, SOLID = 0.03, 0.2, 0.55, 0.7, 0.78
EDGE = 0.012
MIDDLE_OF_LUNG = 0.42, -0.05
HALF_LUNG = 0.31, 0.66


@dataclass(slots=True, kw_only=True, eq=False)
class Scene:
    """A chest as far as it is drawn.

    `u`, `v`: the place of each pixel; `image`: its brightness; `lungs`: what is lung on the left and on the right of
    the image; `reach`: how far a place lies outside the oval of either; `floor`: how far down each lung goes.
    """

    u: Part
    v: Part
    image: Part
    lungs: tuple[Part, Part]
    reach: tuple[Part, Part]
    floor: tuple[float, float]

    def add(self, part: Part, brightness: float) -> Part:
        """Lay something over what is there; return where."""
        self.image += part * np.float32(brightness)
        return part

    def fill(self, part: Part, brightness: float) -> Part:
        """Put something in the place of what is there; return where."""
        self.image += part * (np.float32(brightness) - self.image)
        return part

    def oval(self, centre: tuple[float, float], radii: tuple[float, float]) -> Part:
        """Return how far each place lies outside an upright ellipse, about."""
        far = np.sqrt(((self.u - centre[0]) / radii[0]) ** 2 + ((self.v - centre[1]) / radii[1]) ** 2)
        return np.asarray((far - 1) * min(radii), np.float32)

    def spot(self, centre: tuple[float, float], radius: float) -> Part:
        """Return a soft spot, 1 in its middle."""
        away = (self.u - centre[0]) ** 2 + (self.v - centre[1]) ** 2
        return np.asarray(np.exp(-away / (2 * radius**2)), np.float32)

    def line(self, start: tuple[float, float], end: tuple[float, float], width: float) -> Part:
        """Return a straight line."""
        along = np.subtract(end, start)
        length = float(np.hypot(*along))
        place = ((self.u - start[0]) * along[0] + (self.v - start[1]) * along[1]) / length
        near = np.clip(place, 0, length)
        across = np.hypot(self.u - start[0] - near * along[0] / length, self.v - start[1] - near * along[1] / length)
        return within(np.asarray(across - width / 2, np.float32), EDGE)


Random = np.random.Generator
Drawn = Callable[[Scene, Random], Part]


def _side(random: Random) -> int:
    return int(random.integers(2))


def _sign(side: int) -> int:
    return 1 if side else -1


def _in_lung(scene: Scene, random: Random, *, low: float = -0.45, high: float = 0.35) -> tuple[int, float, float]:
    """Return a side and a place well within that lung."""
    side = _side(random)
    v = random.uniform(low, min(high, scene.floor[side] - 0.12))
    wide = HALF_LUNG[0] * np.sqrt(max(1 - ((v - MIDDLE_OF_LUNG[1]) / HALF_LUNG[1]) ** 2, 0))
    return side, _sign(side) * (MIDDLE_OF_LUNG[0] + random.uniform(0, 0.55) * wide), v


def _haze(scene: Scene, random: Random) -> Part:
    return scene.add(scene.lungs[_side(random)], random.uniform(0.17, 0.24))


def _effusion(scene: Scene, random: Random) -> Part:
    side = _side(random)
    rise = 0.5 * np.maximum(np.abs(scene.u) - 0.35, 0)
    fluid = within(scene.floor[side] - random.uniform(0.16, 0.4) - rise - scene.v, EDGE)
    return scene.fill(scene.lungs[side] * fluid, 0.72)


def _consolidation(scene: Scene, random: Random) -> Part:
    side = _side(random)
    return scene.fill(scene.lungs[side] * within(scene.v - random.uniform(-0.35, -0.2), EDGE), 0.66)


def _pneumothorax(scene: Scene, random: Random) -> Part:
    side = _side(random)
    shrunk = scene.oval(
        (_sign(side) * (MIDDLE_OF_LUNG[0] - 0.1), MIDDLE_OF_LUNG[1] + 0.14), (HALF_LUNG[0] - 0.1, HALF_LUNG[1] - 0.16)
    )
    free = scene.lungs[side] * (1 - within(shrunk, EDGE))
    scene.fill(free, 0.06)
    scene.add(scene.lungs[side] * within(np.abs(shrunk) - 0.008, EDGE), 0.3)
    return free


def _emphysema(scene: Scene, random: Random) -> Part:
    both = scene.lungs[0] + scene.lungs[1]
    scene.image *= 1 - np.float32(random.uniform(0.4, 0.5)) * both
    return both * within(0.2 - scene.v, EDGE)


def _oedema(scene: Scene, random: Random) -> Part:
    both = scene.lungs[0] + scene.lungs[1]
    wings = (scene.spot((-0.27, 0.0), 0.15) + scene.spot((0.27, 0.0), 0.15)) * both
    scene.add(wings, random.uniform(0.35, 0.5))
    outside = within(0.56 - np.abs(scene.u), EDGE) * both * within(0.05 - scene.v, EDGE)
    scene.add(outside * (np.sin(scene.v * 2 * np.pi / 0.09) > 0.3), 0.2)
    return wings


def _fibrosis(scene: Scene, random: Random) -> Part:
    base = (scene.lungs[0] + scene.lungs[1]) * within(random.uniform(0.05, 0.15) - scene.v, 0.05)
    turn = random.uniform(0, np.pi / 2)
    across = scene.u * np.cos(turn) + scene.v * np.sin(turn)
    along = scene.v * np.cos(turn) - scene.u * np.sin(turn)
    net = np.maximum(np.cos(across * 2 * np.pi / 0.1), np.cos(along * 2 * np.pi / 0.1)) > 0.6
    scene.add(base * net, 0.26)
    return base


def _infiltration(scene: Scene, random: Random) -> Part:
    side, u, v = _in_lung(scene, random, low=-0.3, high=0.2)
    zone = scene.lungs[side] * within(scene.oval((u, v), (0.24, 0.24)), 0.05)
    scene.add(zone * (0.5 + np.sin(scene.u * 2 * np.pi / 0.16) * np.sin(scene.v * 2 * np.pi / 0.16)), 0.27)
    return zone


def _pneumonia(scene: Scene, random: Random) -> Part:
    side, u, v = _in_lung(scene, random, low=-0.25, high=0.3)
    cloud = scene.spot((u, v), 0.14) * scene.lungs[side]
    scene.add(cloud, random.uniform(0.4, 0.5))
    for slant in (-0.14, 0.0, 0.14):  # air in the bronchi
        scene.add(cloud * scene.line((_sign(side) * 0.2, v), (u + _sign(side) * 0.2, v + slant), 0.04), -0.45)
    return np.asarray(cloud > 0.3, np.float32)


def _atelectasis(scene: Scene, random: Random) -> Part:
    side, u, v = _in_lung(scene, random, low=0.05, high=0.35)
    slope = random.uniform(0.15, 0.4) * _sign(_side(random))
    plates = [
        scene.line((u - 0.2, v + down - 0.2 * slope), (u + 0.2, v + down + 0.2 * slope), 0.04)
        for down in (-0.1, 0, 0.1)
    ]
    return scene.add(scene.lungs[side] * np.maximum.reduce(plates), 0.5)


def _thickening(scene: Scene, random: Random) -> Part:
    side = _side(random)
    band = within(-0.09 - scene.reach[side], EDGE)
    outer = within(MIDDLE_OF_LUNG[0] - np.abs(scene.u), EDGE) * within(scene.v - random.uniform(0.1, 0.3), EDGE)
    return scene.fill(scene.lungs[side] * band * outer, 0.64)


def _mass(scene: Scene, random: Random) -> Part:
    _, u, v = _in_lung(scene, random)
    radius = random.uniform(0.1, 0.14)
    return scene.add(within(scene.oval((u, v), (radius, radius * random.uniform(0.85, 1.15))), EDGE), 0.5)


def _nodule(scene: Scene, random: Random) -> Part:
    _, u, v = _in_lung(scene, random)
    radius = random.uniform(0.04, 0.055)
    return scene.add(within(scene.oval((u, v), (radius, radius)), EDGE), 0.5)


def _cavity(scene: Scene, random: Random) -> Part:
    _, u, v = _in_lung(scene, random, high=0.2)
    whole = scene.oval((u, v), (0.11, 0.11))
    scene.fill(within(whole, EDGE), 0.08)
    scene.add(within(np.abs(whole + 0.02) - 0.02, EDGE), 0.5)
    return within(whole, EDGE)


def _hernia(scene: Scene, random: Random) -> Part:
    v = random.uniform(0.36, 0.44)
    whole = scene.oval((random.uniform(-0.02, 0.08), v), (0.14, 0.12))
    pouch = within(whole, EDGE)
    scene.fill(pouch * within(scene.v - v, EDGE), 0.25)
    scene.fill(pouch * within(v - scene.v, EDGE), 0.95)
    return pouch


def _calcification(scene: Scene, random: Random) -> Part:
    knob = scene.oval((0.15, -0.34), (0.09, 0.09))
    arc = within(np.abs(knob) - 0.025, EDGE) * within(0.1 - scene.u, EDGE)
    return scene.fill(arc, random.uniform(0.92, 1.0))


def _device(scene: Scene, random: Random) -> Part:
    if random.random() < 0.5:
        tube = scene.line((random.uniform(-0.03, 0.03), -1), (0, random.uniform(-0.35, -0.2)), 0.035)
        return scene.add(tube, 0.45)
    side = _sign(_side(random))
    box = np.maximum(np.abs(scene.u - side * 0.5) - 0.1, np.abs(scene.v + 0.5) - 0.08)
    pacemaker = np.maximum(within(box, EDGE), scene.line((side * 0.42, -0.44), (0.1, 0.3), 0.025))
    return scene.fill(pacemaker, 1.0)


DRAWN: Mapping[str, Drawn] = {
    "emphysema": _emphysema,
    "lung opacity": _haze,
    "oedema": _oedema,
    "fibrosis": _fibrosis,
    "infiltration": _infiltration,
    "pneumonia": _pneumonia,
    "consolidation": _consolidation,
    "effusion": _effusion,
    "pneumothorax": _pneumothorax,
    "pleural thickening": _thickening,
    "atelectasis": _atelectasis,
    "hernia": _hernia,
    "lung lesion": _cavity,
    "mass": _mass,
    "nodule": _nodule,
    "calcification": _calcification,
    "support devices": _device,
}
"""What is laid over a chest, the large first, so that it does not hide the small."""
SHAPED = "cardiomegaly", "enlarged cardiomediastinum", "fracture"
"""What changes the chest itself."""
FINDINGS = tuple(sorted((*DRAWN, *SHAPED)))
LESIONS = "lung lesion", "mass", "nodule"
IMPLIED = {
    "lung lesion": LESIONS,
    "lung opacity": (*LESIONS, "atelectasis", "consolidation", "infiltration", "lung opacity", "oedema", "pneumonia"),
}
"""What is there too where one of these is (CheXpert, Irvin et al. 2019)."""


def radiograph(
    rows: int, random: Random, findings: Collection[str] = ()
) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """Return a square radiograph (row, column), 0 to 4095, and where each of `FINDINGS` is (finding, row, column)."""
    scene, shaped = _chest(rows, random, findings)
    marks = np.zeros((len(FINDINGS), rows, rows), np.bool_)
    for name, part in shaped.items():
        marks[FINDINGS.index(name)] = part > 0.5
    for name, draw in DRAWN.items():
        if name in findings:
            marks[FINDINGS.index(name)] = draw(scene, random) > 0.5
    for name, kinds in IMPLIED.items():
        marks[FINDINGS.index(name)] = marks[[FINDINGS.index(kind) for kind in kinds]].any(0)
    noise = random.standard_normal(scene.image.shape, np.float32) * np.float32(random.uniform(0.01, 0.025))
    seen = np.clip(scene.image + noise, 0, 1) ** np.float32(random.uniform(0.85, 1.15))
    return np.rint(seen * WHITE).astype(np.int16), marks


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """How a chest is built: centre, half widths and floors of its lungs, arch of the diaphragm, heart, mediastinum."""

    lung: tuple[float, float]
    half_lung: tuple[float, float]
    floor: tuple[float, float]
    arch: float
    heart: tuple[float, float]
    middle: float


def _build(random: Random, findings: Collection[str]) -> Build:
    flat, large, wide = (name in findings for name in ("emphysema", "cardiomegaly", "enlarged cardiomediastinum"))
    low = 0.72 if flat else random.uniform(0.42, 0.5)
    return Build(
        lung=(MIDDLE_OF_LUNG[0], 0.05) if flat else MIDDLE_OF_LUNG,
        half_lung=(0.33, 0.78) if flat else HALF_LUNG,
        floor=(low - random.uniform(0, 0.04), low),
        arch=0.0 if flat else 1.5,
        heart=(random.uniform(0.42, 0.5), 0.32) if large else (random.uniform(0.2, 0.25), 0.26),
        middle=random.uniform(0.24, 0.3) if wide else random.uniform(0.09, 0.12),
    )


def _places(rows: int, random: Random) -> tuple[Part, Part]:
    """Return u and v of each pixel, of a chest that lies a little aside, turned, and larger or smaller than others."""
    place = np.linspace(-1, 1, rows, dtype=np.float32)
    turn, size, *shift = (random.uniform(-limit, limit) for limit in (0.03, 0.05, 0.04, 0.04))
    v, u = np.meshgrid(place - np.float32(shift[0]), place - np.float32(shift[1]), indexing="ij")
    scale, turned = np.float32(0.99 + size), np.float32(turn)
    return scale * (u + turned * v), scale * (v - turned * u)


def _chest(rows: int, random: Random, findings: Collection[str]) -> tuple[Scene, dict[str, Part]]:
    """Return a chest without what is laid over it, and where its shape is a finding."""
    build = _build(random, findings)
    u, v = _places(rows, random)
    scene = Scene(u=u, v=v, image=np.full(u.shape, AIR, np.float32), lungs=(u, u), reach=(u, u), floor=build.floor)
    scene.fill(within(np.maximum(np.abs(u) - 0.9 + 0.35 * np.maximum(-0.6 - v, 0), -1.2 - v), 0.03), TISSUE)
    heart = within(scene.oval((0.1, 0.28), build.heart), EDGE)
    knob = scene.oval((0.15, -0.34), (0.09, 0.09))
    middle = within(np.minimum(np.abs(u) - build.middle - 0.03 * np.maximum(v, 0), knob), EDGE)
    solid = np.maximum(heart, middle)
    left, right = (scene.oval((_sign(side) * build.lung[0], build.lung[1]), build.half_lung) for side in (0, 1))
    scene.reach = left, right
    dome = build.arch * (np.abs(u) - MIDDLE_OF_LUNG[0]) ** 2
    left, right = (
        within(scene.reach[side], EDGE) * within(v - build.floor[side] - dome, EDGE) * (1 - solid) * ((u > 0) == side)
        for side in (0, 1)
    )
    scene.lungs = left, right
    lungs, trunk = left + right, within(np.abs(u) - 0.85, EDGE)
    scene.fill(lungs, LUNG)
    scene.fill(solid * trunk, SOLID)
    scene.fill(within(0.47 - v, 0.04) * trunk * (1 - lungs), BELLY)
    _vessels(scene, random, lungs)
    ribs = np.sin((v - 1.4 * (np.abs(u) - 0.4) ** 2) * 2 * np.pi / 0.2 + random.uniform(0, 6)) > 0.55
    scene.add(within(np.minimum(*scene.reach) - 0.05, EDGE) * ribs, 0.06)
    shaped = {
        "cardiomegaly": heart,
        "enlarged cardiomediastinum": middle * within(v - 0.1, EDGE) * within(-0.75 - v, EDGE),
        "fracture": _clavicles(scene, random, broken="fracture" in findings),
    }
    return scene, {name: part for name, part in shaped.items() if name in findings}


def _vessels(scene: Scene, random: Random, lungs: Part) -> None:
    for side in (0, 1):
        start = _sign(side) * 0.17, 0.0
        scene.add(lungs * scene.spot(start, 0.08), 0.18)
        for angle in random.uniform(-1.2, 1.2, 5):
            end = start[0] + _sign(side) * 0.38 * np.cos(angle), 0.45 * np.sin(angle)
            scene.add(lungs * scene.line(start, end, 0.012), 0.07)


def _clavicles(scene: Scene, random: Random, *, broken: bool) -> Part:
    """Draw both clavicles; return where one of them is broken."""
    side = _side(random)
    for half in (0, 1):
        inner, outer = (_sign(half) * 0.14, -0.58), (_sign(half) * 0.72, -0.68)
        if not broken or half != side:
            scene.add(scene.line(inner, outer, 0.05), 0.25)
            continue
        along, drop = random.uniform(0.4, 0.6), random.uniform(0.09, 0.13)
        u, v = (start + (end - start) * along for start, end in zip(inner, outer, strict=True))
        scene.add(scene.line(inner, (u, v), 0.05), 0.25)
        scene.add(scene.line((u - _sign(half) * 0.05, v + drop), (outer[0], outer[1] + drop), 0.05), 0.25)
        place = scene.oval((u, v + drop / 2), (0.13, 0.13))
    return within(place, EDGE) if broken else np.zeros_like(scene.image)
