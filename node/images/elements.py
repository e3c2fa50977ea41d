"""Walk over the elements of an encoded data set (PS3.5 section 7) from length to length, without decoding values.

This takes a tenth of the time that pydicom needs. The walk does not judge: it ends at anything unusual, and then
pydicom reads the data set or refuses it.
"""

import struct
from collections.abc import Container
from typing import NamedTuple

FIRST = 0x00080000
"""Lower tags do not belong to a data set, but to commands and file meta information (PS3.7, PS3.10)."""
PIXEL_DATA = 0x7FE00010
PIXELS = (0x7FE00008, 0x7FE00009, PIXEL_DATA)
"""Float, Double Float and Pixel Data: the header ends before them."""
END, CUT = 0, -1
"""In place of a tag: the bytes end behind an element, or inside an element that cannot be walked over."""

ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
UNDEFINED = 0xFFFFFFFF
DEPTH = 16
EXPLICIT = struct.Struct("<HH2sH")
IMPLICIT = struct.Struct("<HHI")
LENGTH = struct.Struct("<I")
LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
SHORT = frozenset(
    (b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
     b"ST", b"TM", b"UI", b"UL", b"US")
)  # fmt: skip
"""VRs with two reserved bytes and a length of four bytes, and VRs with a length of two (PS3.5 section 7.1.2)."""

Element = tuple[int, bytes, int, int]
"""Tag, VR (empty in implicit VR), length, and the offset of the value."""


class Doubt(Exception):
    """The encoding is unusual."""


class Walk(NamedTuple):
    """How far a data set was walked over, and which wanted elements were found.

    `found` has VR (empty in implicit VR) and value of the wanted elements, by tag. The walk ended at `tag`: one of
    `PIXELS`, `END` or `CUT`; `last` is the tag before it. At pixel data, `vr`, `value_at` and `length` describe them.
    """

    found: dict[int, tuple[bytes, bytes]]
    last: int
    tag: int
    vr: bytes = b""
    value_at: int = 0
    length: int = 0


def walk(data: bytes, *, explicit: bool, wanted: Container[int], at: int = 0) -> Walk:
    """Walk over a little endian data set, or its beginning, from the offset `at` up to its pixel data."""
    found: dict[int, tuple[bytes, bytes]] = {}
    last, size, unpack = FIRST - 1, len(data), EXPLICIT.unpack_from
    try:
        while at < size:
            if explicit:  # a copy of `_explicit`, which would cost a call for each element
                group, element, vr, length = unpack(data, at)
                tag, start = group << 16 | element, at + 8
                if vr not in SHORT:
                    tag, vr, length, start = _explicit(data, at)
            else:
                tag, vr, length, start = _implicit(data, at)
            if tag <= last:
                break
            if tag in PIXELS:
                return Walk(found, last, tag, vr, start, length)
            last = tag
            if length == UNDEFINED:
                at, vr = _after(data, start, length, vr, explicit, 0), b"SQ"
            else:
                at = start + length
            if tag in wanted and at <= size:
                found[tag] = vr, data[start:at]
    except (Doubt, struct.error):
        return Walk(found, last, CUT)
    return Walk(found, last, END if at == size else CUT)


def _explicit(data: bytes, at: int) -> Element:
    group, element, vr, length = EXPLICIT.unpack_from(data, at)
    if vr in LONG:
        return group << 16 | element, vr, LENGTH.unpack_from(data, at + 8)[0], at + 12
    if vr not in SHORT:
        raise Doubt
    return group << 16 | element, vr, length, at + 8


def _implicit(data: bytes, at: int) -> Element:
    group, element, length = IMPLICIT.unpack_from(data, at)
    if data[at + 4 : at + 6].isupper():  # it looks like a VR, and pydicom would read it as a VR
        raise Doubt
    return group << 16 | element, b"", length, at + 8


def _after(data: bytes, at: int, length: int, vr: bytes, explicit: bool, depth: int) -> int:  # noqa: FBT001
    """Return where the next element begins; Doubt for a value of undefined length that is not a sequence."""
    if length != UNDEFINED:
        return at + length
    if vr not in (b"SQ", b"") or depth > DEPTH:
        raise Doubt
    while True:
        group, element, length = IMPLICIT.unpack_from(data, at)
        tag, at = group << 16 | element, at + 8
        if tag == SEQUENCE_END and length == 0:
            return at
        if tag != ITEM:
            raise Doubt
        at = at + length if length != UNDEFINED else _item_end(data, at, explicit, depth)


def _item_end(data: bytes, at: int, explicit: bool, depth: int) -> int:  # noqa: FBT001
    """Return the offset behind an item of undefined length."""
    read = _explicit if explicit else _implicit
    while True:
        group, element, length = IMPLICIT.unpack_from(data, at)
        if group << 16 | element == ITEM_END:
            if length:
                raise Doubt
            return at + 8
        _, vr, length, at = read(data, at)
        at = _after(data, at, length, vr, explicit, depth + 1)
