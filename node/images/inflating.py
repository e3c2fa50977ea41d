"""Deflated data sets (PS3.5 section A.5): whether they inflate to what their header says, and to no more.

A megabyte can inflate to a gigabyte. pydicom inflates a data set as a whole, so its size is looked at first, piece by
piece, and nothing is kept.
"""

import zlib
from collections.abc import Iterator
from io import BufferedReader, BytesIO
from typing import BinaryIO

from pydicom.dataset import Dataset
from pydicom.filereader import _read_file_meta_info, read_dataset, read_preamble
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from node.errors import NotUnderstood
from node.images.elements import PIXELS
from node.images.header_summary import read_syntax
from node.images.part10 import FAULTS, understood

PIECE = 2**20
LARGEST_HEADER = 64 * 2**20
"""At most so many bytes are before and behind the pixel data."""
LARGEST = 512 * 2**20
"""No process of the node inflates more."""
SEARCHED = 8 * 2**20
"""The size of the pixel data is looked for in so many bytes."""


def check_inflated_size(file: BufferedReader) -> None:
    """Check an instance, and leave `file` at its beginning.

    Raises
    ------
    NotUnderstood
        It is deflated, and larger than its header says or than `LARGEST`, or it cannot be inflated.
    """
    with understood():
        if _is_plainly_inflated(file):
            return
        read_preamble(file, force=True)
        meta = _read_file_meta_info(file)
        if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            _check(file)
    file.seek(0)


def _is_plainly_inflated(file: BufferedReader) -> bool:
    """Return whether another transfer syntax stands in the first bytes: pydicom takes many times as long to say so."""
    start = file.peek()
    syntax, at = read_syntax(start) or ("", 0)
    return at < len(start) and syntax not in ("", DeflatedExplicitVRLittleEndian)


def _check(file: BinaryIO) -> None:
    start, size, allowed = bytearray(), 0, LARGEST_HEADER
    for piece in _inflated(file):
        size += len(piece)
        if size <= SEARCHED:
            start += piece
            continue
        if start:
            allowed = min(LARGEST, LARGEST_HEADER + pixel_bytes(bytes(start)))
            start.clear()
        if size > allowed:
            raise NotUnderstood(
                f"the deflated data set is larger than {allowed // 2**20} MB, more than its header says; the sender "
                "must send it in another transfer syntax"
            )


def _inflated(file: BinaryIO) -> Iterator[bytes]:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    rest = file.read(PIECE)
    while rest and not inflate.eof:
        yield inflate.decompress(rest, PIECE)
        rest = inflate.unconsumed_tail or file.read(PIECE)


def pixel_bytes(start: bytes) -> int:
    """Return how many bytes the pixel data have by the header; `LARGEST` where the header is not whole."""
    reached = []

    def is_pixel(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        if int(tag) in PIXELS:
            reached.append(tag)
        return bool(reached)

    try:
        header: Dataset = read_dataset(BytesIO(start), is_implicit_VR=False, is_little_endian=True, stop_when=is_pixel)
    except FAULTS:
        return LARGEST
    if not reached:
        return LARGEST
    keywords = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "NumberOfFrames")
    rows, columns, samples, bits, frames = (int(header.get(keyword) or 0) for keyword in keywords)
    return rows * columns * samples * max(frames, 1) * ((bits + 7) // 8)
