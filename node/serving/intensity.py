"""What is done to the values of a volume before its network, step by step, on whatever device it lies."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .from_words import lists_to_tuples, made_from

SMALLEST = 1e-8
"""What a range or a deviation is at least, where it divides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intensity:
    """One step: clip, scale and normalise, in this order, each where it is asked for.

    Parameters
    ----------
    clip, clip_percentiles
        Lowest and highest value, or the percentiles of the volume that are.
    scale, scale_percentiles
        The two values that become those of `onto`; empty without. Where percentiles are clipped, they are it.
    onto
        What `scale` leads to.
    normalise
        Whether mean and deviation, where they are not given, are the volume's own.
    mean, deviation
        Subtracted, divided by; one number, or one for each role.
    nonzero
        Whether only values other than 0 count and are changed by `normalise`.
    together
        Whether percentiles, mean and deviation are of all roles together, not of each.
    """

    clip: tuple[float, ...] = ()
    clip_percentiles: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    scale_percentiles: tuple[float, ...] = ()
    onto: tuple[float, ...] = (0.0, 1.0)
    normalise: bool = False
    mean: float | tuple[float, ...] | None = None
    deviation: float | tuple[float, ...] | None = None
    nonzero: bool = False
    together: bool = False

    def __post_init__(self) -> None:
        lists_to_tuples(self)
        for name in ("clip", "clip_percentiles", "scale", "scale_percentiles", "onto"):
            low_high = getattr(self, name)
            if len(low_high) not in (0, 2) or sorted(set(low_high)) != list(low_high):
                raise ValueError(f"{name} is a low and a high value")
        if self.deviation is not None and np.min(self.deviation) <= 0:
            raise ValueError("deviation is above 0")

    def of_all(self, volumes: Sequence[Tensor]) -> list[Tensor]:
        """Return the volumes of all roles after this step."""
        if self.together:
            return list(self.of(torch.stack(list(volumes))))
        return [self.of(volume, role) for role, volume in enumerate(volumes)]

    def of(self, x: Tensor, role: int = 0) -> Tensor:
        """Return values after this step."""
        x, scale = x.float(), self.scale
        if self.clip_percentiles:
            ends = percentiles(x, self.clip_percentiles)
            scale = scale or ends
            x = x.clamp(*ends)
        if self.clip:
            x = x.clamp(*self.clip)
        if self.scale_percentiles:
            scale = percentiles(x, self.scale_percentiles)
        if scale:
            part = (x - scale[0]) / max(scale[1] - scale[0], SMALLEST)
            x = part * (self.onto[1] - self.onto[0]) + self.onto[0]
        return self._normalised(x, role) if self.normalise or self.mean is not None else x

    def _normalised(self, x: Tensor, role: int) -> Tensor:
        counted = x[x != 0] if self.nonzero else x
        if not counted.numel():
            return x
        mean = counted.mean() if self.mean is None else self._given(self.mean, role, x)
        deviation = counted.std(correction=0) if self.deviation is None else self._given(self.deviation, role, x)
        changed = (x - mean) / deviation.clamp(min=SMALLEST)
        return torch.where(x != 0, changed, x) if self.nonzero else changed

    def _given(self, value: float | tuple[float, ...], role: int, x: Tensor) -> Tensor:
        """Return a given number as a tensor: that of the role, or of all roles along the first axis."""
        if not isinstance(value, tuple):
            return torch.tensor(value, device=x.device)
        if not self.together:
            return torch.tensor(value[role], device=x.device)
        return torch.tensor(value, device=x.device).reshape(-1, *[1] * (x.ndim - 1))


def percentiles(x: Tensor, percents: Sequence[float]) -> tuple[float, ...]:
    """Percentiles by sorting with NumPy: torch.quantile takes no more than 16 million values."""
    if tuple(percents) == (0, 100):
        return float(x.min()), float(x.max())
    return tuple(float(value) for value in np.percentile(x.cpu().numpy(), percents))


def step_of(words: dict[str, Any]) -> Intensity:
    """Make a step of what people wrote; ValueError where a key is unknown or a value makes no sense."""
    return made_from(Intensity, words, "a step of a chain")
