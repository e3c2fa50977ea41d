"""Axes of outlines, against scikit-image's."""

import numpy as np
import pytest
from numpy.typing import NDArray

from node.measuring import longest

measure = pytest.importorskip("skimage.measure", reason="scikit-image is not installed")

SHAPE = 6, 60, 50


def blobs(seed: int) -> NDArray[np.bool_]:
    """Return an ellipse of its own on every slice, turned by chance."""
    random = np.random.default_rng(seed)
    row, column = np.indices(SHAPE[1:])
    mask = np.zeros(SHAPE, np.bool_)
    for plane in mask:
        turn, (long, short) = random.uniform(0, np.pi), random.uniform(4, 20, 2)
        along = (row - 30) * np.cos(turn) + (column - 25) * np.sin(turn)
        across = (column - 25) * np.cos(turn) - (row - 30) * np.sin(turn)
        plane[(along / long) ** 2 + (across / short) ** 2 <= 1] = True
    return mask


@pytest.mark.parametrize("seed", range(4))
def test_the_long_axis_is_the_largest_feret_diameter_of_all_slices(seed: int) -> None:
    mask = blobs(seed)
    feret = [measure.regionprops(plane.astype(int))[0].feret_diameter_max for plane in mask]
    found = longest(mask, (0.8, 0.8))
    assert found is not None
    assert found.slice == int(np.argmax(feret))
    assert found.long == pytest.approx(0.8 * max(feret), abs=0.8)
    assert found.short <= found.long


def test_of_nothing_there_is_no_axis() -> None:
    assert longest(np.zeros(SHAPE, np.bool_), (1.0, 1.0)) is None
