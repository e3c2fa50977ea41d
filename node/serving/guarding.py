"""What all guards answer with: whether images are suitable, why not, and a score."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Answer = dict[str, NDArray[np.bool_] | NDArray[np.float32] | str]
FEWEST_LEVELS = 8
"""Grey values that occur in a picture which shows anything."""
COLOURFUL = 25
"""Of 255: mean difference of the strongest and the weakest colour in a picture that is in colour."""


def answer(score: float, reason: str) -> Answer:
    """Return a guard's outputs: suitable if there is no reason against it."""
    return {"suitable": np.array([not reason]), "reason": reason, "score": np.array([score], np.float32)}


def blank(plane: Tensor) -> bool:
    """Return whether a plane (row, column, sample), 0 to 255, shows nothing."""
    return int((torch.bincount(plane.float().mean(2).round().long().flatten()) > 0).sum()) < FEWEST_LEVELS


def colourful(plane: Tensor) -> bool:
    """Return whether a plane (row, column, sample), 0 to 255, is in colour, and not grey stored as colour."""
    return bool((plane.amax(2) - plane.amin(2)).mean() > COLOURFUL)
