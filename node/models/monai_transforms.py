"""MONAI's transforms, inferers and post-transforms as what they do, by name: the fields of a `Chain`.

What stands here was read in MONAI 1.6 (monai/transforms, monai/inferers) and is compared with it in the tests. What
does not stand here is named in the error, and so is a parameter that would change what a transform does.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from node.serving.chain import EDGE, PLACE

Words = Mapping[str, Any]
TARGET = "_target_"
COMMON = {
    TARGET, "_desc_", "_requires_", "_mode_", "_disabled_", "keys", "allow_missing_keys", "dtype", "lazy", "meta_keys",
    "meta_key_postfix", "device", "track_meta", "prefix",
}  # fmt: skip
"""Parameters that change nothing of the values."""
CONTAINERS = "LoadImage", "EnsureChannelFirst", "EnsureType", "CastToType", "ToDevice", "ToTensor", "Identity"
"""Transforms that have to do with files and tensors, not with what is in them."""
PLANES = "column", "row"
"""Axes of a plane, as MONAI reads files: those before the last."""
ROUND_ABOUT = (
    *CONTAINERS, "SaveImage", "SaveClassification", "ToNumpy", "SqueezeDim", "SelectItems", "DeleteItems", "CopyItems",
)  # fmt: skip
WITHOUT_BACKGROUND = re.compile(r"\$\s*lambda (\w+)\s*:\s*\1\[1:\]")
"""A function of a Lambda that drops the channel of the background, which is no segment anyway."""
EDGES = {"constant": {}, "replicate": {"fill": EDGE}}
"""What a window beyond the images is filled up with, as fields of the chain."""


@dataclass(slots=True, kw_only=True)
class Read:
    """What was read of a bundle so far.

    Parameters
    ----------
    planar
        Whether the network is 2-D.
    chain
        Fields of the chain, but steps.
    steps
        Those of the chain, in turn; where "place" comes is known at the end.
    discrete
        Whether it was decided what wins.
    """

    planar: bool
    chain: dict[str, Any] = field(default_factory=dict)
    steps: list[Any] = field(default_factory=list)
    discrete: bool = False

    def extents(self, value: Any) -> list[int]:
        """Return three extents of what a bundle gives for its spatial axes; the axis across planes has 0."""
        least = [0] if self.planar else []
        given = [value] * (2 if self.planar else 3) if isinstance(value, (int, float)) else list(value)
        if len(least + given) != 3:
            raise ValueError(f"{given} is not for {3 - len(least)} axes")
        return [*least, *(max(int(extent), 0) for extent in given)]


def words_of(transform: Words, *known: str) -> dict[str, Any]:
    """Return the parameters of a transform; ValueError if a parameter is not understood."""
    given = {name: value for name, value in transform.items() if name not in COMMON}
    if unknown := given.keys() - set(known):
        raise ValueError(f"with {', '.join(sorted(unknown))} is not understood")
    return given


def as_usual(words: Words, **usual: Any) -> None:
    """Raise ValueError where a parameter, or the first of one for each key, is not what it usually is."""
    for name, value in usual.items():
        if (given := first(words.get(name, value))) not in (value, None):
            raise ValueError(f"with {name} {given!r} is not understood")


def first(value: Any) -> Any:
    """Return the first of what may be given for each key."""
    return value[0] if isinstance(value, (list, tuple)) and value else value


def orientation(transform: Words, read: Read) -> None:
    """Orientation: axes in these directions."""
    words = words_of(transform, "axcodes", "as_closest_canonical", "labels")
    if words.get("labels"):
        raise ValueError("with labels is not understood")
    spacing = read.chain.get("spacing", ())
    if any(isinstance(step, Mapping) and not step.keys().isdisjoint({"crop", "resize"}) for step in read.steps):
        raise ValueError("comes after a crop or a resize")
    if len(set(spacing)) > 1:
        raise ValueError("comes after a Spacing whose axes differ")
    read.chain["orientation"] = str(words.get("axcodes") or "RAS").upper()


def spacing(transform: Words, read: Read) -> None:
    """Spacing: linear, the first voxel stays."""
    words = words_of(transform, "pixdim", "mode", "padding_mode", "align_corners", "diagonal", "scale_extent")
    as_usual(words, mode="bilinear", padding_mode="border", diagonal=False, scale_extent=False)
    if PLACE in read.steps or len(read.steps) > _intensities(read):
        raise ValueError("comes after another Spacing, a crop or a resize")
    pixdim = words["pixdim"]
    read.chain["spacing"] = [float(step) for step in (pixdim if isinstance(pixdim, list) else [pixdim] * 3)]
    read.steps.append(PLACE)


def _intensities(read: Read) -> int:
    return sum(isinstance(step, Mapping) and step.keys().isdisjoint({"crop", "resize"}) for step in read.steps)


def crop_foreground(transform: Words, read: Read) -> None:
    """CropForeground: to where a value is above 0."""
    words = words_of(
        transform, "source_key", "margin", "allow_smaller", "k_divisible", "start_coord_key", "end_coord_key"
    )
    as_usual(words, k_divisible=1)
    read.steps.append({"crop": int(words.get("margin", 0)), "within": bool(words.get("allow_smaller", False))})


def resize(transform: Words, read: Read) -> None:
    """Resize: stretched to an extent."""
    words = words_of(transform, "spatial_size", "mode", "size_mode", "align_corners", "anti_aliasing")
    as_usual(words, size_mode="all", align_corners=False, anti_aliasing=False)
    ways = {"area": "area", "bilinear": "linear", "trilinear": "linear", "linear": "linear", "nearest": "nearest"}
    mode = first(words.get("mode", "area"))
    if mode not in ways:
        raise ValueError(f"with {mode!r} is not understood")
    read.steps.append({"resize": read.extents(words["spatial_size"]), "by": ways[mode]})


def spatial_pad(transform: Words, read: Read) -> None:
    """SpatialPad: filled up with 0 on both sides."""
    words = words_of(transform, "spatial_size", "method", "mode")
    as_usual(words, method="symmetric", mode="constant")
    read.chain["least"] = [max(extent, 1) for extent in read.extents(words["spatial_size"])]


def divisible_pad(transform: Words, read: Read) -> None:
    """DivisiblePad: filled up with 0 to a multiple."""
    words = words_of(transform, "k", "method", "mode")
    as_usual(words, method="symmetric", mode="constant")
    several = {extent for extent in read.extents(words["k"]) if extent}
    if len(several) != 1:
        raise ValueError(f"with {words['k']} is not understood")
    read.chain["multiple"] = several.pop()


def scale_range(transform: Words, read: Read) -> None:
    """ScaleIntensityRange: two values become two others."""
    words = words_of(transform, "a_min", "a_max", "b_min", "b_max", "clip")
    ends = [words["a_min"], words["a_max"]]
    onto = [words.get("b_min"), words.get("b_max")]
    step = {"scale": ends, "onto": [0, 1] if None in onto else onto}
    read.steps.append({"clip": ends, **step} if words.get("clip") and None not in onto else step)


def scale_percentiles(transform: Words, read: Read) -> None:
    """ScaleIntensityRangePercentiles: two percentiles become two values."""
    words = words_of(transform, "lower", "upper", "b_min", "b_max", "clip", "relative", "channel_wise")
    as_usual(words, relative=False)
    key = "clip_percentiles" if words.get("clip") else "scale_percentiles"
    step = {key: [words["lower"], words["upper"]], "onto": [words["b_min"], words["b_max"]]}
    read.steps.append({**step, "together": not words.get("channel_wise", False)})


def scale(transform: Words, read: Read) -> None:
    """ScaleIntensity: the lowest and the highest become two values."""
    words = words_of(transform, "minv", "maxv", "factor", "channel_wise")
    as_usual(words, factor=None)
    step = {"scale_percentiles": [0, 100], "onto": [words.get("minv", 0.0), words.get("maxv", 1.0)]}
    read.steps.append({**step, "together": not words.get("channel_wise", False)})


def normalise(transform: Words, read: Read) -> None:
    """NormalizeIntensity: mean and deviation become 0 and 1, or those that are given."""
    words = words_of(transform, "subtrahend", "divisor", "nonzero", "channel_wise")
    together = not words.get("channel_wise", False)
    step = {"mean": words.get("subtrahend"), "deviation": words.get("divisor"), "nonzero": words.get("nonzero", False)}
    read.steps.append(
        {"normalise": True, **{name: value for name, value in step.items() if value}, "together": together}
    )


def activations(transform: Words, read: Read) -> None:
    """Activations: of the blended volume."""
    words = words_of(transform, "sigmoid", "softmax", "other")
    as_usual(words, other=None)
    ways = [name for name in ("sigmoid", "softmax") if first(words.get(name))]
    if ways:
        read.chain["activation"] = ways[0]


def as_discrete(transform: Words, read: Read) -> None:
    """AsDiscrete: the largest class, or every channel above a threshold."""
    words = words_of(transform, "argmax", "to_onehot", "threshold", "rounding")
    as_usual(words, rounding=None)
    read.discrete = True
    if not first(words.get("argmax")):
        if (threshold := first(words.get("threshold"))) is None:
            raise ValueError("without argmax and threshold is not understood")
        read.chain["threshold"] = float(threshold)
    elif read.chain.get("activation") == "sigmoid":
        raise ValueError("takes the largest of what a sigmoid made, which is not understood")


def invert(transform: Words, read: Read) -> None:
    """Invert: back on the images' grid, before or after it is decided what wins."""
    words = words_of(transform, "transform", "orig_keys", "orig_meta_keys", "nearest_interp", "to_tensor", "post_func")
    as_usual(words, post_func=None)
    nearest = words.get("nearest_interp", True)
    read.chain["restore"] = "labels" if first(nearest) or read.discrete else "probabilities"


