"""Size of a compressed frame, as its code stream states it.

A code stream of 65535 × 65535 pixels fits into a hundred bytes, and a codec allocates what it states. The size is
compared with the header before anything is decoded.
"""

import struct
from collections.abc import Callable

SOC_SIZ = b"\xff\x4f\xff\x51"
"""JPEG 2000 and HTJ2K: start of code stream, then the size (ISO/IEC 15444-1 annex A)."""
JP2 = b"\0\0\0\x0cjP  "
"""A JP2 file around the code stream, which PS3.5 section A.4.4 forbids and some archives write."""
SIZ = struct.Struct(">4x2x2xIIII")
"""After the two markers: length, capabilities, size of the reference grid, offset of the image in it."""
SOI = b"\xff\xd8"
STARTS_OF_FRAME = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}
"""JPEG and JPEG-LS (ISO/IEC 10918-1 table B.1, ISO/IEC 14495-1 annex C)."""
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
MOST_SEGMENTS = 10_000

Read = Callable[[int, int], bytes]
"""Returns at most so many bytes (second) from an offset (first) of the code stream."""


def size_of(read: Read) -> tuple[int, int] | None:
    """Return rows and columns that a code stream states; None where it is of no known kind, or does not say."""
    start = read(0, 4)
    if start == SOC_SIZ:
        return _jpeg2000(read(0, SIZ.size))
    if start[:2] == SOI:
        return _jpeg(read)
    if start == JP2[:4] and (at := read(0, 4096).find(SOC_SIZ)) >= 0:
        return _jpeg2000(read(at, SIZ.size))
    return None


def _jpeg2000(head: bytes) -> tuple[int, int] | None:
    if len(head) < SIZ.size:
        return None
    columns, rows, left, top = SIZ.unpack(head)
    return rows - top, columns - left


def _jpeg(read: Read) -> tuple[int, int] | None:
    at = len(SOI)
    for _ in range(MOST_SEGMENTS):
        head = read(at, 9)
        if len(head) < 9 or head[0] != 0xFF or head[1] in (START_OF_SCAN, END_OF_IMAGE):
            return None
        if head[1] == 0xFF:  # a fill byte
            at += 1
            continue
        if head[1] in STARTS_OF_FRAME:
            rows, columns = struct.unpack(">HH", head[5:9])
            return (rows, columns) if rows else None  # 0: the number of lines comes later (DNL)
        at += 2 + int.from_bytes(head[2:4], "big")
    return None
