"""Judge the registration by motions that are known: python triton_models/register_prior/measure.py [FOLDER …]

Move and deform chest phantoms, and the only series of each folder of DICOM images, and register them back.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from node import testing
from node.images.part10 import Part10
from node.images.stacks import group_into_stacks
from node.training import trainer
from node.training.phantoms import Image
from node.training.phantoms.chest import with_vessels
from node.training.phantoms.motion import Motion, moved

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "1"))

from registering import Field, Grid, register  # noqa: E402 (as Triton has it: from its own folder)

PHANTOMS, MOTIONS, POINTS = 6, 4, 300
NOISE = 0.01
"""Of the noise of the moved images, as a part of the range of values."""
LARGE = 400
MARGIN_MM = 10.0
"""Points are measured that lie in both volumes, at least so far from their borders."""

Case = tuple[Image, NDArray[np.float64]]


def phantoms() -> Iterator[Case]:
    """Yield chest phantoms, each with its own vessels."""
    spacing = (5.0, 400 / 96, 400 / 96)
    grid = np.array([[0, 0, spacing[2], -198], [0, spacing[1], 0, -198], [spacing[0], 0, 0, -148], [0, 0, 0, 1]])
    chest = testing.chest_phantom(slices=60, rows=96)
    random = np.random.default_rng(11)
    for _ in range(PHANTOMS):
        yield with_vessels(chest, spacing, random, count=20), grid


def real(folder: Path) -> Case:
    """Return the only series of a folder as whole numbers, with every second row and column of large images."""
    (series,) = group_into_stacks(Part10.of_file(path) for path in sorted(folder.glob("*.dcm"))).series
    volume, affine = series.volume(), series.affine()
    every = 2 if volume.array.shape[1] >= LARGE else 1
    affine[:3, 1:3] *= every
    return np.rint(volume.array[:, ::every, ::every]).astype(np.int16), affine


def judge(fixed: Image, affine: NDArray[np.float64], motion: Motion, random: np.random.Generator) -> dict[str, float]:
    """Return the mean error in mm before, after the rigid step and after both, and the smallest Jacobian."""
    noise = random.standard_normal(fixed.shape, np.float32) * NOISE * float(np.ptp(np.percentile(fixed, (1, 99))))
    moving = np.rint(moved(fixed, affine, motion) + noise).astype(np.int16)
    outside = torch.tensor([int(fixed.min())], dtype=torch.int16)
    place = torch.from_numpy(affine)
    found = register(torch.from_numpy(fixed), place, torch.from_numpy(moving), place, outside)
    there = landmarks(fixed, affine, motion, random)
    here = motion(there)
    vectors, back = torch.as_tensor(found["vectors"]), np.linalg.inv(found["matrix"])
    field = Field(
        vectors.permute(3, 0, 1, 2).contiguous(),
        Grid(tuple(vectors.shape[:3]), torch.as_tensor(found["vectors_affine"])),  # type: ignore[arg-type]
    )
    shifts = field.at(torch.from_numpy(here.astype(np.float32))[None, None]).reshape(3, -1).numpy().T
    ways = {"before": here, "rigid": here @ back[:3, :3].T + back[:3, 3]}
    ways["deformed"] = (here + shifts) @ back[:3, :3].T + back[:3, 3]
    errors = {name: float(np.linalg.norm(points - there, axis=1).mean()) for name, points in ways.items()}
    return errors | {"least Jacobian": float(found["least_jacobian"][0])}


def landmarks(
    fixed: Image, affine: NDArray[np.float64], motion: Motion, random: np.random.Generator
) -> NDArray[np.float64]:
    """Return points (n, 3) of the moved images in the body, mm LPS, that both volumes show."""
    inverse, last = np.linalg.inv(affine), np.array(fixed.shape) - 1
    indices = random.uniform(0, last, (200 * POINTS, 3))
    points = indices @ affine[:3, :3].T + affine[:3, 3]
    sources = motion(points) @ inverse[:3, :3].T + inverse[:3, 3]
    margin = MARGIN_MM / np.linalg.norm(affine[:3, :3], axis=0)
    within = [((places > margin) & (places < last - margin)).all(1) for places in (indices, sources)]
    body = fixed > np.percentile(fixed, 1) + 0.3 * np.ptp(np.percentile(fixed, (1, 99)))
    chosen = np.flatnonzero(within[0] & within[1])
    chosen = chosen[body[tuple(np.rint(sources[chosen]).astype(int).T)]]
    return np.asarray(points[chosen[:POINTS]])


def main(folders: list[Path]) -> None:
    """Print the figures, and write those of the phantoms and of each folder beside this file."""
    torch.set_num_threads(1)
    sets = {"phantom": [(case, 1) for case in phantoms()]} | {path.name: [(real(path), MOTIONS)] for path in folders}
    figures = {}
    for name, cases in sets.items():
        random = np.random.default_rng(3)
        judged = [judge(*case, Motion.drawn(random), random) for case, times in cases for _ in range(times)]
        for what in judged[0]:
            figures[f"{name}: {what}"] = trainer.figure([[case[what]] for case in judged])
            print(f"{name}: {what} {figures[f'{name}: {what}']}", flush=True)  # noqa: T201 (a measurement prints)
    trainer.write_figures(figures, HERE)


if __name__ == "__main__":
    main([Path(word) for word in sys.argv[1:]])
