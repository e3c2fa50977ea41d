"""Brains: what they are made of, in a T1-weighted MR of a head."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node.training.phantoms import Field, Image, Labels

STRUCTURES = (
    "Cerebral white matter",
    "Cerebral cortex",
    "Lateral ventricles",
    "Inferior horns of the lateral ventricles",
    "Cerebellar white matter",
    "Cerebellar cortex",
    "Thalamus",
    "Caudate nucleus",
    "Putamen",
    "Globus pallidus",
    "Third ventricle",
    "Fourth ventricle",
    "Brain stem",
    "Hippocampus",
    "Amygdala",
    "Nucleus accumbens",
    "Ventral diencephalon",
)
"""Both sides together, in the order of their labels from 1 on, which is that of MeshNet's 18 classes."""
LABEL = {name: number for number, name in enumerate(STRUCTURES, 1)}
HEALTHY, DEMENTIA, PARKINSON = "healthy", "dementia", "Parkinson"
STATES: Mapping[str, Mapping[str, float]] = {
    HEALTHY: {},
    DEMENTIA: {
        "Hippocampus": 0.76, "Amygdala": 0.8, "Cerebral cortex": 0.88, "Lateral ventricles": 1.6,
        "Inferior horns of the lateral ventricles": 2.2, "Third ventricle": 1.4,
    },
    PARKINSON: {"Putamen": 0.82, "Caudate nucleus": 0.86, "Globus pallidus": 0.86, "Brain stem": 0.93},
}  # fmt: skip
"""By what volumes differ on average: made up, of the kind that groups of patients show."""
SPREAD, SPREAD_OF_FLUID = 0.08, 0.2
"""Standard deviation of the logarithm of a volume among the healthy."""
SKULL_MM = 62.0, 86.0, 70.0
"""Half the inside of the skull: feet to head, front to back, right to left."""
BONE_MM, SCALP_MM = 7.0, 13.0
"""How far skull and scalp reach outside it."""
FLUID, GREY, WHITE, FAT, BONE, MUSCLE = 0.17, 0.64, 0.95, 1.05, 0.1, 0.45
SULCUS_MM, FOLD_MM, CORTEX_MM = 2.0, 9.0, 7.0
Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class BrainPart:
    """An ellipsoid on either side: where it lies in mm (up, back, sideways), half its axes, its label, its signal."""

    name: str
    centre: Point
    radii: Point
    signal: float


PARTS = (
    BrainPart(name="Cerebellar cortex", centre=(-42, 44, 0), radii=(24, 29, 48), signal=0.62),
    BrainPart(name="Cerebellar white matter", centre=(-41, 42, 18), radii=(10, 14, 19), signal=0.9),
    BrainPart(name="Brain stem", centre=(-48, 24, 0), radii=(32, 12, 13), signal=0.86),
    BrainPart(name="Ventral diencephalon", centre=(-14, 12, 10), radii=(6, 12, 8), signal=0.84),
    BrainPart(name="Lateral ventricles", centre=(14, -2, 11), radii=(8, 34, 6.5), signal=FLUID),
    BrainPart(name="Thalamus", centre=(2, 10, 11), radii=(9, 15, 9), signal=0.8),
    BrainPart(name="Caudate nucleus", centre=(10, -20, 15), radii=(8, 17, 6), signal=0.68),
    BrainPart(name="Nucleus accumbens", centre=(-6, -22, 10), radii=(4.5, 6, 5), signal=0.68),
    BrainPart(name="Putamen", centre=(0, -6, 28), radii=(11, 18, 6), signal=0.73),
    BrainPart(name="Globus pallidus", centre=(-1, -3, 20), radii=(8, 10, 4.5), signal=0.86),
    BrainPart(name="Third ventricle", centre=(-2, 4, 0), radii=(11, 15, 3), signal=FLUID),
    BrainPart(name="Fourth ventricle", centre=(-38, 36, 0), radii=(12, 6, 7), signal=FLUID),
    BrainPart(name="Hippocampus", centre=(-20, 14, 27), radii=(6.5, 20, 7), signal=0.67),
    BrainPart(name="Inferior horns of the lateral ventricles", centre=(-17, 12, 34), radii=(4, 18, 3.5), signal=FLUID),
    BrainPart(name="Amygdala", centre=(-22, -10, 23), radii=(7, 7, 7), signal=0.66),
)
"""In the order in which they are drawn: each over those before it."""


