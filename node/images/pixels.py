"""Stored values of frames, read from their instances and decoded."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from node.errors import NotUnderstood, UnsuitableSeries
from node.images.code_stream import size_of
from node.images.decoded import fill
from node.images.frame import Frame
from node.images.part10 import Part10
from node.images.stored_instance import ITEM, StoredInstance, header_and_stream, open_instance

NATIVE = {ImplicitVRLittleEndian: "<", ExplicitVRLittleEndian: "<", ExplicitVRBigEndian: ">"}
"""Transfer syntaxes whose stored values are not encoded, and their byte order (PS3.5 annex A)."""
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
"""Bits Allocated of images that may be decoded when they arrive."""
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


@dataclass(frozen=True, slots=True, eq=False)
class PixelReader:
    """Reads and decodes frames of `instances`, a mapping by SOP Instance UID.

    A call with frames yields their stored values in the same order. Grey values are (row, column), in the integer type
    that Bits Allocated and Pixel Representation define, with unused bits removed and the sign extended (PS3.5 8.1.1).
    Colour is (row, column, 3), RGB, for RGB, YBR and palette colour; palette entries are reduced to their upper 8 bits.
    MONOCHROME1 is not inverted: inversion belongs to display (PS3.3 C.7.6.3.1.2).

    Raises
    ------
    UnsuitableSeries
        Pixel data are cut off, or cannot be decoded; the message names the instance.
    """

    instances: Mapping[str, StoredInstance]

    def __call__(self, frames: Sequence[Frame], into: NDArray[Any] | None = None) -> Iterator[NDArray[Any]]:
        """Yield the stored values of frames, in the same order.

        `into` has a plane for each frame, (frame, row, column). Values of 16 bits that need no decoding are read
        directly into it, and yielded as a view of it in their own type.
        """
        with ExitStack() as files:
            opened: dict[Path, int] = {}
            for number, frame in enumerate(frames):
                stored = self.instances[frame.sop_instance_uid]
                if stored.part.path not in opened:
                    opened[stored.part.path] = files.enter_context(stored.part.open()).fileno()
                yield _values(stored, frame.number, opened[stored.part.path], None if into is None else into[number])


def _values(stored: StoredInstance, number: int, fd: int, into: NDArray[Any] | None) -> NDArray[Any]:
    try:
        native = _is_native(stored)
        if not native and (early := _decoded_at_arrival(stored, into)) is not None:
            return early
        if missing := stored.missing:
            raise EOFError(f"{missing} bytes of its pixel data are missing")
        values = _read_native(stored, number, fd, into) if native else _decoded(stored, number)
        return _as_rgb(values, stored)
    except UNDECODABLE as error:
        fault = " ".join(str(error).split())
        uid = stored.values.get("SOPInstanceUID")
        raise UnsuitableSeries(f"frame {number} of instance {uid} cannot be decoded: {fault}") from error


def _is_native(stored: StoredInstance) -> bool:
    """Return whether the values need no decoding: one sample per pixel in whole bytes, not compressed."""
    values = stored.values
    if stored.syntax not in NATIVE or stored.keyword != "PixelData" or values.get("SamplesPerPixel") != 1:
        return False
    # Bytes of 8 bit big endian data may be swapped in pairs (PS3.5 8.1.1): pydicom decodes them.
    bits = values.get("BitsAllocated")
    return bits in (16, 32, 64) or (bits == 8 and NATIVE[stored.syntax] == "<")


def _read_native(stored: StoredInstance, number: int, fd: int, into: NDArray[Any] | None) -> NDArray[Any]:
    """Return one frame of uncompressed values, (row, column)."""
    header = stored.values
    values = _empty_plane(stored, into)
    kind, bits = values.dtype, 8 * values.itemsize
    begin = stored.value_at + (number - 1) * values.nbytes
    if number * values.nbytes > stored.value_length:
        raise EOFError(f"its pixel data have {stored.value_length} bytes, too few for {number} frames")
    if os.preadv(fd, [values.data], stored.part.offset + begin) < values.nbytes:
        raise EOFError("its file has been cut off")
    values = values.astype(kind.newbyteorder("="), copy=False)
    used = int(header.get("BitsStored", 0))
    if used < bits:
        high = header.get("HighBit")
        above = bits - 1 - (used - 1 if high is None else int(high))
        if above == bits - used and kind.kind == "u":  # the usual case needs one pass only
            values &= kind.type(2**used - 1)
        else:
            values <<= above
            values >>= bits - used
    return values


def _empty_plane(stored: StoredInstance, into: NDArray[Any] | None) -> NDArray[Any]:
    """Return an array for the values of a frame, in the type of its file: a view of `into` if their sizes agree."""
    header = stored.values
    sign, bits = "i" if header.get("PixelRepresentation") else "u", int(header.get("BitsAllocated") or 0)
    kind = np.dtype(f"{NATIVE.get(stored.syntax, '=')}{sign}{bits // 8}")
    if into is not None and into.itemsize == kind.itemsize and kind.isnative:
        return into.view(kind)
    return np.empty((int(header.get("Rows") or 0), int(header.get("Columns") or 0)), kind)


def early_bytes(values: Mapping[str, Any] | Dataset) -> int:
    """Return how many bytes the stored values of an image take if it may be decoded when it arrives, else 0.

    Only grey images that have a header summary and values of whole bytes are decoded when they arrive.
    """
    rows, columns, bits = (values.get(keyword) for keyword in ("Rows", "Columns", "BitsAllocated"))
    grey = values.get("SamplesPerPixel") == 1 and values.get("PhotometricInterpretation") in GREY
    if isinstance(values, Dataset) or not grey or not isinstance(rows, int) or not isinstance(columns, int):
        return 0
    return rows * columns * int(bits) // 8 if bits in EARLY_BITS else 0


def _decoded_at_arrival(stored: StoredInstance, into: NDArray[Any] | None) -> NDArray[Any] | None:
    """Return the values of an image that were decoded when it arrived, None where they were not."""
    if stored.part.decoded is None or not early_bytes(stored.values):
        return None
    values = _empty_plane(stored, into)
    return values if fill(stored.part, values) else None


def decode_early(part: Part10) -> NDArray[Any]:
    """Decode an image that has `early_bytes`, and return its stored values, (row, column), for `decoded.keep`.

    Raises
    ------
    UnsuitableSeries
        The image cannot be decoded, or type, size or range of its values differ from its header. Readers of the kept
        values rely on the header.
    NotUnderstood, BytesLost, SpoolAway
        The image cannot be read.
    """
    stored = StoredInstance.read(part)
    frame, expected = Frame(image=stored), _empty_plane(stored, None)
    (values,) = PixelReader({frame.sop_instance_uid: stored})([frame])
    count = 2 ** int(stored.values.get("BitsStored", 0))
    lowest, highest = (-count // 2, count // 2 - 1) if values.dtype.kind == "i" else (0, count - 1)
    fits = (values.shape, values.dtype) == (expected.shape, expected.dtype)
    if not fits or values.min() < lowest or values.max() > highest:
        raise UnsuitableSeries(f"values of instance {frame.sop_instance_uid} are not as its header says")
    return values


def _decoded(stored: StoredInstance, number: int) -> NDArray[Any]:
    """Return one frame decoded by pydicom and its codecs: (row, column), or (row, column, sample)."""
    deflated = stored.syntax == DeflatedExplicitVRLittleEndian
    options = {"planar_configuration": 0, **_options(stored)}
    if stored.vr:
        options["pixel_vr"] = stored.vr
    if stored.offsets is not None and not deflated:
        options["extended_offsets"] = stored.offsets
    with _pixel_stream(stored) as stream:
        _check_size(stored, number, stream)
        values, _ = get_decoder(ExplicitVRLittleEndian if deflated else stored.syntax).as_array(
            stream, index=number - 1, **options
        )
    return values


def _check_size(stored: StoredInstance, number: int, stream: BinaryIO) -> None:
    """Compare the size in the code stream of a frame with the header; NotUnderstood where they differ.

    Where it is not known which fragments a frame has, all fragments are looked at. `stream` stays where it was.
    """
    begins, lengths = stored.fragments
    if not begins:
        return
    expected = (int(stored.values.get("Rows") or 0), int(stored.values.get("Columns") or 0))
    which = range(number, number + 1) if stored.offsets is not None else range(1, len(begins))
    for index in which:
        read = partial(_section, stream, begins[index] + ITEM.size, lengths[index])
        if (size := size_of(read)) not in (None, expected):
            raise NotUnderstood(f"its code stream is {size} pixels large, and its header says {expected}")
    stream.seek(stored.value_at)


def _section(stream: BinaryIO, begin: int, length: int, offset: int, count: int) -> bytes:
    """Return bytes of a section of a stream."""
    stream.seek(begin + offset)
    return stream.read(max(min(count, length - offset), 0))


def _options(stored: StoredInstance) -> dict[str, Any]:
    """Return the options that a decoder needs for an image (PS3.3 C.7.6.3)."""
    if isinstance(stored.values, Dataset):
        return as_pixel_options(stored.values, pixel_keyword=stored.keyword)
    known = {option: stored.values.get(keyword) for option, keyword in OPTIONS.items()}
    known = {option: value for option, value in known.items() if value is not None}
    return {"number_of_frames": 1, "pixel_keyword": stored.keyword, **known}


@contextmanager
def _pixel_stream(stored: StoredInstance) -> Iterator[BinaryIO]:
    """Yield the bytes of an instance as a stream that is positioned at the value of its pixel data."""
    if stored.syntax == DeflatedExplicitVRLittleEndian:
        with header_and_stream(stored.part) as (_, stream):
            stream.seek(stored.value_at)
            yield stream
    else:
        with open_instance(stored.part) as file:
            file.seek(stored.value_at)
            yield file


def _as_rgb(values: NDArray[Any], stored: StoredInstance) -> NDArray[Any]:
    """Return palette colour as RGB (PS3.3 C.7.6.3.1.5), and everything else unchanged."""
    if stored.values.get("PhotometricInterpretation") != "PALETTE COLOR":
        return values
    colours: NDArray[Any] = apply_color_lut(values, stored.header)
    return (colours >> 8).astype(np.uint8) if colours.dtype.itemsize > 1 else colours
