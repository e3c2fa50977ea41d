"""Planes through a network that gives a map for every class: probabilities, and where each class was seen.

The network answers (plane, channel, row, column) with class maps whose mean is the class's logit, so the explanation
is the network's own sum: class activation mapping (Zhou et al. 2016), what Grad-CAM (Selvaraju et al. 2017) comes to
where features are averaged over the plane before the last layer.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

FILE = "planes.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneChain:
    """How planes are prepared for a network, and how much of its answer is returned.

    Parameters
    ----------
    size
        Rows and columns of the network's input.
    windows
        Lowest and highest value of each channel, which become 0 and 1; in colour each is of red, green and blue.
        Without any, values run from the 1st to the 99th percentile of each plane.
    exclusive
        Whether the classes exclude one another, so that their probabilities add up to 1.
    maps
        Number of classes that maps are returned for: those that are likeliest in any plane.
    at_once
        Planes that go through the network together.
    """

    size: tuple[int, int]
    windows: tuple[tuple[float, float], ...] = ()
    exclusive: bool = False
    maps: int = 1
    at_once: int = 8

    @classmethod
    def read(cls, path: Path) -> "PlaneChain":
        """Read what was written as JSON; TypeError where a key is unknown."""
        keys: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        windows = tuple(tuple(window) for window in keys.pop("windows", ()))
        return cls(**{**keys, "size": tuple(keys["size"]), "windows": windows})


@dataclass(frozen=True, slots=True)
class PlaneClasses:
    """What a network saw in planes.

    `probabilities` (plane, class), float32; `shown`, the classes that have maps, int64, likeliest first; `maps` (shown,
    plane, row, column), float32, on the planes' own pixels, 0 to 1: the evidence for the class, as a part of the
    highest in any plane.
    """

    probabilities: Tensor
    shown: Tensor
    maps: Tensor


def network_input(chain: PlaneChain, planes: Tensor) -> Tensor:
    """Return planes, (plane, row, column) or in colour (plane, row, column, sample), as the network gets them.

    That is (plane, channel, row, column), 0 to 1.
    """
    samples = planes[:, None] if planes.ndim == 3 else planes.movedim(3, 1)
    given = functional.interpolate(samples.float(), chain.size, mode="area")
    if chain.windows:
        return torch.cat([((given - low) / (high - low)).clamp(0, 1) for low, high in chain.windows], 1)
    edges = torch.quantile(given.flatten(1), torch.tensor([0.01, 0.99], device=given.device), dim=1)
    low, high = edges[:, :, None, None, None]
    scaled: Tensor = (given - low) / (high - low).clamp(min=1e-6)
    return scaled.clamp(0, 1)


def classify(chain: PlaneChain, planes: Tensor, network: Callable[[Tensor], Tensor]) -> PlaneClasses:
    """Ask a network about planes as `network_input` takes them.

    Raises
    ------
    ValueError
        The network does not answer each plane with finite class maps.
    """
    answers = [network(network_input(chain, some)) for some in torch.split(planes, chain.at_once)]
    maps = torch.cat(answers)
    if maps.ndim != 4 or len(maps) != len(planes) or not bool(torch.isfinite(maps).all()):
        raise ValueError(f"the network answered {tuple(planes.shape)} with {tuple(maps.shape)}: no finite class maps")
    logits = maps.mean((2, 3))
    probabilities = logits.softmax(1) if chain.exclusive else logits.sigmoid()
    shown = probabilities.amax(0).argsort(descending=True)[: chain.maps]
    evidence = maps[:, shown].relu().transpose(0, 1)
    part = evidence / evidence.amax((1, 2, 3), keepdim=True).clamp(min=1e-6)
    return PlaneClasses(probabilities, shown, functional.interpolate(part, planes.shape[1:3], mode="bilinear"))
