"""A network over a volume larger than its input: windows, their weights, and their blended answers."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from .chain import Chain

SIGMA = 0.125
"""Width of the blending weights, as a part of the tile (MONAI's `sliding_window_inference`, nnU-Net's predictor)."""
FAINTEST = 1e-3
"""Of these weights, as MONAI has it: where windows meet in their corners, it decides who is heard."""
Network = Callable[[Tensor], Tensor]
"""(tile, channel, …) float32 to (tile, class, …) float32, the same extent."""


def starts(length: int, tile: int, overlap: float) -> list[int]:
    """Return where windows begin along an axis that is at least as long as the tile; the last one ends with it."""
    step = max(int(tile * (1 - overlap)), 1)
    count = math.ceil((length - tile) / step) + 1
    return [min(number * step, length - tile) for number in range(count)]


def weights(tile: Sequence[int], blend: str) -> Tensor:
    """Return how much each voxel of a window counts: all alike, or less towards its edges."""
    field = torch.ones(tuple(tile))
    if blend == "gaussian":
        for axis, length in enumerate(tile):
            places = torch.arange(length, dtype=torch.float32) - (length - 1) / 2
            bell = torch.exp(-0.5 * (places / max(SIGMA * length, 1e-6)) ** 2)
            field = field * bell.reshape([-1 if number == axis else 1 for number in range(len(tile))])
        field = field.clamp(min=FAINTEST)
    return field


def infer(chain: Chain, x: Tensor, network: Network) -> Tensor:
    """Return the probabilities (class, …) of volumes (role, …) on the network's grid: one float32 field a class."""
    fields: Tensor | None = None
    begins = 0
    for slab in slabs(chain, x, network):
        if fields is None:
            fields = torch.empty((len(slab), *x.shape[1:]), device=x.device)
        fields[:, begins : begins + slab.shape[1]] = slab
        begins += slab.shape[1]
    if fields is None:
        raise ValueError("the volume is empty")
    return fields


def slabs(chain: Chain, x: Tensor, network: Network) -> Iterator[Tensor]:
    """Yield the probabilities (class, plane, …) of volumes (role, …) from the network's first plane to its last.

    They are blended from windows, and a slab comes when every window that reaches into it is through: memory is that of
    the tiles on their way, and of one float32 field a class over as many planes as they have.
    """
    extent = tuple(x.shape[1:])
    tile = window(chain, extent)
    whole, corner = filled(x, tile, chain.fill)
    bell = weights(tile, chain.blend).to(x.device)
    places = list(itertools.product(*(starts(n, t, chain.overlap) for n, t in zip(whole.shape[1:], tile, strict=True))))
    across = tuple(slice(c, c + n) for c, n in zip(corner[1:], extent[1:], strict=True))
    counted, blended = torch.zeros((1, 0, *whole.shape[2:]), device=x.device), torch.zeros(0)
    begins = 0
    for first in range(0, len(places), chain.tiles_at_once):
        some = places[first : first + chain.tiles_at_once]
        given = torch.stack([window_of(whole, place, tile, chain.context, planes=chain.planar) for place in some])
        answers = _mirrored(chain, given, network)
        if not first:
            blended = counted.expand(answers.shape[1], -1, -1, -1)
        lacking = some[-1][0] + tile[0] - begins - counted.shape[1]
        counted, blended = (torch.nn.functional.pad(layers, (0, 0, 0, 0, 0, lacking)) for layers in (counted, blended))
        for (plane, *place), answer in zip(some, answers, strict=True):
            there = tuple(slice(p, p + t) for p, t in zip((plane - begins, *place), tile, strict=True))
            blended[(slice(None), *there)] += answer.reshape(-1, *tile) * bell
            counted[(slice(None), *there)] += bell
        ends = places[first + len(some)][0] if first + len(some) < len(places) else whole.shape[1]
        inside = slice(max(corner[0] - begins, 0), min(corner[0] + extent[0], ends) - begins)
        if inside.start < inside.stop:
            slab = (blended[:, inside] / counted[:, inside])[(slice(None), slice(None), *across)]
            yield activated(chain, slab, 0) if chain.activate == "volume" else slab
        counted, blended = (layers[:, ends - begins :].clone() for layers in (counted, blended))
        begins = ends


def window(chain: Chain, extent: Sequence[int]) -> tuple[int, ...]:
    """Return the extent of one window, (1, row, column) for a 2-D network; without a tile it is the whole."""
    whole = tuple(max(n, least) for n, least in zip(extent, chain.least or (1, 1, 1), strict=True))
    tile = (1, *(chain.tile or whole[1:])) if chain.planar else chain.tile or whole
    return tuple(-(-length // chain.multiple) * chain.multiple if length > 1 else 1 for length in tile)


def filled(x: Tensor, tile: Sequence[int], fill: float | str | None) -> tuple[Tensor, tuple[int, ...]]:
    """Fill volumes (role, …) smaller than a window up to it, evenly on both sides; return them and where they begin."""
    lacking = [max(t - n, 0) for n, t in zip(x.shape[1:], tile, strict=True)]
    before = tuple(lack // 2 for lack in lacking)
    both = [
        side for lack, first in zip(reversed(lacking), reversed(before), strict=True) for side in (first, lack - first)
    ]
    if isinstance(fill, str):
        return torch.nn.functional.pad(x, both, mode="replicate"), before
    values = [float(channel.min()) if fill is None else fill for channel in x]
    filled = [torch.nn.functional.pad(channel, both, value=value) for channel, value in zip(x, values, strict=True)]
    return torch.stack(filled), before


def window_of(x: Tensor, place: Sequence[int], tile: Sequence[int], context: int, *, planes: bool) -> Tensor:
    """Return a window as (channel, …): for a 2-D network each role's neighbouring planes, the last one repeated."""
    across, rows, columns = (slice(p, p + t) for p, t in zip(place, tile, strict=True))
    if not planes:
        return x[:, across, rows, columns]
    wanted = torch.arange(place[0] - context, place[0] + context + 1).clamp(0, x.shape[1] - 1)
    return x[:, wanted.to(x.device), rows, columns].flatten(0, 1)


def _mirrored(chain: Chain, given: Tensor, network: Network) -> Tensor:
    """Return the activated answers to tiles, averaged over every combination of the mirrored axes."""
    turns = [turn for count in range(len(chain.mirror) + 1) for turn in itertools.combinations(chain.mirror, count)]
    answers = []
    for turn in turns:
        over = [axis + 2 for axis in turn]
        answer = network(given.flip(over)).float()
        answers.append((activated(chain, answer, 1) if chain.activate == "tile" else answer).flip(over))
    return torch.stack(answers).mean(0) if len(answers) > 1 else answers[0]


def activated(chain: Chain, logits: Tensor, axis: int) -> Tensor:
    """Return what a network gave as what `activation` makes of it, classes along an axis."""
    if chain.activation == "softmax":
        return logits.softmax(axis)
    return logits.sigmoid() if chain.activation == "sigmoid" else logits
