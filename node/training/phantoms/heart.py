"""Hearts: a left ventricle that contracts, in cine images along its short axis."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node.training.phantoms import Field, Image, Labels
from node.training.phantoms.shapes import within

CAVITY, MYOCARDIUM = 1, 2
BLOOD, MUSCLE, LUNG, LIVER, FAT = 900.0, 300.0, 60.0, 380.0, 780.0
"""Signals, before gain and noise."""
EDGE_MM = 1.2
ABOVE_MM = 12.0
"""How far above the base of the ventricle the first image lies: in the atrium."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heart:
    """A left ventricle: half an ellipsoid in half an ellipsoid, cut off at its base.

    Parameters
    ----------
    radius, wall, length
        mm at the end of diastole: of the cavity at the base, of the wall, of the cavity from base to apex.
    shortening, lift
        Which part of its radius the cavity loses until the end of systole, and by which part of its length the base
        comes down; the apex stays, and so does the volume of the muscle.
    systole
        Which part of the heartbeat the contraction takes.
    """

    radius: float
    wall: float
    length: float
    shortening: float
    lift: float
    systole: float = 0.38

    @classmethod
    def drawn(cls, random: np.random.Generator) -> "Heart":
        """Return a heart with random measures, as patients have them."""
        return cls(
            radius=random.uniform(20, 32),
            wall=random.uniform(7, 13),
            length=random.uniform(70, 95),
            shortening=random.uniform(0.08, 0.42),
            lift=random.uniform(0.05, 0.2),
            systole=random.uniform(0.3, 0.45),
        )

    def contraction(self, phase: float) -> float:
        """Return how far it has contracted at a part of the heartbeat, 0 to 1: up in systole, back after it."""
        if phase < self.systole:
            return float(np.sin(np.pi / 2 * phase / self.systole) ** 2)
        return float(np.cos(np.pi / 2 * min((phase - self.systole) / (0.9 - self.systole), 1)) ** 2)

    def measures(self, phase: float) -> tuple[float, float, float, float]:
        """Return base (mm below where it is at first), radius and length of the cavity, radius around the muscle."""
        part = self.contraction(phase)
        base = self.lift * self.length * part
        radius, length = self.radius * (1 - self.shortening * part), self.length - base
        muscle = (self.radius + self.wall) ** 2 * (self.length + self.wall) - self.radius**2 * self.length
        outer = np.sqrt((radius**2 * length + muscle) / (length + self.wall))
        return base, radius, length, float(outer)

    def millilitres(self, phase: float) -> float:
        """Return the volume of the cavity, papillary muscles included."""
        _, radius, length, _ = self.measures(phase)
        return 2 / 3 * np.pi * radius**2 * length / 1000

    @property
    def muscle_ml(self) -> float:
        """The volume of the muscle."""
        _, radius, length, outer = self.measures(0.0)
        return 2 / 3 * np.pi * (outer**2 * (length + self.wall) - radius**2 * length) / 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cine:
    """Images along the short axis: signal and labels (phase, slice, row, column), base to apex; 1 cavity, 2 muscle."""

    signal: Image
    labels: Labels


def cine(
    heart: Heart, random: np.random.Generator, *, phases: NDArray[np.float64], heights: NDArray[np.float64], rows: int,
    pixel: float,
) -> Cine:  # fmt: skip
    """Return a heart at parts of its beat, on slices at heights in mm from the base to the apex.

    The images are square, of `rows` pixels, `pixel` mm wide.
    """
    across = (np.arange(rows) - (rows - 1) / 2) * pixel
    turn, squeeze = random.uniform(-0.5, 0.5), random.uniform(0.93, 1.07)
    y, x = np.meshgrid(across + random.uniform(-15, 15), across + random.uniform(-15, 15), indexing="ij")
    x, y = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    away = np.hypot(x * squeeze, y / squeeze)
    around = _chest(x, y, random)
    texture = 1 + 0.12 * np.sin(x / 2.3 + random.uniform(0, 6)) * np.sin(y / 2.9 + random.uniform(0, 6))
    angles = random.uniform(-0.4, 0.4) + np.array([0.9, 2.4])
    signal = np.empty((len(phases), len(heights), rows, rows), np.float32)
    labels = np.zeros(signal.shape, np.uint8)
    for at, phase in enumerate(phases):
        base, radius, length, outer = heart.measures(float(phase))
        for number, height in enumerate(heights):
            plane = around.copy()
            below = height - base
            inside = radius * np.sqrt(max(1 - (below / length) ** 2, 0)) if below >= 0 else 0.85 * heart.radius
            whole = outer * np.sqrt(max(1 - (below / (length + heart.wall)) ** 2, 0)) if below >= 0 else inside
            right = np.hypot(x + outer + 8, y / 1.2) - 0.95 * outer * np.sqrt(max(1 - (max(below, 0) / length) ** 2, 0))
            _paint(plane, right, BLOOD * texture)
            _paint(plane, away - whole, MUSCLE)
            _paint(plane, away - inside, BLOOD * texture)
            if 0.25 * length < below < 0.7 * length:
                for angle in angles:
                    papilla = np.hypot(x - 0.6 * inside * np.cos(angle), y - 0.6 * inside * np.sin(angle))
                    _paint(plane, papilla - 0.17 * inside, MUSCLE)
            signal[at, number] = plane
            if below >= 0:
                labels[at, number][away < whole] = MYOCARDIUM
                labels[at, number][away < inside] = CAVITY
    return Cine(signal=_received(signal, random), labels=labels)


def _chest(x: Field, y: Field, random: np.random.Generator) -> NDArray[np.float32]:
    """Return what lies around the heart: lung, liver below, fat of the chest's wall in front, and around the heart."""
    plane = np.full(x.shape, LUNG, np.float32)
    _paint(plane, np.hypot(x + 30, y - 15) - random.uniform(60, 75), LIVER * random.uniform(0.5, 0.9))
    _paint(plane, random.uniform(45, 60) - y, LIVER)
    _paint(plane, random.uniform(55, 75) + y, FAT)
    _paint(plane, np.hypot(x + 18, y) - random.uniform(48, 58), FAT * random.uniform(0.6, 1.0))
    return plane


def _paint(plane: NDArray[np.float32], outside: Field, value: float | Field) -> None:
    """Put a signal where a shape is, with soft edges."""
    part = within(np.asarray(outside, np.float32), EDGE_MM)
    plane += (value - plane) * part


def _received(signal: NDArray[np.float32], random: np.random.Generator) -> Image:
    """Return a signal with gain, the shading of a coil, and noise of magnitudes."""
    shading = np.linspace(1 + random.uniform(0, 0.3), 1 - random.uniform(0, 0.3), signal.shape[2], dtype=np.float32)
    signal = signal * shading[:, None] * np.float32(random.uniform(0.5, 1.6))
    noise = random.standard_normal((2, *signal.shape), np.float32) * np.float32(random.uniform(8, 30))
    magnitude = np.hypot(signal + noise[0], noise[1])
    return np.asarray(np.rint(magnitude).clip(0, 4095), np.int16)
