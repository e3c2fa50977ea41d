"""One stored instance: its attributes, and where its pixel data lie. The pixel data are not read."""

import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from io import BufferedReader, FileIO, RawIOBase
from struct import Struct
from typing import Any, BinaryIO, cast

from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from node.errors import NotUnderstood
from node.images.frame import ModalityLut
from node.images.header_summary import KEYWORDS, HeaderSummary, read_summary, summarize_file
from node.images.inflating import check_inflated_size
from node.images.part10 import Part10, parse, understood
from node.images.real_values import read_modality_lut
from node.images.usable_values import name_of, remove_unusable

PIXEL_KEYWORDS = {
    (0x7FE0, 0x0008): "FloatPixelData",
    (0x7FE0, 0x0009): "DoubleFloatPixelData",
    (0x7FE0, 0x0010): "PixelData",
}
IMPLICIT = {order: Struct(order + "HH0sL") for order in "<>"}
EXPLICIT = {order: Struct(order + "HH2s2xL") for order in "<>"}
"""Head of a pixel data element: group, element, VR, length of value; always the long form (PS3.5 7.1.2)."""
ITEM = Struct("<HHL")
UNDEFINED_LENGTH = 0xFFFFFFFF
PIXEL_VRS = {b"OB", b"OW", b"OF", b"OD", b"UN"}
ESSENTIAL = (
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PlanarConfiguration",
)
"""Numbers without which pixel data cannot be read: an instance with an unusable value here is no image."""
FIRST_BYTES = (1 << 14, 1 << 18)
"""How many bytes of an instance are searched for its header, first and second, before pydicom reads it."""


class _Window(RawIOBase):
    """The bytes of one instance, read as a file of its own."""

    name = ""  # pydicom asks for it

    def __init__(self, part: Part10, file: FileIO) -> None:
        self._file = file
        self._start = part.offset
        self._length = part.length
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        room = min(len(buffer), max(0, self._length - self._at))
        count = os.preadv(self._file.fileno(), [memoryview(buffer)[:room]], self._start + self._at) if room else 0
        self._at += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def open_instance(part: Part10) -> BufferedReader:
    """Open the instance as a file that starts with its preamble and ends with the instance; BytesLost if it is gone."""
    return BufferedReader(_Window(part, part.open()), 1 << 15)


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredInstance:
    """One instance: its attributes, and where its pixel data lie. The pixel data are not read.

    Parameters
    ----------
    part
        Where its bytes lie.
    values
        Attributes by keyword: those of the header summary for an ordinary image, else the whole header.
    syntax
        Transfer Syntax UID.
    keyword, vr
        Keyword of the pixel data element, empty where there is none; its VR, empty in implicit VR.
    value_at, value_length
        Where the value of that element begins, in bytes from the preamble (in a deflated instance: from the start of
        the inflated data set), and the length in bytes that the element states.
    unusable
        Why values of its header cannot be used, by keyword: those are absent. Empty if it has a header summary, which
        has usable values alone.
    """

    part: Part10
    values: Mapping[str, Any] | Dataset
    syntax: UID
    keyword: str
    vr: str
    value_at: int
    value_length: int
    unusable: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, part: Part10) -> "StoredInstance":
        """Return what a volume needs of an instance: from its summary, from its first bytes, or from its whole header.

        Raises
        ------
        NotUnderstood
            The bytes are not a readable data set; the message says why.
        """
        part.check()
        summary = read_summary(part.summary) or _first_bytes_summary(part)
        if summary is None:
            return cls._parsed(part)
        return cls(
            part=part,
            values=summary.values,
            syntax=uid_of(summary.syntax),
            keyword="PixelData",
            vr=summary.vr,
            value_at=summary.value_at,
            value_length=summary.value_length,
        )

    @classmethod
    def _parsed(cls, part: Part10) -> "StoredInstance":
        with header_and_stream(part) as (header, stream):
            element_at, element = stream.tell(), stream.read(12)
        unusable = remove_unusable(header)
        with understood():
            for name in KEYWORDS:
                header.get(name)  # pydicom decodes a value on its first access, and may raise then
            syntax = syntax_of(header)
            keyword, vr, head, length = _pixel_element(syntax, element)
        return cls(
            part=part,
            values=header,
            syntax=syntax,
            keyword=keyword,
            vr=vr,
            value_at=element_at + head,
            value_length=length,
            unusable=unusable,
        )

    @property
    def is_parsed(self) -> bool:
        """Whether its whole header has been read, as it is no ordinary image."""
        return isinstance(self.values, Dataset)

    def check_readable(self) -> None:
        """Raise NotUnderstood if a number that tells how to read its pixel data cannot be used."""
        if broken := next((keyword for keyword in ESSENTIAL if keyword in self.unusable), ""):
            raise NotUnderstood(f"its {name_of(broken)} cannot be read: {self.unusable[broken]}")

    @property
    def header(self) -> Dataset:
        """The data set without pixel data, and without values that cannot be used. It is read at the first access."""
        return self._usable[0]

    @property
    def left_out(self) -> Mapping[str, str]:
        """Why values are missing in `header`, by keyword. The header is read for it."""
        return self._usable[1]

    @cached_property
    def _usable(self) -> tuple[Dataset, Mapping[str, str]]:
        if isinstance(self.values, Dataset):
            return self.values, self.unusable
        with header_and_stream(self.part) as (header, _):
            return header, remove_unusable(header)

    @cached_property
    def modality_lut(self) -> ModalityLut | None:
        """Its Modality LUT; None if it has none. NotUnderstood if it cannot be read."""
        return read_modality_lut(self.values)

    @property
    def missing(self) -> int:
        """How many bytes are missing at the end of the pixel data, as far as that is known.

        Codecs do not report it: OpenJPEG decodes half a code stream to an image.
        """
        if self.syntax == DeflatedExplicitVRLittleEndian:
            return 0
        begins, lengths = self.fragments
        end = begins[-1] + ITEM.size + lengths[-1] if begins else self.value_at
        if self.value_length != UNDEFINED_LENGTH:
            end = self.value_at + self.value_length
        return max(0, end - self.part.length)

    @cached_property
    def fragments(self) -> tuple[list[int], list[int]]:
        """Where each item of encapsulated pixel data begins, in bytes from the preamble, and the length it states.

        The first item is the Basic Offset Table (PS3.5 A.4). They are read once: a slide has many tiles.
        """
        return _fragments(self.part, self.value_at) if self.value_length == UNDEFINED_LENGTH else ([], [])

    @cached_property
    def offsets(self) -> tuple[list[int], list[int]] | None:
        """Offset and length of each frame, as in an Extended Offset Table (PS3.3 C.7.6.3.1.8).

        None where a frame may consist of several fragments.
        """
        begins, lengths = (values[1:] for values in self.fragments)
        if len(begins) != int(self.values.get("NumberOfFrames") or 1):
            return None
        return [begin - begins[0] for begin in begins], lengths


