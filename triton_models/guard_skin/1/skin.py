"""Whether a photograph shows skin with one lesion."""

import torch
from serving.components import components
from serving.grey_values import otsu
from serving.guarding import Answer, MeasureLimit, answer_by_best_image, blank
from serving.picture_measures import colour_difference, mean_over, sized
from torch import Tensor

EXPECTED = "not skin with one lesion"
SIDE = 128
"""Pixels of the longer side on which lesions are sought: hairs are thinner."""
DARK = 45
"""Of 255: pixels that are darker in every colour, and reach the edge, are outside of what the lens shows."""
INK = 25
"""Of 255: by how much more blue than red, than the skin has, a pen marks it."""
LIMITS = (
    MeasureLimit("colour", 8, 130, "a picture without the colour of skin"),
    MeasureLimit("red to blue", 0.66, 2.4, "a surface redder or bluer than skin"),
    MeasureLimit("shown", 0.8, 1, "much that is black"),
    MeasureLimit("brightness", 70, 250, "a surface darker than skin"),
    MeasureLimit("magenta", 0, 1.1, "a pink or purple stain"),
    MeasureLimit("green", 0, 1.06, "a green surface"),
    MeasureLimit("contrast", 0.115, 1, "no lesion"),
    MeasureLimit("size", 0.004, 0.5, "no single lesion"),
    MeasureLimit("one", 0.5, 1, "several dark spots, or a texture"),
)
"""Read off development pictures; the card has what they have."""


def judge(images: Tensor, spacing: Tensor, header: str) -> Answer:  # noqa: ARG001 - the pixels decide
    """Say whether one of the images shows skin with a lesion; docs/plugin-author.md has what is given and returned."""
    return answer_by_best_image([measures(plane) for plane in images], LIMITS, EXPECTED)


def measures(plane: Tensor) -> dict[str, float]:
    """Measure a plane (row, column, sample); empty if it is blank."""
    picture = sized(plane, SIDE)
    shown = ~(outside(picture) | ink(picture))
    if blank(plane) or not bool(shown.any()):
        return {}
    grey = mean_over(picture.mean(0), 5)
    edge = otsu(grey[shown])
    dark = shown & (grey < edge)
    skin = shown & ~dark
    red, green, blue = picture[:, shown].mean(1).tolist()
    spots = inner_spots(dark)
    spot = float(spots.max()) if len(spots) else 0.0
    light = float(grey[skin].median())
    return {
        "shown": float(shown.float().mean()),
        "colour": float(colour_difference(picture)[shown].mean()),
        "red to blue": red / max(blue, 1),
        "brightness": light,
        "magenta": min(red, blue) / max(green, 1),
        "green": green / max(red, blue, 1),
        "contrast": (light - float(grey[dark].mean())) / max(light, 1) if spot else 0.0,
        "size": spot / float(shown.sum()),
        "one": spot / max(float(spots.sum()), 1),
    }


def inner_spots(dark: Tensor) -> Tensor:
    """Return the sizes of dark pieces, (piece), in pixels, without those at the edge, which are shadows of a lens.

    A piece that reaches the edge counts if its middle is in the middle half of the picture.
    """
    pieces = components(dark[None])[0]
    count = int(pieces.max()) + 1
    size = torch.bincount(pieces.flatten(), minlength=count).float()
    inner = torch.ones(count, dtype=torch.bool)
    for axis, length in enumerate(pieces.shape):
        place = torch.arange(length).reshape(-1, 1) if axis == 0 else torch.arange(length)
        mean = torch.bincount(pieces.flatten(), place.expand(pieces.shape).flatten().float(), count) / size.clamp(min=1)
        inner &= (mean / length - 0.5).abs() < 0.25
    at_edge = torch.zeros(count, dtype=torch.bool)
    at_edge[edge_of(pieces)] = True
    counts = inner | ~at_edge
    counts[0] = False
    return size[counts]


def ink(picture: Tensor) -> Tensor:
    """Return which pixels of (sample, row, column) are bluer than the picture is: marks of a pen around a lesion."""
    bluer = mean_over(picture[2] - picture[0], 3)
    grown = mean_over((bluer > bluer.median() + INK).float(), 3) > 0
    return grown & (picture[2] > picture[0] + INK / 2) if float(bluer.median()) < 0 else torch.zeros_like(grown)


def edge_of(plane: Tensor) -> Tensor:
    """Return the values on the edge of (row, column)."""
    return torch.cat([plane[0], plane[-1], plane[:, 0], plane[:, -1]])


def outside(picture: Tensor) -> Tensor:
    """Return which pixels of (sample, row, column) are dark and connected with the edge: around a lens, or a frame."""
    pieces = components((picture.amax(0) < DARK)[None])[0]
    rim = edge_of(pieces)
    return torch.isin(pieces, rim[rim > 0])
