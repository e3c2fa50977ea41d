"""The answer of every guard: whether images are suitable, why not, and a score."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Seen_contra = TypeVar("Seen_contra", contravariant=True)
Answer = dict[str, NDArray[np.bool_] | NDArray[np.float32] | str]
FEWEST_LEVELS = 8
"""A picture with fewer different grey values is blank."""
COLOURFUL = 25
"""Of 255: a picture is in colour if the strongest and the weakest colour differ by more on average."""


def answer(score: float, reason: str) -> Answer:
    """Return the outputs of a guard; the images are suitable if the reason is empty."""
    return {"suitable": np.array([not reason]), "reason": reason, "score": np.array([score], np.float32)}


@dataclass(frozen=True, slots=True)
class Check(Generic[Seen_contra]):
    """One condition on the measurements of a guard, and the reason to give if it does not hold."""

    holds: Callable[[Seen_contra], bool]
    reason: str | Callable[[Seen_contra], str]


def answer_by_checks(seen: Seen_contra, checks: Sequence[Check[Seen_contra]]) -> Answer:
    """Return the outputs of a guard, with the reason of the first check that fails; the score is the part that hold."""
    failed = [check for check in checks if not check.holds(seen)]
    reason = failed[0].reason if failed else ""
    return answer(1 - len(failed) / len(checks), reason if isinstance(reason, str) else reason(seen))


def blank(plane: Tensor) -> bool:
    """Return whether a plane (row, column, sample), 0 to 255, is blank."""
    return int((torch.bincount(plane.float().mean(2).round().long().flatten()) > 0).sum()) < FEWEST_LEVELS


def colourful(plane: Tensor) -> bool:
    """Return whether a plane (row, column, sample), 0 to 255, is in colour, and not grey stored as colour."""
    return bool((plane.amax(2) - plane.amin(2)).mean() > COLOURFUL)


@dataclass(frozen=True, slots=True)
class MeasureLimit:
    """The limits of a measure in suitable images, and what the pixels show if it lies outside."""

    measure: str
    low: float
    high: float
    seen: str

    def holds(self, measures: Mapping[str, float]) -> bool:
        """Return whether a measure is within its limits."""
        return self.low <= measures[self.measure] <= self.high


def answer_by_best_image(
    measured: Sequence[Mapping[str, float]], limits: Sequence[MeasureLimit], expected: str
) -> Answer:
    """Return the outputs of a guard for the image that keeps most limits; a blank image has no measures.

    The score is the part of the limits that this image keeps.
    """
    kept = [sum(limit.holds(measures) for limit in limits) if measures else -1 for measures in measured]
    best = max(range(len(measured)), key=lambda number: kept[number])
    if kept[best] < 0:
        return answer(0.0, f"the image is blank or grey, {expected}")
    broken = [limit for limit in limits if not limit.holds(measured[best])]
    reason = f"these pixels show {broken[0].seen}, {expected}" if broken else ""
    return answer(kept[best] / len(limits), reason)
