"""The border for header values: what is no value of its attribute is removed from a header, so that it is absent.

Whoever reads a header behind this border finds numbers as numbers, or nothing. A comma in a decimal, a text that is no
number, an infinite number, a wrong count of values and a time zone that does not exist never reach a calculation.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from struct import iter_unpack

from pydicom.datadict import dictionary_description, dictionary_VM, dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from node.images.header_summary import is_decimal
from node.images.part10 import FAULTS

INTEGER = re.compile(r"[+-]?\d+(?:\.0*)?")
ZONE = re.compile(r"-(?:0\d|1[01])[0-5]\d|-1200|\+(?:0\d|1[0-3])[0-5]\d|\+1400")
"""Timezone Offset From UTC: -1200 to +1400 (PS3.3 C.12.1.1.8)."""
ZONE_KEYWORD = "TimezoneOffsetFromUTC"
FIRST_GROUP = 0x0008
"""Elements of lower groups do not belong to a data set (PS3.7, PS3.10)."""
NOT_WALKED = "PerFrameFunctionalGroupsSequence"
"""There may be thousands of items. Values of frames are read one by one, by readers that expect anything."""
UTF8 = "ISO_IR 192"
WORDS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""VRs whose text is in Specific Character Set (PS3.5 section 6.1.2.2)."""
SHOWN = 24
"""Letters of a value that are repeated in a message."""


def remove_unusable(header: Dataset, *, utf8: bool = False) -> dict[str, str]:
    """Remove what cannot be used from a header, and return the reason of each, by keyword.

    Removed are numbers that are none or not finite, numbers of a wrong length or count (PS3.5 section 6.2, PS3.6), time
    zones that do not exist, sequences that cannot be read, and elements of the groups of commands and file meta
    information. Items of sequences are walked too, but not those of frames. Text that is not in UTF-8 against its
    character set (ISO_IR 192, also in the data set of an item if `utf8`) is read as ISO 8859-1, and is UTF-8 then.
    """
    found: dict[str, str] = {}
    utf8 = utf8 or header.get("SpecificCharacterSet") == UTF8
    for tag, element in list(header.items()):
        keyword = keyword_for_tag(tag)
        vr = element.VR or _vr(tag)
        if tag.group < FIRST_GROUP:
            del header[tag]
        elif vr == "SQ":
            found |= {} if keyword == NOT_WALKED else _in_items(header, tag, keyword, utf8=utf8)
        elif isinstance(element, RawDataElement) and (reason := _fault(element, vr or "", keyword)):
            del header[tag]
            found[keyword or str(tag)] = reason
        elif utf8 and vr in WORDS and isinstance(element, RawDataElement) and not _is_utf8(element.value or b""):
            value = (element.value or b"").decode("latin-1").encode()
            header[tag] = element._replace(value=value + b" " * (len(value) % 2), length=len(value) + len(value) % 2)
    return found


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def name_of(keyword: str) -> str:
    """Return the name of an attribute as the standard writes it, "Slice Thickness"; the argument if it is none."""
    tag = tag_for_keyword(keyword)
    return keyword if tag is None else dictionary_description(tag)


def _in_items(header: Dataset, tag: BaseTag, keyword: str, *, utf8: bool) -> dict[str, str]:
    try:
        items = header[tag].value or ()
        return {name: reason for item in items for name, reason in remove_unusable(item, utf8=utf8).items()}
    except FAULTS as error:
        del header[tag]
        return {keyword or str(tag): str(error)}


def _vr(tag: BaseTag) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return ""


def _fault(element: RawDataElement, vr: str, keyword: str) -> str:
    """Return why a value that is still encoded cannot be used; empty if it can, or if it is no number."""
    value = element.value
    if not isinstance(value, bytes) or not value:
        return ""
    if keyword == ZONE_KEYWORD:
        text = _text(value)
        return "" if not text or ZONE.fullmatch(text) else f"{text[:SHOWN]!r} is no time zone"
    if vr in TEXTS:
        return _text_fault(_text(value), vr, element.tag)
    if vr in SIZES:
        return _binary_fault(value, vr, element.tag, "<" if element.is_little_endian else ">")
    return ""


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace").strip(" \0")


def _text_fault(text: str, vr: str, tag: BaseTag) -> str:
    parts = text.split("\\") if text else []
    for part in parts:
        if not TEXTS[vr](part.strip()):
            return f"{text[:SHOWN]!r} is no number"
    return _count_fault(len(parts), tag)


def _binary_fault(value: bytes, vr: str, tag: BaseTag, order: str) -> str:
    size, code = SIZES[vr]
    if len(value) % size:
        return f"{len(value)} bytes are no {vr}"
    if code in "fd" and not all(math.isfinite(number) for (number,) in iter_unpack(order + code, value)):
        return "it is not a finite number"
    return _count_fault(len(value) // size, tag)


def _count_fault(count: int, tag: BaseTag) -> str:
    allowed = _allowed(tag)
    if not count or not allowed or any(low <= count <= high and count % step == 0 for low, high, step in allowed):
        return ""
    return f"it has {count} values"


@lru_cache(maxsize=1024)
def _allowed(tag: BaseTag) -> tuple[tuple[int, float, int], ...]:
    """Return the numbers of values that an attribute may have (PS3.6): lowest, highest, and of what a multiple.

    Empty for an attribute that is in no dictionary.
    """
    try:
        return tuple(_counts(dictionary_VM(tag)))
    except KeyError:
        return ()


def _counts(vm: str) -> Iterator[tuple[int, float, int]]:
    for form in vm.split(" or "):
        low, _, high = form.partition("-")
        if not high:
            yield int(low), int(low), 1
        elif high.endswith("n"):
            yield int(low), math.inf, int(high[:-1] or 1)
        else:
            yield int(low), int(high), 1


TEXTS: Mapping[str, Callable[[str], bool]] = {
    "DS": is_decimal,
    "IS": lambda text: INTEGER.fullmatch(text) is not None,
}
"""Whether a text is a number, by VR."""
SIZES = {"FL": (4, "f"), "FD": (8, "d"), "SL": (4, "l"), "SS": (2, "h"), "UL": (4, "L"), "US": (2, "H")}
"""Bytes of a binary number and its letter in `struct`, by VR."""
