"""The summary of an instance's header: every attribute that a volume needs, and where the pixel data lie.

It is made while the instance is received, from one walk over the elements before the pixel data
(`node.images.elements`), and kept in the ledger's row of the instance (column `note`). A study of 500 slices is put in
order without parsing 500 headers again.

Only ordinary single-frame images have a summary. Anything unusual (several frames, big endian, deflated, a value that
does not follow its VR) has none, and pydicom reads the header when it is needed.
"""

import json
import math
import re
from collections.abc import Callable, Container, Mapping
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
    "RescaleType",
    "DoseGridScaling",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
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
"""What a summary holds, in this order. A change needs another `FORM`."""
EXCLUDING = (
    "NumberOfFrames",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "InversionTimes",
    "ModalityLUTSequence",
    "RealWorldValueMappingSequence",
)
"""An instance that has one of these attributes has no summary: it has several frames, several values, or a table."""
CHARACTER_SET = "SpecificCharacterSet"
"""Checked, but not kept: pydicom cannot read a header in which it is malformed."""
CHARACTER_SETS = re.compile(r"[A-Z0-9_ \\]*")
FORM = 3
PIXEL_GROUP = 0x7FE00000
TRANSFER_SYNTAX = 0x00020010
PREFIX = 132
"""Bytes of the preamble with "DICM" (PS3.10 section 7.1)."""
SHORT_VALUE = 128
"""Longer values, in bytes, are not cached."""
DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
WHOLE = re.compile(r"0|-?[1-9]\d*")
NUMBERS = {"US": (2, "H"), "UL": (4, "L"), "FL": (4, "f"), "FD": (8, "d"), "US or SS": (2, "H")}


