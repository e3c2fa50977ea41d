"""A whole volume through a network: orient, resample, scale, slide, blend, decide, restore, where the network runs.

It needs torch and NumPy only. All arrays have the index order (slice, row, column) of the images, or that of the
network's axes after `orient`.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .chain import BY, Chain, Crop, Resize
from .components import largest
from .grid import Axis, Placed, axes, from_elsewhere, to_images, to_network
from .intensity import Intensity
from .sliding_window import Network, infer, slabs


def scaled(chain: Chain, x: Tensor) -> Tensor:
    """Clip and normalise the intensities of a volume."""
    return chain.intensity.of(x)


def decided(chain: Chain, fields: Sequence[Tensor] | Tensor, place: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the labels (uint8) that win in each voxel, from one field per class, brought to their place one by one.

    A class at a time: no array of classes × voxels of the images is ever made.
    """
    independent = chain.activation == "sigmoid"
    best = labels = None
    for number, probabilities in enumerate(fields):
        here = place(probabilities)
        if best is None or labels is None:
            best = torch.full_like(here, chain.threshold) if independent else here.clone()
            labels = torch.zeros(here.shape, dtype=torch.uint8, device=here.device)
            if not independent:
                continue
        wins = here > best
        best = torch.where(wins, here, best)
        labels[wins] = number + 1 if independent else number
    if labels is None:
        raise ValueError("the network gave no classes")
    return labels


def prepared(chain: Chain, images: Sequence[Placed]) -> tuple[Tensor, tuple[Axis, ...]]:
    """Return the images as the network gets them, (channel, …), and that grid on the first role's images."""
    first, affine = images[0]
    grid = axes(chain, first.shape, affine)
    volumes = [image for image, _ in images]
    for step in chain.in_turn():
        match step:
            case Crop():
                volumes, grid = _cropped(volumes, grid, step)
            case Resize(extents, by):
                volumes, grid = _resized(volumes, grid, extents, by)
            case Intensity():
                volumes = step.of_all(volumes)
            case _:
                volumes = [_at(volume, own, grid, images[0]) for volume, (_, own) in zip(volumes, images, strict=True)]
    if not chain.steps:
        volumes = [chain.of_role(role).intensity.of(x) for role, x in zip(chain.channels, volumes, strict=True)]
    return torch.stack(volumes), grid


def _at(volume: Tensor, affine: NDArray[np.float64], grid: Sequence[Axis], reference: Placed) -> Tensor:
    """Return a role's volume on the network's grid, which was made for the reference."""
    if volume.shape == reference[0].shape and np.allclose(affine, reference[1], atol=1e-4):
        return to_network(volume, grid)
    return from_elsewhere(volume, affine, reference[1], grid)


def _cropped(volumes: Sequence[Tensor], grid: Sequence[Axis], step: Crop) -> tuple[list[Tensor], tuple[Axis, ...]]:
    """Cut volumes to the box in which any of them has a value above 0; if none has, they stay whole."""
    above = torch.stack(list(volumes)).amax(0) > 0
    margin, beyond = step.margin, 0 if step.within else step.margin
    cut = []
    for number, axis in enumerate(grid):
        there = above.any(tuple(other for other in range(3) if other != number)).nonzero().flatten()
        low, high = (int(there[0]) - margin, int(there[-1]) + 1 + margin) if len(there) else (0, axis.there)
        cut.append((max(low, -beyond), min(high, axis.there + beyond)))
    window = tuple(slice(low + beyond, high + beyond) for low, high in cut)
    wider = [torch.nn.functional.pad(volume, [beyond] * 6) for volume in volumes]
    return [volume[window] for volume in wider], tuple(axis.cut(*ends) for axis, ends in zip(grid, cut, strict=True))


def _resized(
    volumes: Sequence[Tensor], grid: Sequence[Axis], extents: Sequence[int], by: str
) -> tuple[list[Tensor], tuple[Axis, ...]]:
    """Stretch volumes to so many voxels along each axis."""
    wanted = [extent or axis.there for extent, axis in zip(extents, grid, strict=True)]
    stretched = torch.nn.functional.interpolate(torch.stack(list(volumes))[None].float(), size=wanted, mode=BY[by])
    return list(stretched[0]), tuple(axis.stretched(there) for axis, there in zip(grid, wanted, strict=True))


def segment(chain: Chain, images: Sequence[Placed], network: Network) -> Tensor:
    """Return the labels (uint8) on the grid of the first role's volume, (slice, row, column): 0 none, n the n-th class.

    `images` are those of the chain's roles, in their order.

    Raises
    ------
    ValueError
        The network answers in another extent than it was asked, or with something that is no finite number.
    """
    x, grid = prepared(chain, images)
    if chain.restore == "labels" or all(axis.on_voxels for axis in grid):
        parts = [decided(chain, slab, lambda field: field) for slab in slabs(chain, x, checked(network))]
        labels = to_images(torch.cat(parts), grid, nearest=True)
    else:
        fields = infer(chain, x, checked(network))
        labels = decided(chain, fields, lambda field: to_images(field, grid, nearest=False))
    for label in chain.largest:
        labels = largest(labels, label)
    return labels.contiguous()


def checked(network: Network) -> Network:
    """Return the network with its answers checked: extent, and finite numbers."""

    def ask(given: Tensor) -> Tensor:
        answer = network(given)
        if answer.shape[0] != given.shape[0] or answer.shape[2:] != given.shape[2:]:
            raise ValueError(f"the network answered {tuple(given.shape)} with {tuple(answer.shape)}: another extent")
        if not bool(torch.isfinite(answer).all()):
            raise ValueError("the network answered with values that are no finite numbers")
        return answer

    return ask