def with_structures(
    places: tuple[Field, Field, Field], random: np.random.Generator, *, state: str = HEALTHY
) -> tuple[Image, Labels]:
    """Return a T1-weighted head, 0 to 4095, and which structure each voxel is of: n is the n-th of `STRUCTURES`.

    Index order (slice, row, column), feet to head, front to back, right to left; `places` are where slices, rows and
    columns lie, in mm from the middle of the brain.
    """
    voxels = _posed(places, random)
    z, y, x = voxels
    side = np.abs(x)
    volumes = _volumes(state, random)
    depth = np.maximum(_depth((z, y, x), SKULL_MM), _depth((z + 40, y - 40, x), (30, 36, 54)))
    signal = _around(z, y, x, depth)
    labels = np.zeros(signal.shape, np.uint8)
    folds = np.sin(x / 5 + random.uniform(0, 6)) * np.sin(y / 6 + random.uniform(0, 6)) * np.sin(z / 5.5)
    sulci = SULCUS_MM + FOLD_MM * np.maximum(folds, 0)
    fissure = (side < 1.5) & (depth < 32)
    cerebrum = (depth > sulci) & ~fissure & ((z > -24) | ((y < 20) & ((side > 20) | (y < -25))))
    ribbon = CORTEX_MM * volumes["Cerebral cortex"]
    cortex = cerebrum & ((depth < sulci + ribbon) | ((side < 1.5 + ribbon) & (depth < 32)))
    for there, name, value in ((cerebrum, "Cerebral white matter", WHITE), (cortex, "Cerebral cortex", GREY)):
        signal[there], labels[there] = value, LABEL[name]
    for part in PARTS:
        size = volumes[part.name] ** (1 / 3)
        there = (
            ((z - part.centre[0]) / (part.radii[0] * size)) ** 2
            + ((y - part.centre[1]) / (part.radii[1] * size)) ** 2
            + ((side - part.centre[2]) / (part.radii[2] * size)) ** 2
        ) < 1
        signal[there], labels[there] = part.signal, LABEL[part.name]
    return _received(signal, voxels, random), labels


def _posed(places: tuple[Field, Field, Field], random: np.random.Generator) -> NDArray[np.float32]:
    """Return where voxels lie in the head's own directions, which are a little turned, moved and stretched."""
    voxels = np.stack(np.meshgrid(*places, indexing="ij")).astype(np.float32)
    turns = np.eye(3)
    for axis in range(3):
        angle = random.uniform(-0.09, 0.09)
        plane = np.ix_([(axis + 1) % 3, (axis + 2) % 3], [(axis + 1) % 3, (axis + 2) % 3])
        turn = np.eye(3)
        turn[plane] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        turns = turns @ turn
    turns = turns / random.uniform(0.94, 1.07, 3)[:, None]
    moved = np.tensordot(turns.astype(np.float32), voxels, 1) + random.uniform(-7, 7, (3, 1, 1, 1))
    return np.asarray(moved, np.float32)


def _volumes(state: str, random: np.random.Generator) -> dict[str, float]:
    """Return the difference of the volume of each structure from its usual volume."""
    factors = STATES[state]
    return {
        name: factors.get(name, 1.0) * np.exp(random.normal(0, SPREAD_OF_FLUID if "entricle" in name else SPREAD))
        for name in STRUCTURES
    }


def _depth(zyx: tuple[Field, ...], radii: Point) -> NDArray[np.float32]:
    """Return how far voxels lie inside an ellipsoid, in mm; negative outside."""
    unit = np.sqrt(sum((place / radius) ** 2 for place, radius in zip(zyx, radii, strict=True))) + 1e-6
    return np.asarray((1 / unit - 1) * np.sqrt(sum(place**2 for place in zyx)), np.float32)


def _around(z: Field, y: Field, x: Field, depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what lies around the brain: fluid, skull, scalp, face and neck."""
    neck = (z < -40) & ((x / 58) ** 2 + ((y - 10) / 62) ** 2 < 1)
    face = ((z + 62) / 52) ** 2 + ((y + 55) / 42) ** 2 + (x / 58) ** 2 < 1
    parts = [depth > 0, depth > -BONE_MM, depth > -SCALP_MM, neck | face]
    return np.select(parts, [np.float32(value) for value in (FLUID, BONE, FAT, MUSCLE)], np.float32(0))


def _received(signal: NDArray[np.float32], zyx: NDArray[np.float32], random: np.random.Generator) -> Image:
    """Return the signal as a scanner has it: stronger near the coil, with noise."""
    lean = random.uniform(-0.0012, 0.0012, 3).astype(np.float32)
    near = 1 + np.tensordot(lean, zyx, 1)
    strength = np.float32(random.uniform(0.02, 0.05))
    noise = random.standard_normal((2, *signal.shape), np.float32) * strength
    magnitude = np.hypot(signal ** random.uniform(0.85, 1.15) * near + noise[0], noise[1])
    return np.asarray(np.clip(np.rint(magnitude * random.uniform(500, 1400)), 0, 4095), np.int16)
