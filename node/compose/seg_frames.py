"""The frames of a segmentation: their pixels, and the functional groups that say where each frame lies.

A segmentation has thousands of frames. highdicom and pydicom make a data set of every frame and hold all pixels several
times over. Here the groups are written as the bytes that pydicom would write, and the pixels are made plane by plane
while the file is written.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import BufferedIOBase
from struct import pack

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.tag import Tag
from pydicom.valuerep import DSfloat

from node.codes import Code
from node.images.frame import Frame
from node.results import Segmentation

LONG = (b"SQ", b"OB", b"OW")
"""Those of the value representations written here whose length has four bytes (PS3.5 section 7.1.2)."""
MAXIMUM_FRACTION = 255
"""Maximum Fractional Value (PS3.3 C.8.20.2.3): one byte for each pixel."""

SEGMENTED = Code("113076", "DCM", "Segmentation")
"""Derivation (PS3.16 CID 7203); by this name pydicom has only the modality of the same meaning."""

Chunks = Callable[[], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class SegmentFrame:
    """One frame: the number of its segment from 1, or 0 for all segments of a label map, and its slice in the stack."""

    segment: int
    slice: int


class PixelStream(BufferedIOBase):
    """A stream of `length` bytes of pixel data: they are made while they are read, and again after `seek(0)`."""

    def __init__(self, chunks: Chunks, length: int) -> None:
        super().__init__()
        self._chunks = chunks
        self._length = length
        self._offset = 0
        self._source = chunks()
        self._left = memoryview(b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True: it can be read again."""
        return True

    def tell(self) -> int:
        """Return the number of bytes that have been read."""
        return self._offset

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to the start, to the end, or stay: pydicom does so to find the length."""
        position = offset + {0: 0, 1: self._offset, 2: self._length}[whence]
        if position == 0 and self._offset:
            self._source, self._left = self._chunks(), memoryview(b"")
        self._offset = position
        return position

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes, at most `size`; none at the end."""
        parts, wanted = [], self._length - self._offset if size is None or size < 0 else size
        while wanted and (self._left or self._next()):
            parts.append(self._left[:wanted])
            self._left = self._left[len(parts[-1]) :]
            wanted -= len(parts[-1])
            self._offset += len(parts[-1])
        return b"".join(parts)

    def _next(self) -> bool:
        self._left = memoryview(next(self._source, b""))
        return bool(self._left)