def keep_largest(transform: Words, read: Read) -> None:
    """KeepLargestConnectedComponent, of each of some labels; pieces hang together by faces alone."""
    words = words_of(transform, "applied_labels", "is_onehot", "independent", "connectivity", "num_components")
    as_usual(words, num_components=1)
    labels = words.get("applied_labels")
    labels = [labels] if isinstance(labels, int) else labels
    if not labels or (len(labels) > 1 and not words.get("independent", True)):
        raise ValueError("without labels of its own, or of several together, is not understood")
    read.chain["largest"] = [int(label) for label in labels]


def sliding_window(transform: Words, read: Read) -> None:
    """SlidingWindowInferer: windows over the volume, blended."""
    words = words_of(
        transform, "roi_size", "sw_batch_size", "overlap", "mode", "sigma_scale", "padding_mode", "cval", "sw_device",
        "progress", "cache_roi_weight_map", "cpu_thresh", "buffer_steps", "buffer_dim",
    )  # fmt: skip
    as_usual(words, sigma_scale=0.125)
    if (padding := words.get("padding_mode", "constant")) not in EDGES:
        raise ValueError(f"with padding_mode {padding!r} is not understood")
    tile = read.extents(words["roi_size"])[1 if read.planar else 0 :]
    if min(tile) < 1:
        raise ValueError(f"with roi_size {words['roi_size']} is not understood")
    padded = read.chain.pop("least", (1, 1, 1))[-len(tile) :]
    if read.chain.get("multiple", 1) > 1 or any(needed > extent for needed, extent in zip(padded, tile, strict=True)):
        raise ValueError("after SpatialPad or DivisiblePad beyond its window is not understood")
    read.chain.update(
        tile=tile,
        overlap=first(words.get("overlap", 0.25)),
        blend=words.get("mode", "constant"),
        tiles_at_once=int(words.get("sw_batch_size", 1)),
        **{"fill": float(words.get("cval", 0.0)), **EDGES[padding]},
    )


