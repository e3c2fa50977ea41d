"""What all guards answer with: whether images are suitable, why not, and a score."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Seen = TypeVar("Seen")
Answer = dict[str, NDArray[np.bool_] | NDArray[np.float32] | str]
FEWEST_LEVELS = 8
"""Grey values that occur in a picture which shows anything."""
COLOURFUL = 25
"""Of 255: mean difference of the strongest and the weakest colour in a picture that is in colour."""


def answer(score: float, reason: str) -> Answer:
    """Return a guard's outputs: suitable if there is no reason against it."""
    return {"suitable": np.array([not reason]), "reason": reason, "score": np.array([score], np.float32)}


@dataclass(frozen=True, slots=True)
class Check(Generic[Seen]):
    """One condition on what a guard has measured, and its sentence where it does not hold."""

    holds: Callable[[Seen], bool]
    reason: str | Callable[[Seen], str]


def judged(seen: Seen, checks: Sequence[Check[Seen]]) -> Answer:
    """Return a guard's outputs: the reason of the first check that fails, and as score the part of them that hold."""
    failed = [check for check in checks if not check.holds(seen)]
    reason = failed[0].reason if failed else ""
    return answer(1 - len(failed) / len(checks), reason if isinstance(reason, str) else reason(seen))


def blank(plane: Tensor) -> bool:
    """Return whether a plane (row, column, sample), 0 to 255, shows nothing."""
    return int((torch.bincount(plane.float().mean(2).round().long().flatten()) > 0).sum()) < FEWEST_LEVELS


def colourful(plane: Tensor) -> bool:
    """Return whether a plane (row, column, sample), 0 to 255, is in colour, and not grey stored as colour."""
    return bool((plane.amax(2) - plane.amin(2)).mean() > COLOURFUL)


@dataclass(frozen=True, slots=True)
class MeasureLimit:
    """What a measure is in suitable images, and what is seen where it is lower or higher."""

    measure: str
    low: float
    high: float
    seen: str

    def holds(self, measures: Mapping[str, float]) -> bool:
        """Return whether a measure is within its limits."""
        return self.low <= measures[self.measure] <= self.high


def best_of(measured: Sequence[Mapping[str, float]], limits: Sequence[MeasureLimit], expected: str) -> Answer:
    """Answer for the images, each with its measures, by the one that keeps most limits; a blank one has no measures.

    The score is the part of the limits that are kept.
    """
    kept = [sum(limit.holds(one) for limit in limits) if one else -1 for one in measured]
    best = max(range(len(measured)), key=lambda number: kept[number])
    if kept[best] < 0:
        return answer(0.0, f"the image is blank or grey, {expected}")
    broken = [limit for limit in limits if not limit.holds(measured[best])]
    reason = f"these pixels show {broken[0].seen}, {expected}" if broken else ""
    return answer(kept[best] / len(limits), reason)