def stored_areas(result: Segmentation) -> NDArray[np.int64]:
    """Return the number of stored pixels of each segment on each slice, (segment, slice).

    Every probability counts that is not stored as 0.
    """
    if not result.fractional:
        return result.areas

    def stored_pixels(index: int, number: int, out: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return np.not_equal(stored_fraction(result, index, number), 0, out=out)

    return result.count_pixels(stored_pixels)


def stored_fraction(result: Segmentation, index: int, number: int) -> NDArray[np.uint8]:
    """Return the probabilities of a segment on a slice as they are stored: uint8 (row, column), 255 for 1."""
    probabilities = result.masks[number - 1].array[index]
    return np.asarray(np.around(probabilities * float(MAXIMUM_FRACTION)), np.uint8)


def binary_pixels(result: Segmentation, frames: Sequence[SegmentFrame]) -> PixelStream:
    """Return the pixels of a BINARY segmentation: one bit each, lowest bit first, frame after frame without a gap.

    A frame may begin within a byte (PS3.5 section 8.1.1); where frames would, eight are packed at a time.
    """
    rows, columns = result.labels.array.shape[1:]
    at_once = 1 if rows * columns % 8 == 0 else 8
    buffer = np.zeros((at_once, rows, columns), np.bool_)

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(frames), at_once):
            packed = frames[start : start + at_once]
            for index, frame in enumerate(packed):
                result.plane(frame.slice, frame.segment, buffer[index])
            yield np.packbits(buffer[: len(packed)], bitorder="little").tobytes()

    return _even(chunks, -(-len(frames) * rows * columns // 8))


def fractional_pixels(result: Segmentation, frames: Sequence[SegmentFrame]) -> PixelStream:
    """Return the pixels of a FRACTIONAL segmentation: one byte each."""
    rows, columns = result.labels.array.shape[1:]
    return _even(
        lambda: (stored_fraction(result, frame.slice, frame.segment).tobytes() for frame in frames),
        len(frames) * rows * columns,
    )


def labelmap_pixels(result: Segmentation, frames: Sequence[SegmentFrame]) -> PixelStream:
    """Return the pixels of a LABELMAP segmentation: the Segment Number, one byte each."""
    rows, columns = result.labels.array.shape[1:]
    planes = result.labels.array
    return _even(
        lambda: (planes[frame.slice].astype(np.uint8, copy=False).tobytes() for frame in frames),
        len(frames) * rows * columns,
    )


def _even(chunks: Chunks, length: int) -> PixelStream:
    """Return a stream of an even length (PS3.5 section 8.1.1)."""
    if length % 2 == 0:
        return PixelStream(chunks, length)

    def padded() -> Iterator[bytes]:
        yield from chunks()
        yield b"\0"

    return PixelStream(padded, length + 1)


def pixel_data(pixels: PixelStream) -> DataElement:
    """Return Pixel Data whose bytes are made when the file is written."""
    return DataElement("PixelData", "OB", pixels)


def per_frame_groups(
    frames: Sequence[SegmentFrame], sources: Sequence[Frame], order: Sequence[int], *, several: bool
) -> RawDataElement:
    """Return the Per-Frame Functional Groups (PS3.3 C.7.6.16): position, segment and source image of each frame.

    Parameters
    ----------
    sources
        The images of the whole stack, by slice.
    order
        The slices that have frames, in the order in which Dimension Index Values count them.
    several
        Whether there are several segments; the number of a single segment is in the shared groups.
    """
    index = {slice_: count for count, slice_ in enumerate(order, 1)}
    derived = {slice_: _derived_from(sources[slice_]) for slice_ in order}
    position = {slice_: _position(sources[slice_]) for slice_ in order}
    items = []
    for frame in frames:
        whole = frame.segment == 0
        values = (index[frame.slice],) if whole else (frame.segment, index[frame.slice])
        counted = _element(0x0020, 0x9157, b"UL", pack(f"<{len(values)}I", *values))
        stacked = b"" if position[frame.slice] else _in_stack(index[frame.slice])
        content = _sequence(0x0020, 0x9111, stacked + counted)
        segment = _segment(frame.segment) if several else b""
        items.append(derived[frame.slice] + content + position[frame.slice] + segment)
    return encoded_sequence("PerFrameFunctionalGroupsSequence", *items)


def encoded_references(headers: Sequence[Dataset]) -> list[bytes]:
    """Return an encoded item for every image, with its SOP Class and Instance UID (PS3.3 Table 10-11)."""
    return [_reference(str(header.SOPClassUID), str(header.SOPInstanceUID)) for header in headers]


def encoded_sequence(keyword: str, *items: bytes) -> RawDataElement:
    """Return a sequence of encoded items; pydicom decodes it when it is read, and writes it unchanged otherwise."""
    value = _items(*items)
    return RawDataElement(Tag(keyword), "SQ", len(value), value, 0, False, True)  # noqa: FBT003


def encoded_series_item(series_uid: str, instances: Sequence[bytes]) -> bytes:
    """Return an encoded item of Referenced Series Sequence (PS3.3 C.12.2)."""
    return _sequence(0x0008, 0x114A, *instances) + _element(0x0020, 0x000E, b"UI", _uid(series_uid))


def _derived_from(frame: Frame) -> bytes:
    """Return the Derivation Image Sequence of a frame (PS3.3 C.7.6.16.2.6): the image it lies on."""
    number = _element(0x0008, 0x1160, b"IS", _even_text(str(frame.number))) if frame.multi_frame else b""
    image = _sequence(
        0x0008,
        0x2112,
        _reference(frame.sop_class_uid, frame.sop_instance_uid)
        + number
        + _element(0x0028, 0x135A, b"CS", b"YES ")
        + _sequence(0x0040, 0xA170, _code(codes.cid7202.SourceImageForImageProcessingOperation)),
    )
    return _sequence(0x0008, 0x9124, image + _sequence(0x0008, 0x9215, _code(SEGMENTED)))


def _position(frame: Frame) -> bytes:
    """Return the Plane Position functional group; empty for an image without a position."""
    return _sequence(0x0020, 0x9113, _decimals(frame.position)) if frame.position else b""


def _in_stack(number: int) -> bytes:
    """Return Stack ID and In-Stack Position Number, which distinguish frames without a position."""
    return _element(0x0020, 0x9056, b"SH", b"1 ") + _element(0x0020, 0x9057, b"UL", pack("<I", number))


def _segment(number: int) -> bytes:
    return _sequence(0x0062, 0x000A, _element(0x0062, 0x000B, b"US", pack("<H", number)))


def _reference(sop_class_uid: str, sop_instance_uid: str) -> bytes:
    return _element(0x0008, 0x1150, b"UI", _uid(sop_class_uid)) + _element(
        0x0008, 0x1155, b"UI", _uid(sop_instance_uid)
    )


def _code(code: Code) -> bytes:
    return (
        _element(0x0008, 0x0100, b"SH", _even_text(code.value))
        + _element(0x0008, 0x0102, b"SH", _even_text(code.scheme_designator))
        + _element(0x0008, 0x0104, b"LO", _even_text(code.meaning))
    )


def _decimals(values: Sequence[float]) -> bytes:
    text = "\\".join(str(DSfloat(value, auto_format=True)) for value in values)
    return _element(0x0020, 0x0032, b"DS", _even_text(text))


def _even_text(text: str, padding: bytes = b" ") -> bytes:
    value = text.encode("ascii")
    return value + padding if len(value) % 2 else value


_uid = partial(_even_text, padding=b"\0")


def _sequence(group: int, number: int, *items: bytes) -> bytes:
    return _element(group, number, b"SQ", _items(*items))


def _items(*items: bytes) -> bytes:
    return b"".join(b"\xfe\xff\x00\xe0" + pack("<I", len(item)) + item for item in items)


def _element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    """Return one element in Explicit VR Little Endian (PS3.5 section 7.1.2)."""
    if vr in LONG:
        return pack("<HH2sHI", group, number, vr, 0, len(value)) + value
    return pack("<HH2sH", group, number, vr, len(value)) + value
