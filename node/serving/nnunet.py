"""nnU-Net v2's way around its network, on the server: crop, normalise, resample, slide, blend, decide, restore.

The steps and their order are those of nnU-Net's `DefaultPreprocessor`, `nnUNetPredictor` and
`convert_predicted_logits_to_segmentation_with_correct_shape` (version 2; Isensee et al. 2021,
doi:10.1038/s41592-020-01008-z), down to its half precision, so that labels are the same. Needs torch and NumPy only.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .chain import Chain
from .components import components, largest
from .from_words import lists_to_tuples, made_from
from .grid import Axis, Placed, axes, from_elsewhere, to_images, to_network
from .sliding_window import Network
from .spline_resampling import resampled
from .volume import checked

ROLE = "image"
ANISOTROPY = 3.0
"""Where the longest side of a voxel is more than so many times the shortest, planes are resampled each by itself."""
SIGMA, TRUNCATED, PEAK = 1 / 8, 4.0, 10.0
"""Of the weights of a window: width as a part of it, where they end in widths (SciPy's own), and their highest."""
SMALLEST = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """How the values of one role are normalised.

    `scheme` is one of nnU-Net's; `masked` takes mean and deviation where the image is not 0, and leaves the rest. The
    four numbers are those of the training set, which CTNormalization alone asks for.
    """

    scheme: str = "NoNormalization"
    masked: bool = False
    mean: float = 0.0
    std: float = 1.0
    percentile_00_5: float = 0.0
    percentile_99_5: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NnunetPlan:
    """What nnU-Net's plans say about images on their way to the network and back.

    Parameters
    ----------
    orientation
        The direction in which each axis of the arrays grew that nnU-Net was trained on, slice first, as "SPL"; "native"
        takes slice, row and column of the images as they are.
    transpose
        Which of these axes each of the network's is (transpose_forward).
    spacing
        mm along the network's axes; of a 2-D network along the last two, and the first stays as it is.
    values
        How each role is normalised, in the order of the roles.
    order, order_across, logits_order, logits_order_across
        Of the splines by which images and logits are resampled; `across` is for the axis of thick slices.
    separate
        Whether planes are resampled each by itself; without, where voxels are long enough (ANISOTROPY).
    tile, overlap, tiles_at_once, mirror
        As in `Chain`. Two extents make a 2-D network.
    folds
        How many networks' answers lie one after the other in the channels; they are averaged.
    regions
        The label of each of the network's channels where regions were trained, later ones over earlier ones; empty
        where the largest class wins.
    largest
        Labels of which only the largest connected piece stays; nnU-Net's predictor leaves all.
    """

    orientation: str = "native"
    transpose: tuple[int, ...] = (0, 1, 2)
    spacing: tuple[float, ...]
    values: tuple[Values, ...]
    order: int = 3
    order_across: int = 0
    logits_order: int = 1
    logits_order_across: int = 0
    separate: bool | None = None
    tile: tuple[int, ...]
    overlap: float = 0.5
    tiles_at_once: int = 1
    mirror: tuple[int, ...] = ()
    folds: int = 1
    regions: tuple[int, ...] = ()
    largest: tuple[int, ...] = ()
    roles: tuple[str, ...] = (ROLE,)

    answer = "labels"
    colour = False

    def __post_init__(self) -> None:
        lists_to_tuples(self)
        values = tuple(words if isinstance(words, Values) else Values(**words) for words in self.values)
        object.__setattr__(self, "values", values)
        for wrong, sentence in self._faults():
            if wrong:
                raise ValueError(sentence)

    def _faults(self) -> Iterator[tuple[bool, str]]:
        yield sorted(self.transpose) != [0, 1, 2], "transpose is an order of 0, 1, 2"
        yield len(self.tile) not in (2, 3) or min(self.tile) < 1, "tile is two or three numbers of voxels"
        yield (
            len(self.spacing) != len(self.tile) or min(self.spacing) <= 0,
            "spacing is a length in mm for each of tile",
        )
        yield len(self.values) != len(self.roles), "there is one kind of values for each role"
        for scheme in sorted({values.scheme for values in self.values} - SCHEMES.keys()):
            yield True, f"{scheme} is none of {', '.join(SCHEMES)}"
        orders = {self.order, self.order_across, self.logits_order, self.logits_order_across}
        yield not orders <= {0, 1, 3}, "orders of splines are 0, 1 and 3"
        yield not 0 <= self.overlap < 1, "overlap is at least 0 and below 1"
        yield any(axis >= len(self.tile) for axis in self.mirror), "mirror names axes of the tile, from 0"
        yield sorted(self.regions) != list(range(1, len(self.regions) + 1)), "regions are the numbers from 1 on"
        Chain(orientation=self.orientation, roles=self.roles)

    @classmethod
    def of(cls, words: Mapping[str, Any]) -> "NnunetPlan":
        """Make a plan of what people wrote; ValueError where a key is unknown or a value makes no sense."""
        return made_from(cls, words, "an nnU-Net's chain")

    def labels_of(self, channels: int) -> int:
        """Return how many labels a network has that gives so many channels."""
        return channels // self.folds - (not self.regions)

    def looking(self) -> "NnunetPlan":
        """Return the same way for a phantom of values from 0 to 1000, which a network of two classes gets as 0 to 1."""
        values = Values(scheme="CTNormalization", std=1000, percentile_99_5=1000)
        return replace(self, values=(values,) * len(self.roles), folds=1, mirror=(), regions=(), largest=())


def segment(plan: NnunetPlan, images: Sequence[Placed], network: Network) -> Tensor:
    """Return the labels (uint8) on the grid of the first role's volume, (slice, row, column): 0 none, n the n-th label.

    `images` are those of the plan's roles, in their order, with their affines to mm LPS.

    Raises
    ------
    ValueError
        The network answers in another extent than it was asked, or with something that is no finite number.
    """
    (first, affine), *_ = images
    grid = axes(Chain(orientation=plan.orientation), first.shape, affine)
    x = torch.stack([_on(grid, image, own, images[0]) for image, own in images])
    x = x.permute(0, *(axis + 1 for axis in plan.transpose))
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    spacing = [float(lengths[grid[axis].source]) for axis in plan.transpose]
    mask = (x != 0).any(0)
    box = tuple(_ends(mask, axis) for axis in range(3))
    x = torch.stack(
        [
            normalised(channel, values, mask[box])
            for channel, values in zip(x[(slice(None), *box)], plan.values, strict=True)
        ]
    )
    wanted = spacing[: 3 - len(plan.spacing)] + list(plan.spacing)
    extent = [round(here / there * n) for here, there, n in zip(spacing, wanted, x.shape[1:], strict=True)]
    planes = separate_axis(plan, spacing, wanted)
    x = torch.stack([resampled(channel, extent, planes, plan.order, plan.order_across) for channel in x])
    logits = infer(plan, x, checked(network))
    back = separate_axis(plan, wanted, spacing)
    found = decided(plan, logits, lambda logit: _restored(plan, logit, mask[box].shape, back))
    labels = torch.zeros(mask.shape, dtype=torch.uint8, device=x.device)
    labels[box] = found
    labels = to_images(labels.permute(*(plan.transpose.index(axis) for axis in range(3))), grid, nearest=True)
    for label in plan.largest:
        labels = largest(labels, label)
    return labels.contiguous()


def _on(grid: Sequence[Axis], image: Tensor, affine: NDArray[np.float64], reference: Placed) -> Tensor:
    """Return a role's volume on the voxels of the reference, whose grid is given."""
    if image.shape == reference[0].shape and np.allclose(affine, reference[1], atol=1e-4):
        return to_network(image, grid)
    return from_elsewhere(image, affine, reference[1], grid)


def _ends(mask: Tensor, axis: int) -> slice:
    """Return from where to where a mask reaches along an axis: all of it where it is empty."""
    there = mask.any([other for other in range(3) if other != axis]).nonzero()
    return slice(int(there[0]), int(there[-1]) + 1) if len(there) else slice(0, mask.shape[axis])


def normalised(x: Tensor, values: Values, mask: Tensor) -> Tensor:
    """Return a volume normalised; `mask` says where any role is not 0, and is filled up before it is used."""
    if values.masked:
        mask = without_holes(mask)
        x = x.clone()
        x[mask] = SCHEMES[values.scheme](x[mask], values)
        return x
    return SCHEMES[values.scheme](x, values)


def _z_score(x: Tensor, values: Values) -> Tensor:  # noqa: ARG001 (the training set's own are not asked for)
    return (x - x.mean()) / max(float(x.std(correction=0)), SMALLEST)


def _ct(x: Tensor, values: Values) -> Tensor:
    clipped = x.clamp(values.percentile_00_5, values.percentile_99_5)
    return (clipped - values.mean) / max(values.std, SMALLEST)


def _to_one(x: Tensor, values: Values) -> Tensor:  # noqa: ARG001
    x = x - x.min()
    return x / max(float(x.max()), SMALLEST)


SCHEMES: Mapping[str, Callable[[Tensor, Values], Tensor]] = {
    "CTNormalization": _ct,
    "NoNormalization": lambda x, _: x,
    "RGBTo01Normalization": lambda x, _: x / 255,
    "RescaleTo01Normalization": _to_one,
    "ZScoreNormalization": _z_score,
}


def without_holes(mask: Tensor) -> Tensor:
    """Return a (z, y, x) mask with all filled that no way over faces leads out of."""
    outside = components(~mask)
    faces = [outside.select(axis, end) for axis in range(3) for end in (0, -1)]
    open_air = torch.unique(torch.cat([face.flatten() for face in faces]))
    return mask | ~torch.isin(outside, open_air[open_air > 0])


def separate_axis(plan: NnunetPlan, here: Sequence[float], there: Sequence[float]) -> int | None:
    """Return the axis of thick slices, across which planes are resampled each by itself; None where there is none."""
    if plan.separate is False:
        return None
    for spacing in (here, there) if plan.separate is None else (here,):
        if plan.separate or max(spacing) / min(spacing) > ANISOTROPY:
            thick = [axis for axis, length in enumerate(spacing) if length == max(spacing)]
            return thick[0] if len(thick) == 1 else None
    return None


def starts(length: int, tile: int, overlap: float) -> list[int]:
    """Return where windows begin along an axis that is at least as long as the tile: evenly, first to last."""
    count = math.ceil((length - tile) / (tile * (1 - overlap))) + 1
    step = (length - tile) / max(count - 1, 1)
    return [round(step * number) for number in range(count)]


def weights(tile: Sequence[int]) -> Tensor:
    """Return how much each voxel of a window counts, half precision: a bell over its middle voxel, nowhere 0."""
    field = np.ones(())
    for length in tile:
        distance, width = np.arange(length) - length // 2, length * SIGMA
        bell = np.exp(-0.5 * (distance / width) ** 2)
        bell[np.abs(distance) > int(TRUNCATED * width + 0.5)] = 0
        field = np.multiply.outer(field, bell)
    half = torch.from_numpy(field * PEAK).half()
    half[half == 0] = half[half > 0].min()
    return half


class Blend:
    """Answers to windows, blended from the first slice on: what no later window reaches is averaged over the folds.

    Memory is that of one half-precision field for each class, and for each fold that of one layer of windows.
    """

    def __init__(self, extent: Sequence[int], tile: Sequence[int], bell: Tensor, folds: int) -> None:
        self.extent, self.tile, self.bell, self.folds = tuple(extent), tuple(tile), bell, folds
        self.top = 0
        self.counted = self._half((tile[0], *extent[1:]))
        self.layer = self.whole = torch.zeros(())

    def add(self, window: Sequence[slice], answer: Tensor) -> None:
        """Add the answer (fold · class, …) to a window; windows come with growing first slice."""
        parts = answer.reshape(self.folds, -1, *self.tile)
        if self.whole.ndim == 0:
            self.layer = self._half((self.folds, parts.shape[1], self.tile[0], *self.extent[1:]))
            self.whole = self._half((parts.shape[1], *self.extent))
        self._finish(window[0].start)
        self.layer[:, :, :, window[1], window[2]] += parts * self.bell
        self.counted[:, window[1], window[2]] += self.bell

    def done(self) -> Tensor:
        """Return the logits (class, …)."""
        self._finish(self.extent[0])
        return self.whole

    def _finish(self, until: int) -> None:
        count = until - self.top
        if not count:
            return
        total, *others = self.layer[:, :, :count] / self.counted[:count]
        for other in others:
            total += other
        self.whole[:, self.top : until] = total / self.folds
        for field, axis in ((self.layer, 2), (self.counted, 0)):
            kept = field.shape[axis] - count
            field.narrow(axis, 0, kept).copy_(field.narrow(axis, count, kept).clone())
            field.narrow(axis, kept, count).zero_()
        self.top = until

    def _half(self, shape: Sequence[int]) -> Tensor:
        return torch.zeros(tuple(shape), dtype=torch.half, device=self.bell.device)


def infer(plan: NnunetPlan, x: Tensor, network: Network) -> Tensor:
    """Return the logits (class, …), half precision, of volumes (role, …) on the network's grid, from their windows.

    What is smaller than a window is filled up with 0, evenly on both sides.
    """
    tile = (1,) * (3 - len(plan.tile)) + plan.tile
    lacking = [max(t - n, 0) for t, n in zip(tile, x.shape[1:], strict=True)]
    sides = [side for lack in reversed(lacking) for side in (lack // 2, lack - lack // 2)]
    whole = torch.nn.functional.pad(x, sides)
    blend = Blend(whole.shape[1:], tile, weights(plan.tile).reshape(tile).to(x.device), plan.folds)
    places = list(itertools.product(*(starts(n, t, plan.overlap) for n, t in zip(whole.shape[1:], tile, strict=True))))
    for number in range(0, len(places), plan.tiles_at_once):
        some = places[number : number + plan.tiles_at_once]
        windows = [tuple(slice(p, p + t) for p, t in zip(place, tile, strict=True)) for place in some]
        given = torch.stack([whole[(slice(None), *window)].reshape(-1, *plan.tile) for window in windows])
        for window, answer in zip(windows, mirrored(given, plan.mirror, network), strict=True):
            blend.add(window, answer)
    inside = (slice(lack // 2, lack // 2 + n) for lack, n in zip(lacking, x.shape[1:], strict=True))
    return blend.done()[(slice(None), *inside)]


def mirrored(given: Tensor, over: Sequence[int], network: Network) -> Tensor:
    """Return the answers to tiles, averaged over every combination of the mirrored axes."""
    turns = [turn for count in range(len(over) + 1) for turn in itertools.combinations(over, count)]
    answer = torch.zeros(())
    for turn in turns:
        flips = [axis + 2 for axis in turn]
        seen = network(given.flip(flips)).float().flip(flips)
        answer = seen if not turn else answer + seen
    return answer / len(turns)


def _restored(plan: NnunetPlan, logits: Tensor, extent: Sequence[int], planes: int | None) -> Tensor:
    """Return one class on the grid of the cropped images, half precision as nnU-Net decides by it."""
    return resampled(logits, extent, planes, plan.logits_order, plan.logits_order_across).half()


def decided(plan: NnunetPlan, logits: Tensor, place: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the labels (uint8) that win in each voxel, one class at a time: no array of classes × voxels is made.

    The largest class wins, the first where several are; of regions each that is likelier than not covers those before.
    """
    best = place(logits[0])
    labels = torch.zeros(best.shape, dtype=torch.uint8, device=best.device)
    if plan.regions:
        for number, label in enumerate(plan.regions):
            here = place(logits[number]) if number else best
            labels[here.float().sigmoid() > 0.5] = label
        return labels
    for number in range(1, len(logits)):
        here = place(logits[number])
        wins = here > best
        best = torch.where(wins, here, best)
        labels[wins] = number
    return labels
