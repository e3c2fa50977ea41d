"""The frames of a segmentation, by the thousand: their pixels, and the functional groups that place each of them.

highdicom and pydicom make a data set of every frame and hold all pixels several times over. Here the groups are written
as the bytes that pydicom would write, and the pixels are made plane by plane while the file is written.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import BufferedIOBase
from struct import pack

import numpy as np
from numpy.typing import NDArray
from pydicom import config
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.tag import Tag
from pydicom.valuerep import DSfloat

from node.codes import Code
from node.images.frame import Frame
from node.results import Segmentation

config.settings.buffered_read_size = 1 << 20
"""pydicom copies pixels that are made while they are read in pieces of this size, not of 8 KiB."""

LONG = (b"SQ", b"OB", b"OW")
"""Value representations whose length has four bytes (PS3.5 section 7.1.2); of those that are written here."""
MAXIMUM_FRACTION = 255
"""Maximum Fractional Value (PS3.3 C.8.20.2.3): one byte a pixel."""

SEGMENTED = Code("113076", "DCM", "Segmentation")
"""Derivation (PS3.16 CID 7203); by its name pydicom knows the modality of the same meaning only."""

Chunks = Callable[[], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class Placed:
    """One frame: of which segment, by its number from 1 (0 in a label map, for all), on which slice of the stack."""

    segment: int
    slice: int


class Pixels(BufferedIOBase):
    """Pixel data that are made while they are read, again from the start after `seek(0)`; `length` bytes in all."""

    def __init__(self, chunks: Chunks, length: int) -> None:
        super().__init__()
        self._chunks = chunks
        self._length = length
        self._place = 0
        self._source = chunks()
        self._left = memoryview(b"")

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it can be read again."""
        return True

    def tell(self) -> int:
        """Return how many bytes have been read."""
        return self._place

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to the start, to the end, or stay: what pydicom asks for to learn the length."""
        place = offset + {0: 0, 1: self._place, 2: self._length}[whence]
        if place == 0 and self._place:
            self._source, self._left = self._chunks(), memoryview(b"")
        self._place = place
        return place

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes, no more than `size`, none at the end."""
        parts, wanted = [], self._length - self._place if size is None or size < 0 else size
        while wanted and (self._left or self._next()):
            parts.append(self._left[:wanted])
            self._left = self._left[len(parts[-1]) :]
            wanted -= len(parts[-1])
            self._place += len(parts[-1])
        return b"".join(parts)

    def _next(self) -> bool:
        self._left = memoryview(next(self._source, b""))
        return bool(self._left)


def stored_areas(result: Segmentation) -> NDArray[np.int64]:
    """Return how many pixels of each segment are stored on each slice: (segment, slice); any probability counts."""
    if not result.fractional:
        return result.areas
    return result.counted(lambda index, number, out: np.not_equal(fraction(result, index, number), 0, out=out))


def fraction(result: Segmentation, index: int, number: int) -> NDArray[np.uint8]:
    """Return the probabilities of a segment on a slice as they are stored: uint8, 255 for 1."""
    probabilities = result.masks[number - 1].array[index]
    return np.asarray(np.around(probabilities * float(MAXIMUM_FRACTION)), np.uint8)


def bits(result: Segmentation, frames: Sequence[Placed]) -> Pixels:
    """Return the pixels of a BINARY segmentation: a bit each, the first lowest, frame after frame without a gap.

    A frame may begin within a byte (PS3.5 section 8.1.1); so eight at a time are packed where they would.
    """
    rows, columns = result.labels.array.shape[1:]
    at_once = 1 if rows * columns % 8 == 0 else 8
    room = np.zeros((at_once, rows, columns), np.bool_)

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(frames), at_once):
            some = frames[start : start + at_once]
            for place, frame in enumerate(some):
                result.plane(frame.slice, frame.segment, room[place])
            yield np.packbits(room[: len(some)], bitorder="little").tobytes()

    return _even(chunks, -(-len(frames) * rows * columns // 8))


def octets(result: Segmentation, frames: Sequence[Placed]) -> Pixels:
    """Return the pixels of a FRACTIONAL segmentation: a byte each."""
    rows, columns = result.labels.array.shape[1:]
    return _even(
        lambda: (fraction(result, frame.slice, frame.segment).tobytes() for frame in frames),
        len(frames) * rows * columns,
    )


def numbers(result: Segmentation, frames: Sequence[Placed]) -> Pixels:
    """Return the pixels of a LABELMAP segmentation: the number of the segment, a byte each."""
    rows, columns = result.labels.array.shape[1:]
    planes = result.labels.array
    return _even(
        lambda: (planes[frame.slice].astype(np.uint8, copy=False).tobytes() for frame in frames),
        len(frames) * rows * columns,
    )


def _even(chunks: Chunks, length: int) -> Pixels:
    """Return pixels of an even length (PS3.5 section 8.1.1)."""
    if length % 2 == 0:
        return Pixels(chunks, length)

    def padded() -> Iterator[bytes]:
        yield from chunks()
        yield b"\0"

    return Pixels(padded, length + 1)


def pixel_data(pixels: Pixels) -> DataElement:
    """Return Pixel Data that are made when the file is written."""
    return DataElement("PixelData", "OB", pixels)


def groups(
    frames: Sequence[Placed], sources: Sequence[Frame], order: Sequence[int], *, several: bool
) -> RawDataElement:
    """Return the Per-Frame Functional Groups (PS3.3 C.7.6.16): where each frame lies, of what, and on which image.

    Parameters
    ----------
    sources
        The images of the whole stack, by slice.
    order
        The slices that have frames, in the order in which their positions are counted (Dimension Index Values).
    several
        Whether frames are of several segments; the number of a lone one stands in the shared groups.
    """
    index = {place: count for count, place in enumerate(order, 1)}
    derived = {place: _derived_from(sources[place]) for place in order}
    position = {place: _position(sources[place]) for place in order}
    items = []
    for frame in frames:
        whole = frame.segment == 0
        values = (index[frame.slice],) if whole else (frame.segment, index[frame.slice])
        counted = _element(0x0020, 0x9157, b"UL", pack(f"<{len(values)}I", *values))
        stacked = b"" if position[frame.slice] else _in_stack(index[frame.slice])
        content = _sequence(0x0020, 0x9111, stacked + counted)
        segment = _segment(frame.segment) if several else b""
        items.append(derived[frame.slice] + content + position[frame.slice] + segment)
    return raw("PerFrameFunctionalGroupsSequence", *items)


def references(headers: Sequence[Dataset]) -> list[bytes]:
    """Return SOP Class and Instance UID of every image, as items of a sequence have them (PS3.3 Table 10-11)."""
    return [_reference(str(header.SOPClassUID), str(header.SOPInstanceUID)) for header in headers]


def raw(keyword: str, *items: bytes) -> RawDataElement:
    """Return a sequence of encoded items, decoded by pydicom when somebody looks and else written as it is."""
    value = _items(*items)
    return RawDataElement(Tag(keyword), "SQ", len(value), value, 0, False, True)  # noqa: FBT003


def series_item(series_uid: str, instances: Sequence[bytes]) -> bytes:
    """Return an item of Referenced Series Sequence (PS3.3 C.12.2)."""
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
    """Return the Plane Position functional group, nothing for an image without a place in the patient."""
    return _sequence(0x0020, 0x9113, _decimals(frame.position)) if frame.position else b""


def _in_stack(number: int) -> bytes:
    """Return Stack ID and In-Stack Position Number: what tells frames apart that have no position."""
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
