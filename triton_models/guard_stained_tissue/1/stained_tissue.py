"""Whether a slide shows tissue in haematoxylin and eosin: pink, with purple nuclei."""

import torch
from serving.guarding import Answer, MeasureLimit, answer_by_best_image
from torch import Tensor

EXPECTED = "not tissue stained with haematoxylin and eosin"
COLOURED = 20
"""Of 255: difference of colours of a pixel that is not glass."""
MAGENTA = 8
"""Of 255: how much less green than red and blue a stained pixel has."""
NUCLEUS = 0.72
"""Brightness of a nucleus, at most, as a part of that of glass."""
LIMITS = (
    MeasureLimit("coloured", 0.05, 1, "no stain, or little but glass"),
    MeasureLimit("pink or purple", 0.87, 1, "other colours than pink and purple"),
    MeasureLimit("nuclei", 0.015, 0.9, "no purple nuclei"),
)
"""Read off development pictures; the card has what they have."""


def judge(images: Tensor, spacing: Tensor, header: str) -> Answer:  # noqa: ARG001 - the pixels decide
    """Say whether the tiles together show stained tissue; docs/plugin-author.md has what is given and returned."""
    return answer_by_best_image([measures(images)], LIMITS, EXPECTED)


def measures(images: Tensor) -> dict[str, float]:
    """Measure all pixels of the tiles, (image, row, column, sample); empty if they are grey."""
    if images.shape[3] == 1:
        return {}
    red, green, blue = images.float().flatten(0, 2).T
    strongest = torch.maximum(torch.maximum(red, green), blue)
    weakest = torch.minimum(torch.minimum(red, green), blue)
    coloured = strongest - weakest > COLOURED
    stained = coloured & (torch.minimum(red, blue) - green > MAGENTA)
    dark = (red + green + blue) / 3 < 255 * NUCLEUS
    nuclei = stained & dark & (blue > 0.9 * red)
    many = float(coloured.sum().clamp(min=1))
    return {
        "coloured": float(coloured.float().mean()),
        "pink or purple": float(stained.sum()) / many,
        "nuclei": float(nuclei.sum()) / many,
    }
