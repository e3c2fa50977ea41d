"""A whole volume through a network: orient, resample, scale, slide, blend, decide, restore, where the network runs.

The file is copied beside each model it serves (`triton_models/<name>/1/volume.py`), so it needs torch and NumPy only.
All arrays have the index order (slice, row, column) of the images, or that of the network's axes after `orient`.
"""

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .components import largest
from .intensity import Intensity, step_of

ORDERS = {"native": (0, 1, 2), "reversed": (2, 1, 0), "transposed": (0, 2, 1)}
"""Orientations without a direction in the patient: which axis of the images each of the network's is."""
PLACE, CROP, RESIZE = "place", "crop", "resize"
EDGE = "edge"
BY = {"linear": "trilinear", "area": "area", "nearest": "nearest"}
"""How a volume is resized: torch's words for it."""
TOWARDS = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}
ALIGN = "first voxel", "extent", "centre"
RESTORE, NOTHING = ("probabilities", "labels"), "nothing"
ANSWER = "labels", "findings", "boxes", "image"
CORNERS = "axes", "xy"
BLEND = "gaussian", "constant"
ACTIVATIONS = "softmax", "sigmoid", "none"
ACTIVATE = "tile", "volume"
CHOICES = {
    "align": ALIGN, "blend": BLEND, "activation": ACTIVATIONS, "activate": ACTIVATE,
    "restore": (*RESTORE, NOTHING),
    "answer": ANSWER, "corners": CORNERS,
}  # fmt: skip
SIGMA = 0.125
"""Width of the blending weights, as a part of the tile (MONAI's `sliding_window_inference`, nnU-Net's predictor)."""
FAINTEST = 1e-3
"""Of these weights, as MONAI has it: where windows meet in their corners, it decides who is heard."""
BEYOND = 0.5 + 1e-6
"""How many voxels past the centre of the outermost the images end."""