class NotOrdinary(Exception):
    """The instance cannot be summarized."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderSummary:
    """Attributes of an instance, known without reading its header.

    Parameters
    ----------
    values
        By keyword, for attributes that are present and not empty: text, whole numbers, decimals as they are written
        (text); a list if there are several values.
    syntax
        Transfer Syntax UID.
    vr, value_at, value_length
        VR of the pixel data, empty in implicit VR; where their value begins, in bytes from the preamble, and the length
        that the element states.
    """

    values: Mapping[str, Any]
    syntax: str
    vr: str
    value_at: int
    value_length: int

    @property
    def volume_bytes(self) -> int:
        """How many bytes the slice takes in a volume: int16 without a slope, else float32."""
        whole = float(self.values.get("RescaleSlope", 1)) == 1
        return (2 if whole else 4) * int(self.values.get("Rows", 0)) * int(self.values.get("Columns", 0))


def summarize(walked: Walk, syntax: str, *, before: int) -> str:
    """Return the summary of a data set as text for its row, empty if the data set is not ordinary.

    `before` is the number of bytes of the Part 10 file before the part that was walked over.
    """
    implicit = syntax == ImplicitVRLittleEndian
    if walked.tag != PIXEL_DATA or walked.last >= PIXEL_GROUP or not _ordinary(syntax):
        return ""
    if walked.vr not in ((b"",) if implicit else (b"OB", b"OW")):
        return ""
    values = ["null"] * (len(KEYWORDS) + len(EXCLUDING) + 1)
    try:
        for tag, (vr, value) in walked.found.items():
            if tag not in SUMMARIZED:
                continue
            index, expected_vrs, _ = SUMMARIZED[tag]
            if vr and vr not in expected_vrs:
                return ""
            values[index] = (_cached_json if len(value) <= SHORT_VALUE else _json)(tag, value)
    except NotOrdinary:
        return ""
    pixels = f'"{syntax}","{walked.vr.decode()}",{before + walked.value_at},{walked.length}'
    return f"[{FORM},{pixels},{','.join(values[: len(KEYWORDS)])}]"


def summarize_file(start: bytes) -> HeaderSummary | None:
    """Return the summary of a Part 10 file of which `start` is the beginning.

    None if the instance is not ordinary, or its pixel data begin later.
    """
    found = walk_file(start, SUMMARIZED)
    return read_summary(summarize(*found, before=0)) if found else None


def walk_file(start: bytes, wanted: Container[int]) -> tuple[Walk, str] | None:
    """Walk over the beginning of a Part 10 file, and return the walk and the Transfer Syntax UID.

    None if it is no such file, or its File Meta Information is out of the ordinary.
    """
    if (meta := read_syntax(start)) is None:
        return None
    syntax, at = meta
    return walk(start, explicit=syntax != ImplicitVRLittleEndian, wanted=wanted, at=at), syntax


def read_syntax(start: bytes) -> tuple[str, int] | None:
    """Return the Transfer Syntax UID of a Part 10 file, empty without one, and where its data set begins.

    None if it is no such file, or its File Meta Information is out of the ordinary.
    """
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
    return syntax, at


def read_summary(text: str) -> HeaderSummary | None:
    """Return a summary from its text; None if the text is empty, or of another form."""
    if not text:
        return None
    form, syntax, vr, value_at, value_length, *values = json.loads(text)
    if form != FORM:
        return None
    known = {keyword: value for keyword, value in zip(KEYWORDS, values, strict=True) if value is not None}
    return HeaderSummary(values=known, syntax=syntax, vr=vr, value_at=value_at, value_length=value_length)


def _meta_element(data: bytes, at: int) -> tuple[int, int, int]:
    """Return tag, offset of the value and its length of an element of File Meta Information (PS3.10 section 7.1)."""
    group, number, vr, length = EXPLICIT.unpack_from(data, at)
    if vr in LONG:
        return group << 16 | number, at + 12, LENGTH.unpack_from(data, at + 8)[0]
    return group << 16 | number, at + 8, length


# Values as pydicom would return them. NotOrdinary is raised for anything else.


def _texts(value: bytes) -> str | list[str]:
    text = _ascii(value).rstrip(" \0")
    if "\\" not in text:
        return text
    texts = text.split("\\")
    if any(item != item.strip() for item in texts):
        raise NotOrdinary
    return texts


def _uid(value: bytes) -> str:
    text = _ascii(value).rstrip("\0 ")
    if "\\" in text or text != text.strip():
        raise NotOrdinary
    return text


def _decimal(value: bytes) -> str:
    text = _ascii(value).rstrip(" \0").strip()
    if text and not is_decimal(text):
        raise NotOrdinary
    return text


def _decimals(count: int) -> Callable[[bytes], Any]:
    def read(value: bytes) -> list[str] | str:
        text = _ascii(value).rstrip(" \0").strip()
        numbers = text.split("\\")
        if text and not (len(numbers) == count and all(map(is_decimal, numbers))):
            raise NotOrdinary
        return numbers if text else ""

    return read


def is_decimal(text: str) -> bool:
    """Return whether a text is a finite number (VR DS)."""
    return DECIMAL.fullmatch(text) is not None and math.isfinite(float(text))


def _integer(value: bytes) -> int | str:
    text = _ascii(value).strip(" \0")
    if not text:
        return ""
    if not WHOLE.fullmatch(text):
        raise NotOrdinary
    return int(text)


def _ascii(value: bytes) -> str:
    if not value.isascii():
        raise NotOrdinary
    return value.decode("ascii")


def _binary(vr: str, count: int = 1) -> Callable[[bytes], Any]:
    size, code = NUMBERS[vr]

    def read(value: bytes) -> Any:
        if len(value) % size:
            raise NotOrdinary
        numbers = unpack_from(f"<{len(value) // size}{code}", value)
        if not numbers:
            return ""
        if len(numbers) != count or not all(map(math.isfinite, numbers)):
            raise NotOrdinary
        return numbers[0] if count == 1 else list(numbers)

    return read


def _character_set(value: bytes) -> str:
    if not CHARACTER_SETS.fullmatch(_ascii(value).rstrip(" \0")):
        raise NotOrdinary
    return ""


def _absent(_: bytes) -> str:
    raise NotOrdinary


READERS: Mapping[str, Callable[[bytes], Any]] = {
    "CS": _texts,
    "LO": _texts,
    "SH": _texts,
    "TM": _texts,
    "UI": _uid,
    "DS": _decimal,
    "IS": _integer,
    **{vr: _binary(vr) for vr in NUMBERS},
}
"""The reader of a value, by VR (PS3.5 section 6.2)."""
MULTI_VALUED = {
    "ImagePositionPatient": _decimals(3),
    "ImageOrientationPatient": _decimals(6),
    "PixelSpacing": _decimals(2),
    "DiffusionGradientOrientation": _binary("FD", 3),
}
"""Readers of attributes that have several numbers."""


@lru_cache(maxsize=256)
def _ordinary(syntax: str) -> bool:
    """Return whether data sets of a transfer syntax are in little endian and not deflated."""
    uid = UID(syntax)
    excluded = (DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)
    return not uid.is_private and uid.is_transfer_syntax and uid not in excluded


def _reader(keyword: str) -> Callable[[bytes], Any]:
    if keyword == CHARACTER_SET:
        return _character_set
    return MULTI_VALUED.get(keyword, READERS[dictionary_VR(keyword)]) if keyword in KEYWORDS else _absent


SUMMARIZED = {
    tag_for_keyword(keyword) or 0: (index, tuple(dictionary_VR(keyword).encode().split(b" or ")), _reader(keyword))
    for index, keyword in enumerate((*KEYWORDS, *EXCLUDING, CHARACTER_SET))
}
"""Index in the summary, VRs, and reader of each attribute that is checked, by tag. Only those of KEYWORDS are kept."""


def _json(tag: int, value: bytes) -> str:
    """Return a value as JSON; NotOrdinary if pydicom might read another value."""
    _, _, read = SUMMARIZED[tag]
    content = read(value)
    return "null" if content == "" else json.dumps(content, separators=(",", ":"))


_cached_json = lru_cache(maxsize=4096)(_json)
"""Most values of a series are the same in all of its instances."""
