"""Stored values of frames, read from where their instances lie."""

import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader, FileIO, RawIOBase
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
from node.part10 import Part10, parse
from node.series import Frame

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
WORKERS = min(4, os.cpu_count() or 1)
"""Threads that decompress; the codecs let go of the interpreter lock for part of their work only, so few are enough."""
AT_ONCE = 4 * WORKERS
"""Frames in flight, so that reading a long series one by one never holds all of it in memory."""
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stored:
    """One instance, its header read and its pixel data found but not read.

    Parameters
    ----------
    place
        Where its bytes lie.
    header
        The data set without pixel data.
    keyword, vr
        Which pixel data element it has, empty where it has none; its VR, empty in implicit VR.
    value_at, value_length
        Where the value of that element begins, counted in bytes from the preamble (in a deflated instance: from the
        beginning of the inflated data set), and how many it says it has.
    missing
        How many bytes its pixel data are known to lack at their end. Codecs do not tell: OpenJPEG makes an image of
        half a code stream.
    """

    place: Part10
    header: Dataset
    keyword: str
    vr: str
    value_at: int
    value_length: int
    missing: int = 0

    @classmethod
    def at(cls, place: Part10) -> "Stored":
        """Read the header of an instance; its pixel data stay where they are.

        Raises
        ------
        NotUnderstood
            The bytes are not a readable data set; the message says what is wrong with them.
        """
        with _stream(place) as (header, stream):
            element_at, element = stream.tell(), stream.read(12)
        keyword, vr, head, length = _pixel_element(syntax_of(header), element)
        value_at = element_at + head
        deflated = syntax_of(header) == DeflatedExplicitVRLittleEndian
        return cls(
            place=place,
            header=header,
            keyword=keyword,
            vr=vr,
            value_at=value_at,
            value_length=length,
            missing=0 if deflated else _missing(place, value_at, length),
        )


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


def _missing(place: Part10, value_at: int, length: int) -> int:
    """Return how many bytes a value lacks; one of undefined length is a sequence of fragments (PS3.5 A.4)."""
    end = value_at + length
    if length == UNDEFINED_LENGTH:
        with place.path.open("rb", buffering=0) as file:
            end = value_at
            while end + ITEM.size <= place.length:
                group, number, size = ITEM.unpack(os.pread(file.fileno(), ITEM.size, place.offset + end))
                end += ITEM.size
                if (group, number) != (0xFFFE, 0xE000):
                    break
                end += size
    return max(0, end - place.length)


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

    def __call__(self, frames: Sequence[Frame]) -> Iterator[NDArray[Any]]:
        """Give the stored values of frames, in the same order."""
        if all(_plain(self.instances[frame.sop_instance_uid]) for frame in frames):
            yield from map(self._values, frames)
            return
        with ThreadPoolExecutor(WORKERS) as pool:
            for start in range(0, len(frames), AT_ONCE):
                yield from pool.map(self._values, frames[start : start + AT_ONCE])

    def _values(self, frame: Frame) -> NDArray[Any]:
        stored = self.instances[frame.sop_instance_uid]
        try:
            if stored.missing:
                raise EOFError(f"{stored.missing} bytes of its pixel data are missing")
            values = _copied(stored, frame.number) if _plain(stored) else _decoded(stored, frame.number)
            return _coloured(values, stored.header)
        except UNDECODABLE as error:
            fault = " ".join(str(error).split())
            raise UnsuitableSeries(
                f"frame {frame.number} of instance {frame.sop_instance_uid} cannot be decoded: {fault}"
            ) from error


def _plain(stored: Stored) -> bool:
    """Whether the values only need to be copied: one sample in whole bytes, and nothing compressed."""
    syntax, header = syntax_of(stored.header), stored.header
    if syntax not in NATIVE or stored.keyword != "PixelData" or int(header.get("SamplesPerPixel") or 1) != 1:
        return False
    # Bytes of 8 bit big endian data may lie in swapped pairs (PS3.5 8.1.1): left to pydicom.
    return header.BitsAllocated in (16, 32, 64) or (header.BitsAllocated == 8 and NATIVE[syntax] == "<")


def _copied(stored: Stored, number: int) -> NDArray[Any]:
    """Return one frame of uncompressed values, (row, column)."""
    header = stored.header
    kind = "i" if header.PixelRepresentation else "u"
    bits = header.BitsAllocated
    values = np.empty((header.Rows, header.Columns), f"{NATIVE[syntax_of(header)]}{kind}{bits // 8}")
    begin = stored.value_at + (number - 1) * values.nbytes
    if number * values.nbytes > stored.value_length:
        raise EOFError(f"its pixel data have {stored.value_length} bytes, too few for {number} frames")
    with stored.place.path.open("rb", buffering=0) as file:
        if os.preadv(file.fileno(), [values.data], stored.place.offset + begin) < values.nbytes:
            raise EOFError("its file has been cut off")
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    used = header.get("BitsStored") or bits
    if used < bits:
        high = header.get("HighBit")
        values <<= bits - 1 - (used - 1 if high is None else high)
        values >>= bits - used
    return values


def _decoded(stored: Stored, number: int) -> NDArray[Any]:
    """Return one frame by way of pydicom and its codecs: (row, column), or (row, column, sample)."""
    syntax = syntax_of(stored.header)
    deflated = syntax == DeflatedExplicitVRLittleEndian
    options = {"planar_configuration": 0, **as_pixel_options(stored.header, pixel_keyword=stored.keyword)}
    if stored.vr:
        options["pixel_vr"] = stored.vr
    with _value(stored) as stream:
        values, _ = get_decoder(ExplicitVRLittleEndian if deflated else syntax).as_array(
            stream, index=number - 1, **options
        )
    return values


@contextmanager
def _value(stored: Stored) -> Iterator[BinaryIO]:
    """Give the bytes of an instance from the value of its pixel data on."""
    if syntax_of(stored.header) == DeflatedExplicitVRLittleEndian:
        with _stream(stored.place) as (_, stream):
            stream.seek(stored.value_at)
            yield stream
    else:
        with window(stored.place) as file:
            file.seek(stored.value_at)
            yield file


def _coloured(values: NDArray[Any], header: Dataset) -> NDArray[Any]:
    """Return palette colour as RGB (PS3.3 C.7.6.3.1.5), and everything else as it is."""
    if header.get("PhotometricInterpretation") != "PALETTE COLOR":
        return values
    colours: NDArray[Any] = apply_color_lut(values, header)
    return (colours >> 8).astype(np.uint8) if colours.dtype.itemsize > 1 else colours
