"""Stored values of frames, read from where their instances lie."""

import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from io import BufferedReader, FileIO, RawIOBase
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from node.errors import NotUnderstood, UnsuitableSeries
from node.images.decoded import fill
from node.images.header_summary import KEYWORDS, Note, note_of_file, read_note
from node.images.part10 import Part10, parse, understood
from node.images.series import Frame

PIXEL_KEYWORDS = {
    (0x7FE0, 0x0008): "FloatPixelData",
    (0x7FE0, 0x0009): "DoubleFloatPixelData",
    (0x7FE0, 0x0010): "PixelData",
}
NATIVE = {ImplicitVRLittleEndian: "<", ExplicitVRLittleEndian: "<", ExplicitVRBigEndian: ">"}
"""Transfer syntaxes whose stored values lie in the file as they are, and their byte order (PS3.5 annex A)."""
IMPLICIT = {order: Struct(order + "HH0sL") for order in "<>"}
EXPLICIT = {order: Struct(order + "HH2s2xL") for order in "<>"}
"""Head of a pixel data element: group, element, VR, length of value; always the long form (PS3.5 7.1.2)."""
ITEM = Struct("<HHL")
UNDEFINED_LENGTH = 0xFFFFFFFF
PIXEL_VRS = {b"OB", b"OW", b"OF", b"OD", b"UN"}
FIRST_BYTES = (1 << 14, 1 << 18)
"""How far into an instance its header is looked for, at first and at last, before pydicom reads it."""
OPTIONS = {
    "bits_allocated": "BitsAllocated",
    "bits_stored": "BitsStored",
    "columns": "Columns",
    "photometric_interpretation": "PhotometricInterpretation",
    "pixel_representation": "PixelRepresentation",
    "planar_configuration": "PlanarConfiguration",
    "rows": "Rows",
    "samples_per_pixel": "SamplesPerPixel",
}
"""What pydicom's decoders call the attributes of the Image Pixel Module."""
GREY = ("MONOCHROME1", "MONOCHROME2")
EARLY_BITS = (8, 16, 32)
"""Bits Allocated of images whose values may be decoded when they arrive."""
UNDECODABLE = (
    AttributeError,
    EOFError,
    LookupError,
    NotUnderstood,
    OSError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What pydicom and its codecs raise over broken pixel data; NotImplementedError is a RuntimeError."""


class _Window(RawIOBase):
    """The bytes of one instance as a file of its own, whatever lies before and behind it."""

    name = ""  # pydicom asks for it

    def __init__(self, place: Part10, file: FileIO) -> None:
        self._file = file
        self._start = place.offset
        self._length = place.length
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


def window(place: Part10) -> BufferedReader:
    """Return the instance as a file that begins with its preamble and ends where it ends; BytesLost if gone."""
    return BufferedReader(_Window(place, place.open()), 1 << 15)


@dataclass(frozen=True, kw_only=True, eq=False)
class Stored:
    """One instance: what it says of itself, and where its pixel data lie; they are not read.

    Parameters
    ----------
    place
        Where its bytes lie.
    values
        What it says, by keyword: what was noted of an ordinary image, else its header.
    syntax
        Its transfer syntax.
    keyword, vr
        Which pixel data element it has, empty where it has none; its VR, empty in implicit VR.
    value_at, value_length
        Where the value of that element begins, counted in bytes from the preamble (in a deflated instance: from the
        beginning of the inflated data set), and how many it says it has.
    """

    place: Part10
    values: Mapping[str, Any] | Dataset
    syntax: UID
    keyword: str
    vr: str
    value_at: int
    value_length: int

    @classmethod
    def at(cls, place: Part10) -> "Stored":
        """Learn what a volume needs of an instance: from its note, from its first bytes, or by reading its header.

        Raises
        ------
        NotUnderstood
            The bytes are not a readable data set; the message says what is wrong with them.
        """
        place.check()
        note = read_note(place.note) or _told_by_first_bytes(place)
        if note is None:
            return cls._parsed(place)
        return cls(
            place=place,
            values=note.values,
            syntax=uid_of(note.syntax),
            keyword="PixelData",
            vr=note.vr,
            value_at=note.value_at,
            value_length=note.value_length,
        )

    @classmethod
    def _parsed(cls, place: Part10) -> "Stored":
        with _stream(place) as (header, stream):
            element_at, element = stream.tell(), stream.read(12)
        with understood():
            for asked in KEYWORDS:
                header.get(asked)  # pydicom decodes a value when it is first asked for
            syntax = syntax_of(header)
            keyword, vr, head, length = _pixel_element(syntax, element)
        return cls(
            place=place,
            values=header,
            syntax=syntax,
            keyword=keyword,
            vr=vr,
            value_at=element_at + head,
            value_length=length,
        )

    @cached_property
    def header(self) -> Dataset:
        """The data set without pixel data, read when it is first asked for."""
        if isinstance(self.values, Dataset):
            return self.values
        with _stream(self.place) as (header, _):
            return header

    @property
    def missing(self) -> int:
        """How many bytes its pixel data are known to lack at their end.

        Codecs do not tell: OpenJPEG makes an image of half a code stream.
        """
        if self.syntax == DeflatedExplicitVRLittleEndian:
            return 0
        begins, lengths = self.fragments
        end = begins[-1] + ITEM.size + lengths[-1] if begins else self.value_at
        if self.value_length != UNDEFINED_LENGTH:
            end = self.value_at + self.value_length
        return max(0, end - self.place.length)

    @cached_property
    def fragments(self) -> tuple[list[int], list[int]]:
        """Where each item of encapsulated pixel data begins, from the preamble, and how many bytes it says it has.

        The first is the Basic Offset Table (PS3.5 A.4). They are looked for once: the tiles of a slide are many.
        """
        return _fragments(self.place, self.value_at) if self.value_length == UNDEFINED_LENGTH else ([], [])

    @cached_property
    def offsets(self) -> tuple[list[int], list[int]] | None:
        """Where each frame begins and its length, as the Extended Offset Table has them (PS3.3 C.7.6.3.1.8).

        None where a frame may be of several fragments.
        """
        begins, lengths = (part[1:] for part in self.fragments)
        if len(begins) != int(self.values.get("NumberOfFrames") or 1):
            return None
        return [begin - begins[0] for begin in begins], lengths


@lru_cache(maxsize=256)
def uid_of(text: str) -> UID:
    """Return a UID that many instances have: pydicom looks at each letter whenever it makes one."""
    return UID(text)


def _told_by_first_bytes(place: Part10) -> Note | None:
    """Return what would have been noted of an instance; None where it is odd, or its header is uncommonly long."""
    with place.path.open("rb", buffering=0) as file:
        for size in FIRST_BYTES:
            start = os.pread(file.fileno(), min(size, place.length), place.offset)
            if (note := note_of_file(start)) is not None or size >= place.length:
                return note
    return None


@contextmanager
def _stream(place: Part10) -> Iterator[tuple[FileDataset, BinaryIO]]:
    """Give the header, and the bytes it was read from where they stand behind it: inflated, if they were deflated."""
    with window(place) as file:
        try:
            header = cast(FileDataset, parse(file, pixels=False))
        except zlib.error as error:
            raise NotUnderstood(f"the data set cannot be inflated: {error}") from error
        stream = cast(BinaryIO, header.buffer or file)
        header.buffer = None  # else a deflated header would keep all of its data set
        yield header, stream


def syntax_of(header: Dataset) -> UID:
    """Return the transfer syntax, or what the data set looks like where its file does not say."""
    if named := header.file_meta.get("TransferSyntaxUID"):
        return UID(named)
    implicit, little = header.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _pixel_element(syntax: UID, element: bytes) -> tuple[str, str, int, int]:
    """Return keyword, VR, bytes before the value, and length of value of the element that `element` begins."""
    order = "<" if syntax.is_little_endian else ">"
    # Some compressed data sets are in implicit VR, whatever their transfer syntax says; pydicom reads them too.
    implicit = syntax.is_implicit_VR or element[4:6] not in PIXEL_VRS
    layout, head = (IMPLICIT[order], 8) if implicit else (EXPLICIT[order], 12)
    if len(element) < head:
        return "", "", 0, 0
    group, number, vr, length = layout.unpack(element[:head])
    return PIXEL_KEYWORDS.get((group, number), ""), vr.strip(b"\0").decode("ascii", "replace"), head, length


def _fragments(place: Part10, value_at: int) -> tuple[list[int], list[int]]:
    """Return where the items of a value of undefined length begin, and their lengths (PS3.5 A.4)."""
    begins: list[int] = []
    lengths: list[int] = []
    with place.path.open("rb", buffering=0) as file:
        at = value_at
        while at + ITEM.size <= place.length:
            group, number, size = ITEM.unpack(os.pread(file.fileno(), ITEM.size, place.offset + at))
            if (group, number) != (0xFFFE, 0xE000):
                break
            begins.append(at)
            lengths.append(size)
            at += ITEM.size + size
    return begins, lengths


@dataclass(frozen=True, slots=True, eq=False)
class PixelReader:
    """Reads and decodes the frames of the instances it knows, by SOP Instance UID.

    Called with frames, it gives their stored values in the same order, one by one: (row, column), in the integer type
    that Bits Allocated and Pixel Representation say, with unused bits dropped and the sign extended (PS3.5 8.1.1); or
    (row, column, 3), RGB, for colour, YBR and palette colour alike, a palette's entries as their upper 8 bits.
    MONOCHROME1 stays as it is stored: to invert it is a matter of display (PS3.3 C.7.6.3.1.2).

    Raises
    ------
    UnsuitableSeries
        Pixel data end early, or cannot be decoded; the message names the instance.
    """

    instances: Mapping[str, Stored]

    def __call__(self, frames: Sequence[Frame], into: NDArray[Any] | None = None) -> Iterator[NDArray[Any]]:
        """Give the stored values of frames, in the same order.

        `into` has a place for each of them, (frame, row, column): values of 16 bits that need no decoding are read
        right there, and given as a view of it in their own type.
        """
        with ExitStack() as files:
            opened: dict[Path, int] = {}
            for number, frame in enumerate(frames):
                stored = self.instances[frame.sop_instance_uid]
                if stored.place.path not in opened:
                    opened[stored.place.path] = files.enter_context(stored.place.open()).fileno()
                yield _values(stored, frame.number, opened[stored.place.path], None if into is None else into[number])


def _values(stored: Stored, number: int, fd: int, into: NDArray[Any] | None) -> NDArray[Any]:
    try:
        plain = _plain(stored)
        if not plain and (kept := _kept(stored, into)) is not None:
            return kept
        if missing := stored.missing:
            raise EOFError(f"{missing} bytes of its pixel data are missing")
        values = _copied(stored, number, fd, into) if plain else _decoded(stored, number)
        return _coloured(values, stored)
    except UNDECODABLE as error:
        fault = " ".join(str(error).split())
        uid = stored.values.get("SOPInstanceUID")
        raise UnsuitableSeries(f"frame {number} of instance {uid} cannot be decoded: {fault}") from error


def _plain(stored: Stored) -> bool:
    """Whether the values only need to be copied: one sample in whole bytes, and nothing compressed."""
    values = stored.values
    if stored.syntax not in NATIVE or stored.keyword != "PixelData" or int(values.get("SamplesPerPixel") or 1) != 1:
        return False
    # Bytes of 8 bit big endian data may lie in swapped pairs (PS3.5 8.1.1): left to pydicom.
    bits = values.get("BitsAllocated")
    return bits in (16, 32, 64) or (bits == 8 and NATIVE[stored.syntax] == "<")


def _copied(stored: Stored, number: int, fd: int, into: NDArray[Any] | None) -> NDArray[Any]:
    """Return one frame of uncompressed values, (row, column)."""
    said = stored.values
    values = _unfilled(stored, into)
    kind, bits = values.dtype, 8 * values.itemsize
    begin = stored.value_at + (number - 1) * values.nbytes
    if number * values.nbytes > stored.value_length:
        raise EOFError(f"its pixel data have {stored.value_length} bytes, too few for {number} frames")
    if os.preadv(fd, [values.data], stored.place.offset + begin) < values.nbytes:
        raise EOFError("its file has been cut off")
    values = values.astype(kind.newbyteorder("="), copy=False)
    used = int(said.get("BitsStored") or bits)
    if used < bits:
        high = said.get("HighBit")
        above = bits - 1 - (used - 1 if high is None else int(high))
        if above == bits - used and kind.kind == "u":  # the usual case, in one pass
            values &= kind.type(2**used - 1)
        else:
            values <<= above
            values >>= bits - used
    return values


def _unfilled(stored: Stored, into: NDArray[Any] | None) -> NDArray[Any]:
    """Return an array for the values of a frame, in the type that its file has: `into`, where they have that size."""
    said = stored.values
    sign, bits = "i" if said.get("PixelRepresentation") else "u", int(said.get("BitsAllocated") or 0)
    kind = np.dtype(f"{NATIVE.get(stored.syntax, '=')}{sign}{bits // 8}")
    if into is not None and into.itemsize == kind.itemsize and kind.isnative:
        return into.view(kind)
    return np.empty((int(said.get("Rows") or 0), int(said.get("Columns") or 0)), kind)


def early_bytes(said: Mapping[str, Any] | Dataset) -> int:
    """Return how many bytes the values of a noted image take, if it is grey and they are whole bytes; else 0.

    Only such images are decoded when they arrive.
    """
    rows, columns, bits = (said.get(keyword) for keyword in ("Rows", "Columns", "BitsAllocated"))
    grey = said.get("SamplesPerPixel", 1) == 1 and said.get("PhotometricInterpretation") in GREY
    if isinstance(said, Dataset) or not grey or not isinstance(rows, int) or not isinstance(columns, int):
        return 0
    return rows * columns * int(bits) // 8 if bits in EARLY_BITS else 0


def _kept(stored: Stored, into: NDArray[Any] | None) -> NDArray[Any] | None:
    """Return the values of an image as they were decoded when it arrived, None where they were not."""
    if stored.place.decoded is None or not early_bytes(stored.values):
        return None
    values = _unfilled(stored, into)
    return values if fill(stored.place, values) else None


def decoded_early(place: Part10) -> NDArray[Any]:
    """Return the stored values of an image that has `early_bytes`, (row, column), for readers to find them.

    Raises
    ------
    UnsuitableSeries
        It cannot be decoded, or its values are not in the type, size or Bits Stored that its header says, which readers
        count on.
    NotUnderstood, BytesLost, SpoolAway
        It cannot be read.
    """
    stored = Stored.at(place)
    frame, expected = Frame(image=stored), _unfilled(stored, None)
    (values,) = PixelReader({frame.sop_instance_uid: stored})([frame])
    beyond = 2 ** int(stored.values.get("BitsStored") or 0)
    lowest, highest = (-beyond // 2, beyond // 2 - 1) if values.dtype.kind == "i" else (0, beyond - 1)
    fits = (values.shape, values.dtype) == (expected.shape, expected.dtype)
    if not fits or values.min() < lowest or values.max() > highest:
        raise UnsuitableSeries(f"values of instance {frame.sop_instance_uid} are not as its header says")
    return values


def _decoded(stored: Stored, number: int) -> NDArray[Any]:
    """Return one frame by way of pydicom and its codecs: (row, column), or (row, column, sample)."""
    deflated = stored.syntax == DeflatedExplicitVRLittleEndian
    options = {"planar_configuration": 0, **_options(stored)}
    if stored.vr:
        options["pixel_vr"] = stored.vr
    if stored.offsets is not None and not deflated:
        options["extended_offsets"] = stored.offsets
    with _value(stored) as stream:
        values, _ = get_decoder(ExplicitVRLittleEndian if deflated else stored.syntax).as_array(
            stream, index=number - 1, **options
        )
    return values


def _options(stored: Stored) -> dict[str, Any]:
    """Return what a decoder must know of an image (PS3.3 C.7.6.3)."""
    if isinstance(stored.values, Dataset):
        return as_pixel_options(stored.values, pixel_keyword=stored.keyword)
    known = {option: stored.values.get(keyword) for option, keyword in OPTIONS.items()}
    known = {option: value for option, value in known.items() if value is not None}
    return {"number_of_frames": 1, "pixel_keyword": stored.keyword, **known}


@contextmanager
def _value(stored: Stored) -> Iterator[BinaryIO]:
    """Give the bytes of an instance from the value of its pixel data on."""
    if stored.syntax == DeflatedExplicitVRLittleEndian:
        with _stream(stored.place) as (_, stream):
            stream.seek(stored.value_at)
            yield stream
    else:
        with window(stored.place) as file:
            file.seek(stored.value_at)
            yield file


def _coloured(values: NDArray[Any], stored: Stored) -> NDArray[Any]:
    """Return palette colour as RGB (PS3.3 C.7.6.3.1.5), and everything else as it is."""
    if stored.values.get("PhotometricInterpretation") != "PALETTE COLOR":
        return values
    colours: NDArray[Any] = apply_color_lut(values, stored.header)
    return (colours >> 8).astype(np.uint8) if colours.dtype.itemsize > 1 else colours
