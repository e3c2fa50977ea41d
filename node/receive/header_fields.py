"""What is picked out of a data set while it is received: the one place that knows which attributes those are."""

import re
from collections.abc import Mapping

from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from node.images.elements import CUT, END, FIRST, PIXELS, Walk, walk
from node.images.header_summary import SUMMARIZED

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

REQUESTS = 0x00400275
PRIORITY = 0x00401003
PRIORITY_BYTES = b"\x40\x00\x03\x10"
"""Request Attributes Sequence, and Requested Procedure Priority, which pydicom reads where one may be."""
ENOUGH = PRIORITY
"""The last tag that is looked for."""
WANTED = frozenset((*PICKED, REQUESTS, PRIORITY, *SUMMARIZED))
"""What one walk brings, for all that is asked of a header."""


def walked(data: bytes, transfer_syntax_uid: str) -> Walk:
    """Walk over a data set, inflated where its transfer syntax deflates, or its beginning."""
    if transfer_syntax_uid == ExplicitVRBigEndian:
        return Walk({}, FIRST, CUT)
    return walk(data, explicit=transfer_syntax_uid != ImplicitVRLittleEndian, wanted=WANTED)


def pick(walk: Walk, *, whole: bool, enough: int = PIXELS[-1]) -> dict[str, str] | None:
    """Return the picked attributes of a data set by keyword, or None where pydicom must look at it.

    Parameters
    ----------
    whole
        Whether it was all of the data set that was walked over.
    enough
        A tag beyond which it is of no interest whether it could be walked over.
    """
    found = walk.found
    if not (walk.tag in PIXELS or walk.last > enough or (whole and walk.tag == END)):
        return None
    if PRIORITY in found or (REQUESTS in found and PRIORITY_BYTES in found[REQUESTS][1]):
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
