"""What is noted of an instance while it is received: all that a volume asks of its header, and where its pixels lie.

A note is made of the bytes themselves, in one walk over the elements that stand before the pixel data (PS3.5 section
7), and kept in the row of the instance, so that nobody has to parse 500 headers again to put 500 slices in order. It
tells of ordinary single-frame images only. What is the least bit odd – many frames, big endian, deflated, a value that
is not written as its VR asks – is not noted, and read by pydicom when it is needed.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct, error, unpack_from
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

KEYWORDS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "ImageType",
    "FrameOfReferenceUID",
    "SeriesNumber",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
    "DoseGridScaling",
    "AcquisitionNumber",
    "AcquisitionTime",
    "ContentTime",
    "ConvolutionKernel",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "EchoNumbers",
    "EchoTime",
    "FlipAngle",
    "FrameReferenceTime",
    "InversionTime",
    "KVP",
    "NominalPercentageOfCardiacPhase",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "TriggerTime",
)
"""What is noted, in the order of the note; a change of it needs another `FORM`."""
ELSEWHERE = ("NumberOfFrames", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "InversionTimes")
"""Attributes whose presence alone means that a note would not do."""
CHARACTER_SET = "SpecificCharacterSet"
"""Not noted, but looked at: pydicom cannot read a header in which it is broken."""
CHARACTER_SETS = re.compile(r"[A-Z0-9_ \\]*")
FORM = 1
PIXELS = 0x7FE00010
TRANSFER_SYNTAX = 0x00020010
PREFIX = 132
"""Bytes of the preamble with "DICM" (PS3.10 section 7.1)."""
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
EXPLICIT, IMPLICIT, LENGTH = Struct("<HH2sH"), Struct("<HHL"), Struct("<L")
LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
SHORT = frozenset(
    {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
     b"ST", b"TM", b"UI", b"UL", b"US"}
)  # fmt: skip
"""VRs with a length of 32 and of 16 bits (PS3.5 7.1.2)."""
DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
WHOLE = re.compile(r"0|-?[1-9]\d*")
NUMBERS = {"US": (2, "H"), "UL": (4, "L"), "FL": (4, "f"), "FD": (8, "d")}


class Odd(Exception):
    """Something that a note cannot tell of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What is known of an instance without its header.

    Parameters
    ----------
    values
        By keyword, those that the header has and that are not empty: text, whole numbers, decimals as the text that
        they are written as; a list where there are several.
    syntax
        Transfer Syntax UID.
    vr, value_at, value_length
        VR of the pixel data, empty in implicit VR; where their value begins, counted from the preamble, and the length
        that it says it has.
    """

    values: Mapping[str, Any]
    syntax: str
    vr: str
    value_at: int
    value_length: int

    @property
    def volume_bytes(self) -> int:
        """How many bytes its slice is likely to have in a volume: int16 without a slope, else float32."""
        whole = float(self.values.get("RescaleSlope", 1)) == 1
        return (2 if whole else 4) * int(self.values.get("Rows", 0)) * int(self.values.get("Columns", 0))


def note_of(data: bytes, syntax: str, *, before: int) -> str:
    """Return the note of a data set as text for its row, empty where it is not ordinary.

    `before` says how many bytes of the Part 10 file stand before the data set: preamble and meta information.
    """
    try:
        return _text(_noted(data, syntax, 0, before))
    except Odd:
        return ""


def note_of_file(start: bytes) -> Note | None:
    """Return the note of a Part 10 file of which `start` is the beginning; None where it is odd, or goes on."""
    if start[PREFIX - 4 : PREFIX] != b"DICM":
        return None
    try:
        at, syntax = PREFIX, ""
        while start[at : at + 2] == b"\x02\x00":
            tag, _, value_at, length = _element(start, at, implicit=False)
            if tag == TRANSFER_SYNTAX:
                syntax = start[value_at : value_at + length].decode("ascii").rstrip("\0 ")
            at = value_at + length
        return _noted(start, syntax, at, 0)
    except (Odd, UnicodeDecodeError, error):
        return None


def read_note(text: str) -> Note | None:
    """Return a note from its text, None where there is none, or one of another form."""
    if not text:
        return None
    form, syntax, vr, value_at, value_length, *values = json.loads(text)
    if form != FORM:
        return None
    told = {keyword: value for keyword, value in zip(KEYWORDS, values, strict=True) if value is not None}
    return Note(values=told, syntax=syntax, vr=vr, value_at=value_at, value_length=value_length)


def _text(note: Note) -> str:
    values = [note.values.get(keyword) for keyword in KEYWORDS]
    whole = [FORM, note.syntax, note.vr, note.value_at, note.value_length, *values]
    return json.dumps(whole, separators=(",", ":"))


def _noted(data: bytes, syntax: str, at: int, before: int) -> Note:
    """Walk over the elements of a data set up to its pixel data."""
    if not _ordinary(syntax):
        raise Odd
    implicit = syntax == ImplicitVRLittleEndian
    if data[at + 4 : at + 6].isalpha() == implicit:  # it is not encoded as it says
        raise Odd
    values: dict[str, Any] = {}
    wanted, last = _wanted(), 0
    try:
        while True:
            tag, vr, value_at, length = _element(data, at, implicit=implicit)
            if tag <= last or tag >= 0x7FE00000:
                break
            last = tag
            at = value_at + length if length != UNDEFINED else _after(data, value_at, vr, implicit=implicit)
            if tag in wanted:
                keyword, kind, read = wanted[tag]
                if vr not in (b"", kind) or at - value_at != length or len(data) < at:
                    raise Odd
                value = read(data[value_at:at])
                if value != "":
                    values[keyword] = value
    except error as outside:
        raise Odd from outside
    if tag != PIXELS or vr not in ((b"",) if implicit else (b"OB", b"OW")):
        raise Odd
    return Note(values=values, syntax=syntax, vr=vr.decode(), value_at=before + value_at, value_length=length)


def _element(data: bytes, at: int, *, implicit: bool) -> tuple[int, bytes, int, int]:
    """Return tag, VR, place and length of the value of one element; struct.error where the bytes end before."""
    if implicit:
        group, number, length = IMPLICIT.unpack_from(data, at)
        return group << 16 | number, b"", at + 8, length
    group, number, vr, length = EXPLICIT.unpack_from(data, at)
    if vr in SHORT:
        return group << 16 | number, vr, at + 8, length
    if vr not in LONG:
        raise Odd
    return group << 16 | number, vr, at + 12, LENGTH.unpack_from(data, at + 8)[0]


def _after(data: bytes, at: int, vr: bytes, *, implicit: bool) -> int:
    """Return where a sequence of undefined length ends (PS3.5 section 7.5)."""
    if vr not in (b"", b"SQ"):
        raise Odd
    while True:
        group, number, length = IMPLICIT.unpack_from(data, at)
        at, tag = at + 8, group << 16 | number
        if tag == SEQUENCE_END:
            return at
        if tag != ITEM:
            raise Odd
        at = at + length if length != UNDEFINED else _after_item(data, at, implicit=implicit)


def _after_item(data: bytes, at: int, *, implicit: bool) -> int:
    while IMPLICIT.unpack_from(data, at)[:2] != (ITEM_END >> 16, ITEM_END & 0xFFFF):
        _, vr, value_at, length = _element(data, at, implicit=implicit)
        at = value_at + length if length != UNDEFINED else _after(data, value_at, vr, implicit=implicit)
    return at + 8


# Values, as pydicom would give them: anything else is odd.


def _words(value: bytes) -> str | list[str]:
    text = _ascii(value).rstrip(" \0")
    if "\\" not in text:
        return text
    words = text.split("\\")
    if any(word != word.strip() for word in words):
        raise Odd
    return words


def _uid(value: bytes) -> str:
    text = _ascii(value).rstrip("\0 ")
    if "\\" in text:
        raise Odd
    return text


def _decimal(value: bytes) -> str:
    text = _ascii(value).rstrip(" \0").strip()
    if text and not DECIMAL.fullmatch(text):
        raise Odd
    return text


def _decimals(value: bytes) -> list[str] | str:
    text = _ascii(value).rstrip(" \0").strip()
    words = text.split("\\")
    if text and not all(map(DECIMAL.fullmatch, words)):
        raise Odd
    return words if text else ""


def _integer(value: bytes) -> int | str:
    text = _ascii(value).strip(" \0")
    if not text:
        return ""
    if not WHOLE.fullmatch(text):
        raise Odd
    return int(text)


def _ascii(value: bytes) -> str:
    if not value.isascii():
        raise Odd
    return value.decode("ascii")


def _binary(vr: str) -> Callable[[bytes], Any]:
    size, code = NUMBERS[vr]

    def read(value: bytes) -> Any:
        if len(value) % size:
            raise Odd
        numbers = unpack_from(f"<{len(value) // size}{code}", value)
        if not numbers:
            return ""
        return numbers[0] if len(numbers) == 1 else list(numbers)

    return read


def _character_set(value: bytes) -> str:
    if not CHARACTER_SETS.fullmatch(_ascii(value).rstrip(" \0")):
        raise Odd
    return ""


def _absent(_: bytes) -> str:
    raise Odd


READERS: Mapping[str, Callable[[bytes], Any]] = {
    "CS": _words,
    "SH": _words,
    "TM": _words,
    "UI": _uid,
    "DS": _decimal,
    "IS": _integer,
    **{vr: _binary(vr) for vr in NUMBERS},
}
"""How a value of each VR is read (PS3.5 section 6.2)."""
SEVERAL = {"ImagePositionPatient": _decimals, "ImageOrientationPatient": _decimals, "PixelSpacing": _decimals}
"""How those are read that have several decimals."""


@lru_cache(maxsize=256)
def _ordinary(syntax: str) -> bool:
    """Return whether a data set of a transfer syntax is in little endian, and as it is."""
    uid = UID(syntax)
    odd = (DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)
    return not uid.is_private and uid.is_transfer_syntax and uid not in odd


@lru_cache(maxsize=1)
def _wanted() -> dict[int, tuple[str, bytes, Callable[[bytes], Any]]]:
    """Return keyword, VR and reader by tag."""
    tags = {keyword: tag_for_keyword(keyword) or 0 for keyword in (*KEYWORDS, *ELSEWHERE, CHARACTER_SET)}
    return {tag: (keyword, (vr := dictionary_VR(tag)).encode(), _reader(keyword, vr)) for keyword, tag in tags.items()}


def _reader(keyword: str, vr: str) -> Callable[[bytes], Any]:
    if keyword == CHARACTER_SET:
        return _character_set
    return SEVERAL.get(keyword, READERS[vr]) if keyword in KEYWORDS else _absent
