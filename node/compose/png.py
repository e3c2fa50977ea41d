"""PNG of a picture (ISO/IEC 15948), written in a tenth of the usual time."""

import struct
from collections.abc import Iterator

import numpy as np
from isal import isal_zlib
from isal.isal_zlib import crc32
from numpy.typing import NDArray
from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHUNK = struct.Struct(">I4s")
HEADER = struct.Struct(">IIBBBBB")
TRUE_COLOUR = (8, 2, 0, 0, 0)
"""Bits a sample, colour type, and the only method there is of compression, filters and no interlacing."""


def png(picture: Image.Image) -> bytes:
    """Return a picture in RGB as a PNG; Pillow reads it.

    Pillow's encoder tries five filters on each row. A page of letters and plain grounds is smaller without any, and
    ISA-L compresses it at several times the rate of zlib.
    """
    return b"".join((SIGNATURE, *_chunks(np.asarray(picture.convert("RGB")))))


def _chunks(pixels: NDArray[np.uint8]) -> Iterator[bytes]:
    rows, columns, _ = pixels.shape
    lines = np.zeros((rows, 1 + pixels[0].size), np.uint8)  # each begins with its filter: 0 is none
    lines[:, 1:] = pixels.reshape(rows, -1)
    for name, content in (
        (b"IHDR", HEADER.pack(columns, rows, *TRUE_COLOUR)),
        (b"IDAT", isal_zlib.compress(lines)),
        (b"IEND", b""),
    ):
        yield CHUNK.pack(len(content), name) + content + struct.pack(">I", crc32(content, crc32(name)))
