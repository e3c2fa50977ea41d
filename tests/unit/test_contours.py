"""Outlines of masks: filled again they are the very mask, whatever its shape."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from node.images.contours import contours, keyholed
from tests.matrix import filled

RING = np.zeros((9, 11), bool)
RING[1:8, 2:10] = True
RING[3:6, 4:8] = False
RING[4, 5] = True


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.booleans()))
@settings(max_examples=150, deadline=None)
def test_filled_again_they_are_the_mask(mask: NDArray[np.bool_]) -> None:
    outer, holes = contours(mask)
    assert (filled([*outer, *holes], mask.shape) == mask).all()
    assert (filled(keyholed(mask), mask.shape) == mask).all()


def test_a_ring_with_an_island_has_two_borders_and_a_hole() -> None:
    outer, holes = contours(RING)
    assert sorted(len(loop) for loop in outer) == [4, 4]
    assert [sorted(map(tuple, loop)) for loop in holes] == [[(4, 3), (4, 6), (8, 3), (8, 6)]]
    assert len(keyholed(RING)) == 2


def test_a_border_runs_along_the_edges_of_pixels_clockwise() -> None:
    mask = np.zeros((4, 5), bool)
    mask[1, 2:4] = True
    ((loop,), holes) = contours(mask)
    assert not holes
    start = int(np.flatnonzero((loop == (2, 1)).all(axis=1))[0])
    assert np.roll(loop, -start, axis=0).tolist() == [[2, 1], [4, 1], [4, 2], [2, 2]]


@pytest.mark.parametrize("mask", [np.zeros((3, 3), bool), np.zeros((1, 1), bool)])
def test_nothing_has_no_border(mask: NDArray[np.bool_]) -> None:
    assert contours(mask) == ([], [])
    assert keyholed(mask) == []
