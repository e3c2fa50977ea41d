"""What is noted of an instance while it is received: all that a volume asks of its header, and where its pixels lie.

A note is made of what one walk over the elements before the pixel data brought (`node.images.elements`). It is kept in
the row of the instance, so that nobody has to parse 500 headers again to put 500 slices in order. It
tells of ordinary single-frame images only. What is the least bit odd – many frames, big endian, deflated, a value that
is not written as its VR asks – is not noted, and read by pydicom when it is needed.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from struct import error, unpack_from
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from node.images.elements import EXPLICIT, LENGTH, LONG, PIXEL_DATA, Walk, walk

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
PIXEL_GROUP = 0x7FE00000
TRANSFER_SYNTAX = 0x00020010
PREFIX = 132
"""Bytes of the preamble with "DICM" (PS3.10 section 7.1)."""
SHORT_VALUE = 128
"""Bytes of a value that is worth remembering."""
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


def note_of(walked: Walk, syntax: str, *, before: int) -> str:
    """Return the note of a data set as text for its row, empty where it is not ordinary.

    `before` says how many bytes of the Part 10 file stand before what was walked over.
    """
    implicit = syntax == ImplicitVRLittleEndian
    if walked.tag != PIXEL_DATA or walked.last >= PIXEL_GROUP or not _ordinary(syntax):
        return ""
    if walked.vr not in ((b"",) if implicit else (b"OB", b"OW")):
        return ""
    told = ["null"] * (len(KEYWORDS) + len(ELSEWHERE) + 1)
    try:
        for tag, (vr, value) in walked.found.items():
            if tag not in NOTED:
                continue
            place, its_vr, _ = NOTED[tag]
            if vr not in (its_vr, b""):
                return ""
            told[place] = (_remembered if len(value) <= SHORT_VALUE else _json)(tag, value)
    except Odd:
        return ""
    pixels = f'"{syntax}","{walked.vr.decode()}",{before + walked.value_at},{walked.length}'
    return f"[{FORM},{pixels},{','.join(told[: len(KEYWORDS)])}]"


def note_of_file(start: bytes) -> Note | None:
    """Return the note of a Part 10 file of which `start` is the beginning; None where it is odd, or goes on."""
    if start[PREFIX - 4 : PREFIX] != b"DICM":
        return None
    try:
        at, syntax = PREFIX, ""
        while start[at : at + 2] == b"\x02\x00":
            tag, value_at, length = _meta_element(start, at)
            if tag == TRANSFER_SYNTAX:
                syntax = start[value_at : value_at + length].decode("ascii").rstrip("\0 ")
            at = value_at + length
    except (UnicodeDecodeError, error):
        return None
    walked = walk(start, explicit=syntax != ImplicitVRLittleEndian, wanted=NOTED, at=at)
    return read_note(note_of(walked, syntax, before=0))


def read_note(text: str) -> Note | None:
    """Return a note from its text, None where there is none, or one of another form."""
    if not text:
        return None
    form, syntax, vr, value_at, value_length, *values = json.loads(text)
    if form != FORM:
        return None
    told = {keyword: value for keyword, value in zip(KEYWORDS, values, strict=True) if value is not None}
    return Note(values=told, syntax=syntax, vr=vr, value_at=value_at, value_length=value_length)


def _meta_element(data: bytes, at: int) -> tuple[int, int, int]:
    """Return tag, place and length of the value of an element of File Meta Information (PS3.10 section 7.1)."""
    group, number, vr, length = EXPLICIT.unpack_from(data, at)
    if vr in LONG:
        return group << 16 | number, at + 12, LENGTH.unpack_from(data, at + 8)[0]
    return group << 16 | number, at + 8, length


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
    if "\\" in text or text != text.strip():
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


def _reader(keyword: str) -> Callable[[bytes], Any]:
    if keyword == CHARACTER_SET:
        return _character_set
    return SEVERAL.get(keyword, READERS[dictionary_VR(keyword)]) if keyword in KEYWORDS else _absent


NOTED = {
    tag_for_keyword(keyword) or 0: (place, dictionary_VR(keyword).encode(), _reader(keyword))
    for place, keyword in enumerate((*KEYWORDS, *ELSEWHERE, CHARACTER_SET))
}
"""Place in the note, VR, and reader of what is looked at, by tag; beyond the places of KEYWORDS nothing is noted."""


def _json(tag: int, value: bytes) -> str:
    """Return a value as JSON; Odd where pydicom might read another."""
    _, _, read = NOTED[tag]
    content = read(value)
    return "null" if content == "" else json.dumps(content, separators=(",", ":"))


_remembered = lru_cache(maxsize=4096)(_json)
"""Most values of a series are the same in all of its instances."""
