"""Move and deform phantoms and real volumes by a motion that is known everywhere, to measure a registration."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from node.training.phantoms import Image

WAVES_MM = ((70.0, 90.0), (80.0, 60.0), (110.0, 75.0))
"""Lengths of the two waves that move points along x, y and z, divided by 2 π."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """A turn around z in radians, a shift and the height of two waves in mm along x, y, z (LPS), and their phase."""

    turn: float
    shift: tuple[float, float, float]
    swings: tuple[float, float, float]
    phase: float = 0.0

    @classmethod
    def drawn(
        cls, random: np.random.Generator, *, turn: float = 0.1, shift: float = 15.0, swing: float = 8.0
    ) -> "Motion":
        """Draw a motion up to these bounds."""
        shifts, swings = random.uniform(-shift, shift, 3).tolist(), random.uniform(-swing, swing, 3).tolist()
        return cls(
            turn=random.uniform(-turn, turn), shift=tuple(shifts), swings=tuple(swings), phase=random.uniform(0, 6)
        )

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take points (…, 3) of the moved images to where they were: mm, LPS."""
        x, y, z = np.moveaxis(points, -1, 0)
        across = ((y, z), (z, x), (x, y))
        waves = [
            swing * 0.5 * (np.sin(place / first + self.phase) + np.cos(other / second + self.phase))
            for swing, (place, other), (first, second) in zip(self.swings, across, WAVES_MM, strict=True)
        ]
        bent = points + np.stack(waves, -1)
        cosine, sine = np.cos(self.turn), np.sin(self.turn)
        turned = bent @ np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
        return np.asarray(turned + self.shift)


def moved(image: Image, affine: NDArray[np.float64], motion: Motion) -> Image:
    """Return what the motion makes of an image on the same grid, (slice, row, column); its lowest value beyond it."""
    lowest = float(image.min())
    values = torch.from_numpy(image.astype(np.float32) - lowest)[None, None]
    inverse, last = np.linalg.inv(affine), np.array(image.shape) - 1
    result = np.empty_like(image)
    rows = np.stack(np.meshgrid(*map(np.arange, image.shape[1:]), indexing="ij"), -1)
    for index in range(len(image)):
        points = rows @ affine[:3, 1:3].T + affine[:3, 3] + affine[:3, 0] * index
        indices = motion(points) @ inverse[:3, :3].T + inverse[:3, 3]
        where = torch.from_numpy((2 * indices / last - 1)[..., ::-1].astype(np.float32)[None, None])
        plane = functional.grid_sample(values, where, align_corners=True)[0, 0, 0].numpy()
        result[index] = np.rint(plane + lowest)
    return result
