"""What is picked out of a data set while it is received: the one place that knows which attributes those are.

A well-formed data set is walked from length to length (PS3.5 section 7.1), without a value more being looked at than
is needed; that takes a tenth of pydicom's time. The walk judges nothing: where anything is out of the ordinary it
returns None, and the data set is pydicom's to read or to refuse.
"""

import re
import struct
from collections.abc import Mapping

from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from node.spool import Buffer

UID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")
"""What is taken as a UID: PS3.5 section 9.1 allows digits and dots only, but objects with letters in them are about.

It names folders too: none can be ".." or hidden.
"""

Pattern = re.Pattern[bytes]
UI = re.compile(UID.pattern.encode() + rb"\0?")
CS = re.compile(rb"[A-Z0-9_]{0,16} ?")
PICKED: Mapping[int, tuple[str, bytes, Pattern]] = {
    0x00080016: ("SOPClassUID", b"UI", UI),
    0x00080018: ("SOPInstanceUID", b"UI", UI),
    0x00080060: ("Modality", b"CS", CS),
    0x0020000D: ("StudyInstanceUID", b"UI", UI),
    0x0020000E: ("SeriesInstanceUID", b"UI", UI),
}
"""Tag, keyword, VR, and what its value must look like to be taken without pydicom."""

FIRST = 0x00080000
"""No tag below is one of a data set's own (PS3.7 and PS3.10 have them)."""
PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
"""Float, Double Float and Pixel Data: the header ends before them."""
REQUESTS = 0x00400275
PRIORITY = 0x00401003
PRIORITY_BYTES = b"\x40\x00\x03\x10"
"""Request Attributes Sequence, and Requested Procedure Priority, which pydicom reads where one may be."""

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
"""VRs with a length of four bytes after two of nothing, and with one of two (PS3.5 section 7.1.2)."""

Element = tuple[int, bytes, int, int]
"""Tag, VR (empty in implicit VR), length, and the offset of the value."""


class Doubt(Exception):
    """Something is out of the ordinary."""


def pick(body: Buffer, transfer_syntax_uid: str, *, whole: bool, enough: int = PIXELS[-1]) -> dict[str, str] | None:
    """Return the picked attributes of a data set by keyword, or None where pydicom must look at it.

    Parameters
    ----------
    body
        The data set, inflated where its transfer syntax deflates; or its beginning, where it is not `whole`.
    enough
        The tag up to which it is walked, where it goes on: what lies behind is of no interest.
    """
    if transfer_syntax_uid == ExplicitVRBigEndian:
        return None
    try:
        return _walk(body, transfer_syntax_uid != ImplicitVRLittleEndian, whole, enough)
    except (Doubt, struct.error):
        return None


def is_deflated(transfer_syntax_uid: str) -> bool:
    """Return whether data sets of a transfer syntax are deflated (PS3.5 section A.5)."""
    return transfer_syntax_uid == DeflatedExplicitVRLittleEndian


def _walk(body: Buffer, explicit: bool, whole: bool, enough: int) -> dict[str, str]:  # noqa: FBT001
    found: dict[str, str] = {}
    offset, last, size, unpack = 0, FIRST - 1, len(body), EXPLICIT.unpack_from
    while offset < size:
        if explicit:  # as `_explicit` does, which costs a call for each element
            group, element, vr, length = unpack(body, offset)
            tag, start = group << 16 | element, offset + 8
            if vr not in SHORT:
                tag, vr, length, start = _explicit(body, offset)
        else:
            tag, vr, length, start = _implicit(body, offset)
        if tag <= last or tag == PRIORITY:
            raise Doubt
        if tag > enough or tag in PIXELS:
            return found
        last = tag
        offset = start + length if length != UNDEFINED else _after(body, start, length, vr, explicit, 0)
        if offset > size:
            raise Doubt
        if tag in PICKED:
            keyword, its_vr, pattern = PICKED[tag]
            value = bytes(body[start:offset])
            if vr not in (its_vr, b"") or not pattern.fullmatch(value):
                raise Doubt
            found[keyword] = value.rstrip(b"\0 ").decode()
        elif tag == REQUESTS and PRIORITY_BYTES in bytes(body[start:offset]):
            raise Doubt
    if not whole:
        raise Doubt
    return found


def _explicit(body: Buffer, offset: int) -> Element:
    group, element, vr, length = EXPLICIT.unpack_from(body, offset)
    if vr in LONG:
        return group << 16 | element, vr, LENGTH.unpack_from(body, offset + 8)[0], offset + 12
    if vr not in SHORT:
        raise Doubt
    return group << 16 | element, vr, length, offset + 8


def _implicit(body: Buffer, offset: int) -> Element:
    group, element, length = IMPLICIT.unpack_from(body, offset)
    if bytes(body[offset + 4 : offset + 6]).isupper():  # looks like a VR, and pydicom would take it for one
        raise Doubt
    return group << 16 | element, b"", length, offset + 8


def _after(body: Buffer, offset: int, length: int, vr: bytes, explicit: bool, depth: int) -> int:  # noqa: FBT001
    """Return where the next element begins; of a value of undefined length only items are understood."""
    if length != UNDEFINED:
        return offset + length
    if vr not in (b"SQ", b"") or depth > DEPTH:
        raise Doubt
    while True:
        group, element, length = IMPLICIT.unpack_from(body, offset)
        tag, offset = group << 16 | element, offset + 8
        if tag == SEQUENCE_END and length == 0:
            return offset
        if tag != ITEM:
            raise Doubt
        offset = offset + length if length != UNDEFINED else _item_end(body, offset, explicit, depth)


def _item_end(body: Buffer, offset: int, explicit: bool, depth: int) -> int:  # noqa: FBT001
    """Return where an item of undefined length is over."""
    read = _explicit if explicit else _implicit
    while True:
        group, element, length = IMPLICIT.unpack_from(body, offset)
        if group << 16 | element == ITEM_END:
            if length:
                raise Doubt
            return offset + 8
        _, vr, length, offset = read(body, offset)
        offset = _after(body, offset, length, vr, explicit, depth + 1)