@lru_cache(maxsize=256)
def uid_of(text: str) -> UID:
    """Return a cached UID object. Many instances share it, and pydicom validates each new object letter by letter."""
    return UID(text)


def _first_bytes_summary(part: Part10) -> HeaderSummary | None:
    """Return the header summary of an instance; None if it is not an ordinary image, or its header is very long."""
    with part.path.open("rb", buffering=0) as file:
        for size in FIRST_BYTES:
            start = os.pread(file.fileno(), min(size, part.length), part.offset)
            if (summary := summarize_file(start)) is not None or size >= part.length:
                return summary
    return None


@contextmanager
def header_and_stream(part: Part10) -> Iterator[tuple[FileDataset, BinaryIO]]:
    """Yield the header, and the stream that it was read from, positioned behind it. A deflated data set is inflated.

    NotUnderstood where it cannot be read, or inflates to more than its header says.
    """
    with open_instance(part) as file:
        check_inflated_size(file)
        try:
            header = cast(FileDataset, parse(file, pixels=False))
        except zlib.error as error:
            raise NotUnderstood(f"the data set cannot be inflated: {error}") from error
        stream = cast(BinaryIO, header.buffer or file)
        header.buffer = None  # a deflated header would keep its whole data set in memory
        yield header, stream


def syntax_of(header: Dataset) -> UID:
    """Return the transfer syntax; if the file does not state it, that of the data set's encoding."""
    if named := header.file_meta.get("TransferSyntaxUID"):
        return UID(named)
    implicit, little = header.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _pixel_element(syntax: UID, element: bytes) -> tuple[str, str, int, int]:
    """Return keyword, VR, bytes before the value and length of the value of an element, from its first bytes."""
    order = "<" if syntax.is_little_endian else ">"
    # Some compressed data sets are in implicit VR, against their transfer syntax. pydicom reads them too.
    implicit = syntax.is_implicit_VR or element[4:6] not in PIXEL_VRS
    layout, head = (IMPLICIT[order], 8) if implicit else (EXPLICIT[order], 12)
    if len(element) < head:
        return "", "", 0, 0
    group, number, vr, length = layout.unpack(element[:head])
    return PIXEL_KEYWORDS.get((group, number), ""), vr.strip(b"\0").decode("ascii", "replace"), head, length


def _fragments(part: Part10, value_at: int) -> tuple[list[int], list[int]]:
    """Return where the items of a value of undefined length begin, and their lengths (PS3.5 A.4)."""
    begins: list[int] = []
    lengths: list[int] = []
    with part.path.open("rb", buffering=0) as file:
        at = value_at
        while at + ITEM.size <= part.length:
            group, number, size = ITEM.unpack(os.pread(file.fileno(), ITEM.size, part.offset + at))
            if (group, number) != (0xFFFE, 0xE000):
                break
            begins.append(at)
            lengths.append(size)
            at += ITEM.size + size
    return begins, lengths