Network = Callable[[Tensor], Tensor]
"""(tile, channel, …) float32 to (tile, class, …) float32, the same extent."""
Placed = tuple[Tensor, NDArray[np.float64]]
"""A volume (slice, row, column) with its affine: (slice, row, column, 1) to mm LPS."""
ROLE = "image"
OWN = ("clip", "clip_percentiles", "scale", "normalise", "mean", "deviation")
"""What may be said of one role alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """What is done to a volume before and after its network.

    Parameters
    ----------
    orientation
        The direction in which each axis of the network's input grows, as "RAS" or "LPS"; "native" leaves the axes in
        the order of the images: slice, row, column; "reversed" has column, row, slice, as MONAI reads files, and
        "transposed" slice, column, row.
    spacing
        mm along each axis of the network's input; empty leaves the images' own, and so does 0 along one axis.
    size
        Voxels along each axis of the network's input, cut or filled around the centre; empty where any will do.
    align
        What stays in its place when resampled: the "first voxel" (MONAI's Spacing), the "extent" of the whole image
        with its voxels' edges (nnU-Net, scikit-image's resize), or the "centre" of it (FreeSurfer's conform).
    clip, clip_percentiles
        Lowest and highest value, or the percentiles of the volume that are.
    scale
        The two values that become 0 and 1; empty without. After clipping; where percentiles are clipped, they are it.
    mean, deviation
        Subtracted, divided by; both None takes the volume's own where `normalise` is true.
    steps
        Where the order is another than place, clip, scale, normalise: each step in turn. "place" brings the images to
        orientation, spacing and size; {crop = 0} cuts to where a value is above 0, with that margin,
        which may reach beyond the images where within = false;
        {resize = [96, 96, 96], by = "linear"} stretches ("area", "nearest"; 0 leaves an axis); anything else is a step
        of intensities, see `Intensity`.
    tile, overlap, blend, tiles_at_once
        Extent of one window in voxels (empty: the whole volume at once), the part of it that neighbours share, how
        they are weighted, and how many go through the network together. Two extents make a 2-D network, which sees the
        planes along the first axis.
    planar
        Whether the network is a 2-D one also without a tile.
    fill
        What a volume smaller than the window is filled up with, evenly on both sides: a value, or "edge", its outermost
        voxels again; its lowest value without it.
    least
        What each extent is filled up to, where the whole volume goes through at once.
    context
        For a 2-D network: how many planes before and behind are channels beside the plane itself (2.5-D).
    mirror
        Axes of the tile that are also seen mirrored, and averaged (test-time mirroring).
    activation, threshold
        What the network's output goes through. Of "softmax" or "none" the largest class wins, 0 being the background;
        of "sigmoid" every channel above `threshold` is a segment, the likeliest where several are.
    activate
        Whether the answer to each "tile" is activated before blending, or the blended "volume" (as MONAI does).
    restore
        Whether "probabilities" go back to the images' grid and are decided there, or "labels" decided before; or
        "nothing" does: an image keeps the network's grid.
    largest
        Labels of which only the largest connected piece stays.
    multiple
        Each extent is filled up to a multiple of this, as networks with strides need.
    roles
        Names of the series that are the network's channels, in its order; the answer lies on the grid of the first,
        and the others are sampled where its voxels are.
    each
        Role → what of clip, clip_percentiles, scale, normalise, mean and deviation is another for it alone.
    colour
        Whether the images are in colour; red, green and blue are channels.
    answer
        What the network gives: "labels" of segments; "findings", one number for each; "boxes" of things, with scores
        and classes; an "image".
    corners, distinct
        Of boxes: whether they give where they begin and where they end along the network's "axes" (MONAI), or "xy", the
        last axis first (torchvision); and which part of their union two of a class may share.
    values
        Of an image: what 0 and 1 of it are; empty where it has the values themselves.
    """

    orientation: str = "native"
    spacing: tuple[float, ...] = ()
    size: tuple[int, ...] = ()
    align: str = "first voxel"
    clip: tuple[float, ...] = ()
    clip_percentiles: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    normalise: bool = False
    mean: float | None = None
    deviation: float | None = None
    steps: tuple[str | Mapping[str, Any], ...] = ()
    tile: tuple[int, ...] = ()
    overlap: float = 0.5
    blend: str = "gaussian"
    tiles_at_once: int = 1
    context: int = 0
    planar: bool = False
    fill: float | str | None = None
    least: tuple[int, ...] = ()
    mirror: tuple[int, ...] = ()
    activation: str = "softmax"
    activate: str = "tile"
    threshold: float = 0.5
    restore: str = "probabilities"
    largest: tuple[int, ...] = ()
    multiple: int = 1
    roles: tuple[str, ...] = (ROLE,)
    each: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    colour: bool = False
    answer: str = "labels"
    corners: str = "axes"
    distinct: float = 0.5
    values: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for one in fields(self):
            if isinstance(getattr(self, one.name), list):
                object.__setattr__(self, one.name, tuple(getattr(self, one.name)))
        for wrong, sentence in self._faults():
            if wrong:
                raise ValueError(sentence)
        if len(self.tile) == 2:
            object.__setattr__(self, "planar", True)
        for role in self.each:
            self.of_role(role)
        if self.steps and self.steps.count(PLACE) != 1:
            raise ValueError(f'steps have "{PLACE}" once')
        self.intensity, self.in_turn()

    def _faults(self) -> Iterator[tuple[bool, str]]:
        letters = self.orientation
        axes = sorted(TOWARDS[letter][0] for letter in letters if letter in TOWARDS)
        known = letters in ORDERS or axes == [0, 1, 2]
        yield not known, f'orientation is {", ".join(ORDERS)} or like "RAS", not {letters!r}'
        yield len(self.spacing) not in (0, 3) or min(self.spacing, default=1) < 0, "spacing is three lengths in mm"
        yield len(self.size) not in (0, 3) or min(self.size, default=1) < 1, "size is three numbers of voxels"
        yield len(self.tile) not in (0, 2, 3) or min(self.tile, default=1) < 1, "tile is two or three numbers of voxels"
        yield not 0 <= self.overlap < 1, "overlap is at least 0 and below 1"
        yield (
            self.context < 0 or (self.context > 0 and len(self.tile) != 2 and not self.planar),
            "context is for a 2-D network, with a tile of two",
        )
        yield any(axis >= (len(self.tile) or 3) for axis in self.mirror), "mirror names axes of the tile, from 0"
        for name, words in CHOICES.items():
            yield getattr(self, name) not in words, f"{name} is one of {', '.join(words)}"
        yield len(self.values) not in (0, 2), "values are what 0 and 1 are"
        yield isinstance(self.fill, str) and self.fill != EDGE, f'fill is a value or "{EDGE}"'
        yield self.restore == NOTHING and self.answer != "image", "only an image keeps the network's grid"
        yield self.answer == "findings" and bool(self.tile), "findings are of the whole, not of a tile: give a size"
        yield not self.roles or len(set(self.roles)) < len(self.roles), "roles are names, no two of them alike"
        yield not self.each.keys() <= set(self.roles), f"each is for the roles {', '.join(self.roles)}"
        yield any(own.keys() - set(OWN) for own in self.each.values()), f"each says of a role {', '.join(OWN)}"

    def of_role(self, role: str) -> "Chain":
        """Return the chain of one of the roles by itself."""
        return replace(self, roles=(role,), each={}, **self.each.get(role, {}))

    @property
    def channels(self) -> tuple[str, ...]:
        """The role that each channel of the network is of."""
        return tuple(role for role in self.roles for _ in range(3 if self.colour else 1))

    @property
    def intensity(self) -> Intensity:
        """What is done to the values where `steps` do not say."""
        return Intensity(**{name: getattr(self, name) for name in OWN})

    def in_turn(self) -> tuple["Step", ...]:
        """Return the steps before the network; ValueError where one makes no sense."""
        return tuple(_step(words) for words in self.steps or (PLACE,))

    def labels_of(self, channels: int) -> int:
        """Return how many labels a network has that gives so many channels."""
        return channels - (self.answer == "labels" and self.activation != "sigmoid")

    def looking(self) -> "Chain":
        """Return the same way for a phantom of values from 0 to 1000, which a network of two classes gets as 0 to 1."""
        spatial = [
            one for one, step in zip(self.steps, self.in_turn(), strict=False) if not isinstance(step, Intensity)
        ]
        return replace(
            self, clip=(), clip_percentiles=(), scale=(0.0, 1000.0), normalise=False, mean=None, deviation=None,
            activation="none", largest=(), context=0, mirror=(), each={}, colour=False, answer="labels",
            restore=self.restore if self.restore in RESTORE else RESTORE[0],
            steps=(*spatial, {"scale": (0.0, 1000.0)}) if spatial else (),
        )  # fmt: skip

    @classmethod
    def of(cls, words: Mapping[str, Any]) -> "Chain":
        """Make a chain of what people wrote; ValueError where a key is unknown or a value makes no sense."""
        unknown = words.keys() - {one.name for one in fields(cls)}
        if unknown:
            raise ValueError(f"there is no {', '.join(sorted(unknown))} in a chain")
        return cls(**words)

    @classmethod
    def read(cls, path: Path) -> "Chain":
        """Read a chain that was written as JSON."""
        return cls.of(json.loads(path.read_text(encoding="utf-8")))

    def write(self, path: Path) -> None:
        """Write what differs from the defaults as JSON."""
        plain = asdict(type(self)())
        told = {name: value for name, value in asdict(self).items() if value != plain[name]}
        path.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Crop:
    """Cut to where a value is above 0, with a margin in voxels; beyond the images it is 0, or not there."""

    margin: int
    within: bool


@dataclass(frozen=True, slots=True)
class Resize:
    """Stretch to so many voxels along each axis; 0 leaves it."""

    extents: tuple[int, ...]
    by: str


Step = str | Crop | Resize | Intensity


def _step(words: str | Mapping[str, Any]) -> Step:
    if isinstance(words, str):
        if words != PLACE:
            raise ValueError(f"there is no step {words!r}")
        return words
    if CROP in words:
        return Crop(int(words[CROP]), bool(words.get("within", True)))
    if RESIZE in words:
        extents, by = tuple(words[RESIZE]), words.get("by", "linear")
        if len(extents) != 3 or min(extents) < 0 or by not in BY:
            raise ValueError(f"resize is three numbers of voxels, by {', '.join(BY)}")
        return Resize(extents, by)
    return step_of(dict(words))


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of the network along one of the images: its voxel j lies at their voxel `step` · j + `start`.

    `step` is negative where it is turned round; `here` are the voxels of the images, `there` the network's.
    """

    source: int
    step: float
    start: float
    here: int
    there: int

    def sampled(self) -> tuple[float, float, int]:
        """Where the network's voxels lie in the images."""
        return self.step, self.start, self.there

    @property
    def on_voxels(self) -> bool:
        """Whether each of the network's voxels is one of the images', so that nothing is between them."""
        return abs(self.step) == 1 and self.start == round(self.start)

    def cut(self, low: int, high: int) -> "Axis":
        """Return the part from one voxel of the network's to before another."""
        return replace(self, start=self.start + self.step * low, there=high - low)

    def stretched(self, there: int) -> "Axis":
        """Return it with so many voxels in the same extent, edges on edges."""
        ratio = self.there / there
        return replace(self, start=self.start + self.step * (ratio - 1) / 2, step=self.step * ratio, there=there)

    def restored(self) -> tuple[float, float, int]:
        """Where the images' voxels lie in the network's grid."""
        return 1 / self.step, -self.start / self.step, self.here


def axes(chain: Chain, shape: Sequence[int], affine: NDArray[np.float64]) -> tuple[Axis, ...]:
    """Return the network's three axes for images of a shape and an affine ((slice, row, column, 1) to LPS in mm).

    Oblique images keep their own directions: each axis is taken for the one of the patient it lies nearest to.
    """
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    order, turned = _order(chain.orientation, affine[:3, :3] / lengths)
    made = []
    for axis, (source, backwards) in enumerate(zip(order, turned, strict=True)):
        here, length = shape[source], float(lengths[source])
        ratio = (chain.spacing[axis] if chain.spacing else 0) / length or 1.0
        there, step, start = _placed(chain, axis, here, ratio)
        if backwards:
            step, start = -step, here - 1 - start
        made.append(Axis(source, step, start, here, there))
    return tuple(made)


def _order(orientation: str, directions: NDArray[np.float64]) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Return which axis of the images each of the network's is, and whether it is turned round."""
    if orientation in ORDERS:
        return ORDERS[orientation], (False, False, False)
    towards = [TOWARDS[letter] for letter in orientation]
    order = max(
        itertools.permutations(range(3)),
        key=lambda trial: sum(
            abs(directions[patient, source]) for (patient, _), source in zip(towards, trial, strict=True)
        ),
    )
    turned = [
        bool(directions[patient, source] * sign < 0) for (patient, sign), source in zip(towards, order, strict=True)
    ]
    return tuple(order), tuple(turned)


def _placed(chain: Chain, axis: int, here: int, ratio: float) -> tuple[int, float, float]:
    """Return number, step and start of the network's voxels along an axis, in voxels of the images."""
    if chain.size or chain.align == "centre":
        there = chain.size[axis] if chain.size else max(round(here / ratio), 1)
        return there, ratio, (here - 1) / 2 - ratio * (there - 1) / 2
    if chain.align == "extent":
        there = max(round(here / ratio), 1)
        exact = here / there
        return there, exact, (exact - 1) / 2
    return max(round((here - 1) / ratio), 0) + 1, ratio, 0.0


def to_network(image: Tensor, grid: Sequence[Axis]) -> Tensor:
    """Return an image (slice, row, column) on the network's grid, float32; what lies outside has the lowest value."""
    outside = float(image.min())
    turned = image.permute(*(axis.source for axis in grid)).float()
    for number, axis in enumerate(grid):
        turned = _along(turned, number, *axis.sampled(), outside=outside)
    return turned


def to_images(field: Tensor, grid: Sequence[Axis], *, nearest: bool) -> Tensor:
    """Return a field on the network's grid on that of the images, (slice, row, column); outside it is 0."""
    for number, axis in enumerate(grid):
        field = _along(field, number, *axis.restored(), outside=0.0, nearest=nearest)
    return field.permute(*_back(grid))


def in_order(field: Tensor, grid: Sequence[Axis], affine: NDArray[np.float64]) -> Placed:
    """Return a field on the network's grid, its axes in the order and direction of the images', and its own affine.

    `affine` is that of the images.
    """
    own = affine.copy()
    for axis in grid:
        first = min(axis.start, axis.start + axis.step * (axis.there - 1))
        own[:3, 3] += affine[:3, axis.source] * first
        own[:3, axis.source] *= abs(axis.step)
    turned = field.flip([number for number, axis in enumerate(grid) if axis.step < 0])
    return turned.permute(*_back(grid)), own


def _back(grid: Sequence[Axis]) -> list[int]:
    """Return which axis of the network each of the images' is."""
    back = [0, 0, 0]
    for number, axis in enumerate(grid):
        back[axis.source] = number
    return back


def from_elsewhere(
    image: Tensor, affine: NDArray[np.float64], reference: NDArray[np.float64], grid: Sequence[Axis]
) -> Tensor:
    """Return an image with a grid of its own, affine to mm LPS, on the network's grid, as `to_network` does.

    `reference` is the affine of the images that the network's grid was made for. Linear between all eight neighbours,
    one plane of the network's at a time.
    """
    places = np.zeros((4, 4))
    places[3, 3] = 1
    for number, axis in enumerate(grid):
        places[axis.source, number], places[axis.source, 3] = axis.step, axis.start
    there = np.linalg.inv(affine) @ reference @ places
    rows, columns = (torch.arange(axis.there, dtype=torch.float64) for axis in grid[1:])
    flat = (
        torch.from_numpy(there[:3, 1]) * rows[:, None, None] + torch.from_numpy(there[:3, 2]) * columns[None, :, None]
    )
    last = torch.tensor(image.shape, dtype=torch.float64) - 1
    outside = float(image.min())
    lifted = image.float()[None, None]
    planes = torch.empty([axis.there for axis in grid], device=image.device)
    for number in range(grid[0].there):
        voxels = flat + torch.from_numpy(there[:3, 0] * number + there[:3, 3])
        beyond = ((voxels < -BEYOND) | (voxels > last + BEYOND)).any(-1)
        unit = (voxels / last.clamp(min=1) * 2 - 1).flip(-1).float()
        sampled = torch.nn.functional.grid_sample(
            lifted, unit[None, None].to(image.device), padding_mode="border", align_corners=True
        )
        planes[number] = sampled[0, 0, 0].masked_fill(beyond.to(image.device), outside)
    return planes


def _along(
    x: Tensor, axis: int, step: float, start: float, count: int, *, outside: float, nearest: bool = False
) -> Tensor:
    """Sample a tensor along one axis at `step` · j + `start`, linearly or at the nearest voxel."""
    length = x.shape[axis]
    places = torch.arange(count, dtype=torch.float64) * step + start
    if torch.equal(places, torch.arange(length, dtype=torch.float64)):
        return x
    near = places.clamp(0, length - 1)
    if nearest:
        sampled = x.index_select(axis, _on(x, near.round().long()))
    else:
        low = near.floor().long().clamp(max=max(length - 2, 0))
        part = _on(x, (near - low).float()).reshape([-1 if number == axis else 1 for number in range(x.ndim)])
        left = x.index_select(axis, _on(x, low))
        right = x.index_select(axis, _on(x, (low + 1).clamp(max=length - 1)))
        sampled = torch.lerp(left, right, part)
    beyond = (places < -BEYOND) | (places > length - 1 + BEYOND)
    if bool(beyond.any()):
        sampled = sampled.clone() if nearest else sampled
        sampled.index_fill_(axis, _on(x, beyond.nonzero().flatten()), outside)
    return sampled


def _on(x: Tensor, indices: Tensor) -> Tensor:
    return indices.to(x.device)


def scaled(chain: Chain, x: Tensor) -> Tensor:
    """Clip and normalise the intensities of a volume."""
    return chain.intensity.of(x)


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
        counted, blended = (torch.nn.functional.pad(one, (0, 0, 0, 0, 0, lacking)) for one in (counted, blended))
        for (plane, *place), answer in zip(some, answers, strict=True):
            there = tuple(slice(p, p + t) for p, t in zip((plane - begins, *place), tile, strict=True))
            blended[(slice(None), *there)] += answer.reshape(-1, *tile) * bell
            counted[(slice(None), *there)] += bell
        ends = places[first + len(some)][0] if first + len(some) < len(places) else whole.shape[1]
        inside = slice(max(corner[0] - begins, 0), min(corner[0] + extent[0], ends) - begins)
        if inside.start < inside.stop:
            slab = (blended[:, inside] / counted[:, inside])[(slice(None), slice(None), *across)]
            yield activated(chain, slab, 0) if chain.activate == "volume" else slab
        counted, blended = (one[:, ends - begins :].clone() for one in (counted, blended))
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
    values = [float(one.min()) if fill is None else fill for one in x]
    filled = [torch.nn.functional.pad(one, both, value=value) for one, value in zip(x, values, strict=True)]
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
    """Cut volumes to where one has a value above 0; they stay whole where none has."""
    above = torch.stack(list(volumes)).amax(0) > 0
    margin, beyond = step.margin, 0 if step.within else step.margin
    cut = []
    for number, axis in enumerate(grid):
        there = above.any(tuple(other for other in range(3) if other != number)).nonzero().flatten()
        low, high = (int(there[0]) - margin, int(there[-1]) + 1 + margin) if len(there) else (0, axis.there)
        cut.append((max(low, -beyond), min(high, axis.there + beyond)))
    window = tuple(slice(low + beyond, high + beyond) for low, high in cut)
    wider = [torch.nn.functional.pad(one, [beyond] * 6) for one in volumes]
    return [one[window] for one in wider], tuple(axis.cut(*ends) for axis, ends in zip(grid, cut, strict=True))


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
