"""Volumes of the parts of a brain, and what a network says they are like."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PARTS = 17


def conditions_of(
    labels: Tensor, affine: NDArray[np.float64], network: Callable[[Tensor], Sequence[Tensor]]
) -> tuple[Tensor, Tensor]:
    """Measure and ask.

    labels: uint8 (slice, row, column), 0 none, n the n-th part; affine: float64 (4, 4), (slice, row, column, 1) to mm;
    network: (case, part) float32 in ml in, (case, condition) float32 out.

    Returns
    -------
    volumes: float32 (part): ml.
    conditions: float32 (condition): 0 to 1; not a number where the network says nothing.
    """
    voxel_ml = float(abs(np.linalg.det(affine[:3, :3]))) / 1000
    counts = torch.bincount(labels.flatten().int(), minlength=PARTS + 1)[1:]
    volumes = (counts.double() * voxel_ml).float()
    return volumes, network(volumes[None])[0][0]