def slices(transform: Words, read: Read) -> None:
    """SliceInferer: windows over each plane of a volume; the planes are those along the last axis."""
    words = dict(transform)
    if int(words.pop("spatial_dim", 0)) != len(PLANES) or not read.planar:
        raise ValueError("of planes other than those along the last axis is not understood")
    sliding_window(words, read)


def function(transform: Words, read: Read) -> None:
    """Lambda: one of the functions that change nothing here; its text is compared, and never run."""
    words = words_of(transform, "func", "overwrite")
    if not (read.discrete and WITHOUT_BACKGROUND.fullmatch(str(words.get("func", "")))):
        raise ValueError(f"{words.get('func')} is code, which is not run")


def simple(transform: Words, read: Read) -> None:  # noqa: ARG001 (a row of the table)
    """SimpleInferer: all at once."""
    words_of(transform)


def nothing(transform: Words, read: Read) -> None:
    """Do nothing: what it does is not done to the values."""


Reader = Callable[[Words, Read], None]
BEFORE: Mapping[str, Reader] = {
    **dict.fromkeys(CONTAINERS, nothing),
    "SelectItems": nothing,
    "DeleteItems": nothing,
    "Orientation": orientation,
    "Spacing": spacing,
    "CropForeground": crop_foreground,
    "Resize": resize,
    "SpatialPad": spatial_pad,
    "DivisiblePad": divisible_pad,
    "ScaleIntensityRange": scale_range,
    "ScaleIntensityRangePercentiles": scale_percentiles,
    "ScaleIntensity": scale,
    "NormalizeIntensity": normalise,
    "Lambda": function,
}
INFERERS: Mapping[str, Reader] = {
    "SlidingWindowInferer": sliding_window,
    "SlidingWindowInfererAdapt": sliding_window,
    "SliceInferer": slices,
    "SimpleInferer": simple,
}
AFTER: Mapping[str, Reader] = {
    **dict.fromkeys(ROUND_ABOUT, nothing),
    "Activations": activations,
    "AsDiscrete": as_discrete,
    "Lambda": function,
    "Invert": invert,
    "KeepLargestConnectedComponent": keep_largest,
}


