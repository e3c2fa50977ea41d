"""The attributes that the node reads from the header of a data set while it receives it, and how it reads them.

The header of an ordinary data set is walked over, without pydicom; pydicom reads what is out of the ordinary.
"""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from node.images.elements import CUT, END, FIRST, PIXELS, Walk, walk
from node.images.header_summary import SUMMARIZED
from node.images.part10 import file_header, parse, understood

UID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")
"""What is accepted as a UID: PS3.5 section 9.1 allows digits and dots only, but some objects have letters in theirs.

UIDs also name folders: none can be ".." or hidden.
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
"""Keyword, VR and pattern by tag. A value that does not match its pattern is left to pydicom."""
REQUIRED = ("SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID")
"""Without these an instance cannot be filed (Type 1 in PS3.3 C.12.1, C.7.2.1 and C.7.3.1)."""

CHARACTER_SET = 0x00080005
"""Specific Character Set. pydicom refuses the whole data set where the value has a null within it."""
REQUEST_ATTRIBUTES = 0x00400275
REQUESTED_PRIORITY = 0x00401003
REQUESTED_PRIORITY_BYTES = b"\x40\x00\x03\x10"
"""Request Attributes Sequence and Requested Procedure Priority: pydicom reads a data set that may have a priority."""
LAST_TAG = REQUESTED_PRIORITY
"""The last tag that is needed."""
WANTED = frozenset((*PICKED, REQUEST_ATTRIBUTES, REQUESTED_PRIORITY, *SUMMARIZED))
"""All that the walk collects, for this module and for the summary."""
LARGEST_HEADER = 8 * 2**20
"""At most so many bytes are inflated, or read back from a pack, in search of the header."""

HeaderValues = Mapping[str, str] | Dataset
"""Values of a data set before its pixel data, by keyword."""


@dataclass(frozen=True, slots=True)
class ReceivedHeader:
    """The header of a received data set, and its summary; that is empty where it is no ordinary image."""

    values: HeaderValues
    summary: str = ""


def walked(data: bytes, transfer_syntax_uid: str) -> Walk:
    """Walk over a data set or its beginning; a deflated one must be inflated before."""
    if transfer_syntax_uid == ExplicitVRBigEndian:
        return Walk({}, FIRST, CUT)
    return walk(data, explicit=transfer_syntax_uid != ImplicitVRLittleEndian, wanted=WANTED)


def pick(walk: Walk, *, whole: bool, last_tag: int = PIXELS[-1]) -> dict[str, str] | None:
    """Return the values of `PICKED` by keyword, or None where pydicom has to read the data set.

    Parameters
    ----------
    whole
        Whether the walk was over the whole data set, not over its beginning.
    last_tag
        The walk need not have come further than this tag.
    """
    found = walk.found
    if not (walk.tag in PIXELS or walk.last > last_tag or (whole and walk.tag == END)):
        return None
    if REQUESTED_PRIORITY in found or (
        REQUEST_ATTRIBUTES in found and REQUESTED_PRIORITY_BYTES in found[REQUEST_ATTRIBUTES][1]
    ):
        return None
    if CHARACTER_SET in found and b"\0" in found[CHARACTER_SET][1]:
        return None
    picked: dict[str, str] = {}
    for tag, (keyword, its_vr, pattern) in PICKED.items():
        if tag in found:
            vr, value = found[tag]
            if vr not in (its_vr, b"") or not pattern.fullmatch(value):
                return None
            picked[keyword] = value.rstrip(b"\0 ").decode()
    return picked


def is_deflated(transfer_syntax_uid: str) -> bool:
    """Return whether data sets of a transfer syntax are deflated (PS3.5 section A.5)."""
    return transfer_syntax_uid == DeflatedExplicitVRLittleEndian


def inflated(data: bytes, *, whole: bool) -> bytes:
    """Return the first `LARGEST_HEADER` bytes of a deflated data set; NotUnderstood where it is not deflated.

    `whole` says that `data` is all of it, which must then have its end.
    """
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    with understood():
        content = inflate.decompress(data, LARGEST_HEADER)
        if whole and not inflate.eof and len(content) < LARGEST_HEADER:
            raise zlib.error("incomplete or truncated stream")
    return content


def values_of_whole(data: bytes, transfer_syntax_uid: str) -> HeaderValues:
    """Return the header values of a whole data set, already inflated; NotUnderstood where it cannot be read."""
    picked = pick(walked(data, transfer_syntax_uid), whole=True)
    return picked if picked is not None else read_values(data, transfer_syntax_uid, stop_at=None)


def read_values(data: bytes, transfer_syntax_uid: str, *, stop_at: int | None) -> HeaderValues:
    """Have pydicom read a data set up to its pixel data, or to a tag; NotUnderstood where it cannot."""
    meta = file_header(sop_class_uid="", sop_instance_uid="", transfer_syntax_uid=transfer_syntax_uid)
    with understood():
        values = parse(BytesIO(meta + data), pixels=False, stop_at=stop_at)
        for keyword in (*REQUIRED, "Modality"):
            values.get(keyword)  # pydicom decodes a value at the first access
        return values
