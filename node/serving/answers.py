"""What a network's answer becomes on the server: labels, findings, boxes or images, all on the images' own grid."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .chain import NOTHING, Chain
from .grid import Axis, Placed, in_order, to_images
from .sliding_window import Network, activated, filled, infer, starts, window, window_of
from .volume import checked, prepared, segment

Found = tuple[Tensor, Tensor, Tensor]
Asked = Callable[[Tensor], Tensor | Found]
"""A network, asked with (tile, channel, …); a detector, asked with one tile, gives boxes, scores and classes."""
Answer = dict[str, Tensor | NDArray[Any]]


def labels(chain: Chain, images: Sequence[Placed], network: Network) -> Answer:
    """Return `labels` (uint8): 0 none, n the n-th class."""
    return {"labels": segment(chain, images, network), "affine": images[0][1]}


def findings(chain: Chain, images: Sequence[Placed], network: Network) -> Answer:
    """Return `probabilities` (float32) of a network's findings, and which are `present` (bool).

    Of a 2-D network in several planes: the mean where findings exclude one another, the highest where they do not.

    Raises
    ------
    ValueError
        The network answers with something else than one finite number for each finding.
    """
    x, _ = prepared(chain, images)
    tile = window(chain, x.shape[1:])
    whole, _ = filled(x, tile, chain.fill)
    places = [(plane, 0, 0) for plane in range(whole.shape[1] if chain.planar else 1)]
    answers = []
    for first in range(0, len(places), chain.tiles_at_once):
        some = places[first : first + chain.tiles_at_once]
        given = torch.stack([window_of(whole, place, tile, chain.context, planes=chain.planar) for place in some])
        answer = network(given).float()
        if answer.ndim != 2 or len(answer) != len(given) or not bool(torch.isfinite(answer).all()):
            raise ValueError(f"the network answered {tuple(given.shape)} with {tuple(answer.shape)}: no findings")
        answers.append(activated(chain, answer, 1))
    every = torch.cat(answers)
    if chain.activation == "softmax":
        mean = every.mean(0)
        return {"probabilities": mean, "present": torch.arange(len(mean), device=mean.device) == mean.argmax()}
    highest = every.amax(0)
    return {"probabilities": highest.clamp(0, 1), "present": highest >= chain.threshold}


def boxes(chain: Chain, images: Sequence[Placed], network: Callable[[Tensor], Found]) -> Answer:
    """Return `boxes` (n, 6) float32 that score at least `threshold`, with `scores` and `classes` (int64, from 0).

    A box is slice, row and column where it begins and where it ends, in voxels of the images from the outer edge of
    the first, which so ends at 1. Where two of a class share more than `distinct` of their union, the likelier stays.

    Raises
    ------
    ValueError
        The network answers with something else than boxes of as many corners as it has axes.
    """
    x, grid = prepared(chain, images)
    tile = window(chain, x.shape[1:])
    whole, corner = filled(x, tile, chain.fill)
    every: list[Found] = []
    for place in itertools.product(*(starts(n, t, chain.overlap) for n, t in zip(whole.shape[1:], tile, strict=True))):
        given = window_of(whole, place, tile, chain.context, planes=chain.planar)[None]
        found, scores, classes = network(given)
        corners = _corners(chain, found.float(), place, corner)
        every.append((_on_images(corners, grid), scores.float(), classes.long()))
    found, scores, classes = (torch.cat(parts) for parts in zip(*every, strict=True))
    stay = _distinct(found, scores, classes, chain)
    return {"boxes": found[stay], "scores": scores[stay], "classes": classes[stay], "affine": images[0][1]}


def _corners(chain: Chain, found: Tensor, place: Sequence[int], corner: Sequence[int]) -> Tensor:
    """Return boxes of a window as (n, low or high, axis) on the network's grid."""
    axes = 2 if chain.planar else 3
    if found.ndim != 2 or found.shape[1] != 2 * axes:
        raise ValueError(f"the network answered with boxes of {tuple(found.shape)}, not of {2 * axes} numbers each")
    corners = found.reshape(-1, 2, axes)
    if chain.corners == "xy":
        corners = corners.flip(-1)
    if chain.planar:
        plane = torch.tensor([0.0, 1.0], device=found.device).expand(len(corners), 2)[..., None]
        corners = torch.cat([plane, corners], -1)
    moved = [p - c for p, c in zip(place, corner, strict=True)]
    return corners + torch.tensor(moved, dtype=torch.float32, device=found.device)


def _on_images(corners: Tensor, grid: Sequence[Axis]) -> Tensor:
    """Return boxes on the network's grid as (n, 6) on that of the images."""
    turned = torch.empty_like(corners)
    for number, axis in enumerate(grid):
        turned[..., axis.source] = (corners[..., number] - 0.5) * axis.step + axis.start + 0.5
    return torch.cat([turned.amin(1), turned.amax(1)], 1)


def _distinct(found: Tensor, scores: Tensor, classes: Tensor, chain: Chain) -> Tensor:
    """Return which boxes stay, the likeliest first (non-maximum suppression)."""
    order = scores.argsort(descending=True, stable=True)
    order = order[scores[order] >= chain.threshold]
    stay: list[int] = []
    for index in order.tolist():
        alike = [kept for kept in stay if classes[kept] == classes[index]]
        if not alike or float(_shared(found[alike], found[index]).max()) <= chain.distinct:
            stay.append(index)
    return torch.tensor(stay, dtype=torch.int64, device=found.device)


def _shared(several: Tensor, box: Tensor) -> Tensor:
    """Return which part of their union boxes have in common with another."""
    low, high = torch.maximum(several[:, :3], box[:3]), torch.minimum(several[:, 3:], box[3:])
    common = (high - low).clamp(min=0).prod(1)
    both = (several[:, 3:] - several[:, :3]).prod(1) + (box[3:] - box[:3]).prod()
    return common / (both - common).clamp(min=1e-9)


def image(chain: Chain, images: Sequence[Placed], network: Network) -> Answer:
    """Return `values` (float32), the network's first channel, on the grid of the images or, unrestored, its own."""
    x, grid = prepared(chain, images)
    field, affine = infer(chain, x, checked(network))[0], images[0][1]
    if chain.restore == NOTHING:
        field, affine = in_order(field, grid, affine)
    else:
        field = to_images(field, grid, nearest=False)
    if chain.values:
        field = field * (chain.values[1] - chain.values[0]) + chain.values[0]
    return {"values": field.contiguous(), "affine": affine}


ANSWERS: Mapping[str, Callable[[Chain, Sequence[Placed], Any], Answer]] = {
    "labels": labels,
    "findings": findings,
    "boxes": boxes,
    "image": image,
}


def answer(chain: Chain, images: Sequence[Placed], network: Asked) -> Answer:
    """Return what the chain says that the network answers, by the names of the model's outputs; see `ANSWERS`."""
    return ANSWERS[chain.answer](chain, images, network)


def in_channels(image: Tensor) -> list[Tensor]:
    """Return the channels of a volume, (slice, row, column) or in colour (slice, row, column, 3)."""
    return [image] if image.ndim == 3 else list(image.unbind(-1))


def nowhere() -> NDArray[np.float64]:
    """Return the affine of images that have no place in the patient: their voxels are one long and lie in a row."""
    return np.eye(4)