def name_of(transform: Words) -> str:
    """Return a transform's name without its package and without the letter of its dictionary form."""
    name = str(transform.get(TARGET, "")).rpartition(".")[2]
    for ending in ("Dict", "d", "D"):
        if name.removesuffix(ending) in {*BEFORE, *AFTER, *INFERERS}:
            return name.removesuffix(ending)
    return name


def read_all(transforms: Iterable[Words], table: Mapping[str, Reader], read: Read, keys: Sequence[str]) -> None:
    """Read transforms in their order; those that have to do with none of the keys are left out.

    Raises
    ------
    ValueError
        A transform is not in the table, or does something that is not understood; the message names it.
    """
    for transform in transforms:
        asked = transform.get("keys", keys[:1])
        if set([asked] if isinstance(asked, str) else asked).isdisjoint(keys):
            continue
        name = name_of(transform)
        if name not in table:
            raise ValueError(f"{name} is not understood")
        try:
            table[name](transform, read)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{name} {error}") from error


def finished(read: Read) -> dict[str, Any]:
    """Return the fields of the chain, steps among them."""
    steps = read.steps if PLACE in read.steps else [PLACE, *read.steps]
    reading = {"orientation": "transposed" if read.planar else "reversed", "activation": "none", "fill": 0.0}
    return {**reading, "planar": read.planar, "activate": "volume", "restore": "labels", **read.chain, "steps": steps}
