"""What is done to a volume before and after its network, as people write it: the chain and its steps."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from .from_words import lists_to_tuples, made_from
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
ROLE = "image"
OWN = ("clip", "clip_percentiles", "scale", "normalise", "mean", "deviation")
"""Fields of a chain that may differ between roles."""


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
        Whether the network is 2-D although no tile is given.
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
        lists_to_tuples(self)
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
        """Return the steps before the network; ValueError if a step makes no sense."""
        return tuple(_step(words) for words in self.steps or (PLACE,))

    def labels_of(self, channels: int) -> int:
        """Return how many labels a network has that gives so many channels."""
        return channels - (self.answer == "labels" and self.activation != "sigmoid")

    def looking(self) -> "Chain":
        """Return the same way for a phantom of values from 0 to 1000, which a network of two classes gets as 0 to 1."""
        spatial = [
            words for words, step in zip(self.steps, self.in_turn(), strict=False) if not isinstance(step, Intensity)
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
        return made_from(cls, words, "a chain")

    @classmethod
    def read(cls, path: Path) -> "Chain":
        """Read a chain that was written as JSON."""
        return cls.of(json.loads(path.read_text(encoding="utf-8")))

    def write(self, path: Path) -> None:
        """Write what differs from the defaults as JSON."""
        plain = asdict(type(self)())
        changed = {name: value for name, value in asdict(self).items() if value != plain[name]}
        path.write_text(json.dumps(changed, indent=2) + "\n", encoding="utf-8")


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
