"""A PNG of ours is one: Pillow reads it, pixel by pixel what was written, and a flaw in it does not go unseen."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from node.compose.png import png


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (640, 481), (1000, 1600)])
def test_pillow_reads_what_was_written(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (*size[::-1], 3), np.uint8)
    content = png(Image.fromarray(pixels))
    with Image.open(BytesIO(content)) as read:
        read.verify()
    with Image.open(BytesIO(content)) as read:
        assert (read.format, read.mode, read.size) == ("PNG", "RGB", size)
        assert np.array_equal(np.asarray(read), pixels)


def test_a_plain_ground_takes_next_to_nothing() -> None:
    assert len(png(Image.new("RGB", (1000, 1000), (17, 20, 24)))) < 30_000


def test_a_flipped_bit_is_found() -> None:
    content = bytearray(png(Image.new("RGB", (64, 64), (17, 20, 24))))
    content[45] ^= 1
    with Image.open(BytesIO(bytes(content))) as read, pytest.raises(SyntaxError):
        read.verify()
