"""Colours of segments can be told apart, also by a reader who does not see red and green alike."""

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from node.compose.palette import PALETTE, palette_color

conversion = pytest.importorskip("skimage.color", reason="scikit-image is not installed")
SEEN_BY = {
    "trichromat": np.eye(3),
    "deuteranope": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanope": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
}
"""Reader → matrix of linear red, green and blue (Machado, Oliveira and Fernandes 2009, full severity)."""


def seen(color: tuple[int, int, int], reader: str) -> NDArray[np.float64]:
    """Return CIELab of a colour as a reader sees it."""
    part = np.array(color) / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    shown = np.clip(SEEN_BY[reader] @ linear, 0, 1)
    coded = np.where(shown <= 0.0031308, 12.92 * shown, 1.055 * shown ** (1 / 2.4) - 0.055)
    return np.asarray(conversion.rgb2lab(coded[None, None])[0, 0])


@pytest.mark.parametrize(
    ("reader", "count", "least"), [("trichromat", 21, 10), ("deuteranope", 7, 15), ("protanope", 7, 15)]
)
def test_colours_can_be_told_apart(reader: str, count: int, least: float) -> None:
    colors = [seen(palette_color(index), reader) for index in range(count)]
    assert min(float(np.linalg.norm(one - other)) for one, other in combinations(colors, 2)) > least


def test_the_colours_go_on_after_the_palette() -> None:
    assert len({palette_color(index) for index in range(3 * len(PALETTE))}) == 21
    assert palette_color(21) == palette_color(0)
