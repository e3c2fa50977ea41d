"""Small instances that would fill the memory of whoever reads them: they are known before they are read."""

import struct
import tracemalloc
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless

from node.errors import NotUnderstood, UnsuitableSeries
from node.images import inflating
from node.images.code_stream import SOC_SIZ, size_of
from node.images.frame import Frame
from node.images.part10 import Part10, file_header
from node.images.pixels import PixelReader
from node.images.stored_instance import StoredInstance
from node.testing import ct_series, write

MEGABYTE = 2**20


def deflated(folder: Path, *, pixel_bytes: int) -> Path:
    """Write a CT slice of 64 × 64 pixels, deflated, whose pixel data have so many bytes."""
    image = ct_series(slices=1, rows=64)[0]
    del image.PixelData
    out = BytesIO()
    image.save_as(out, implicit_vr=False, little_endian=True, enforce_file_format=True)
    content = out.getvalue()
    begin = 144 + struct.unpack("<I", content[140:144])[0]
    compress = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    body = compress.compress(content[begin:] + struct.pack("<HH2s2xI", 0x7FE0, 0x0010, b"OW", pixel_bytes))
    for _ in range(pixel_bytes // MEGABYTE):
        body += compress.compress(bytes(MEGABYTE))
    body += compress.compress(bytes(pixel_bytes % MEGABYTE)) + compress.flush()
    head = file_header(
        sop_class_uid=image.SOPClassUID,
        sop_instance_uid=image.SOPInstanceUID,
        transfer_syntax_uid=DeflatedExplicitVRLittleEndian,
    )
    path = folder / "deflated.dcm"
    path.write_bytes(head + body)
    return path


def test_a_deflated_data_set_that_is_larger_than_its_header_says_is_refused_in_little_memory(tmp_path: Path) -> None:
    path = deflated(tmp_path, pixel_bytes=200 * MEGABYTE)
    assert path.stat().st_size < MEGABYTE
    tracemalloc.start()
    try:
        with pytest.raises(NotUnderstood, match="larger than 64 MB, more than its header says"):
            StoredInstance.read(Part10.of_file(path))
        assert tracemalloc.get_traced_memory()[1] < 40 * MEGABYTE
    finally:
        tracemalloc.stop()


def test_a_deflated_data_set_that_is_as_large_as_its_header_says_is_read(tmp_path: Path) -> None:
    stored = StoredInstance.read(Part10.of_file(deflated(tmp_path, pixel_bytes=64 * 64 * 2)))
    assert stored.header.Rows == 64


def test_the_size_of_pixel_data_is_read_from_the_header_and_unknown_where_that_is_cut(tmp_path: Path) -> None:
    image = ct_series(slices=1, rows=64)[0]
    out = BytesIO()
    image.save_as(out, implicit_vr=False, little_endian=True, enforce_file_format=True)
    content = out.getvalue()
    begin = 144 + struct.unpack("<I", content[140:144])[0]
    assert inflating.pixel_bytes(content[begin:]) == image.Rows * image.Columns * 2
    assert inflating.pixel_bytes(content[begin : begin + 101]) == inflating.LARGEST


def reader(content: bytes) -> Callable[[int, int], bytes]:
    return lambda offset, count: content[offset : offset + count]


def pixels_of(path: Path) -> object:
    stored = StoredInstance.read(Part10.of_file(path))
    frame = Frame(image=stored)
    return list(PixelReader({frame.sop_instance_uid: stored})([frame]))


def test_a_code_stream_larger_than_its_header_is_not_decoded(tmp_path: Path) -> None:
    (path,) = write(ct_series(slices=1, rows=64, transfer_syntax=JPEG2000Lossless), tmp_path)
    content = bytearray(path.read_bytes())
    at = content.index(SOC_SIZ)
    content[at + 8 : at + 16] = struct.pack(">II", 65535, 65535)
    path.write_bytes(content)
    with pytest.raises(UnsuitableSeries, match=r"code stream is \(65535, 65535\) pixels large, and its header says"):
        pixels_of(path)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_a_code_stream_of_the_size_in_its_header_is_decoded(tmp_path: Path, syntax: str) -> None:
    (path,) = write(ct_series(slices=1, rows=64, transfer_syntax=syntax), tmp_path)
    assert pixels_of(path)


def first_fragment(image: Dataset) -> bytes:
    """Return the first frame of encapsulated pixel data with one fragment each (PS3.5 section A.4)."""
    table = struct.unpack("<I", image.PixelData[4:8])[0]
    length = struct.unpack("<I", image.PixelData[12 + table : 16 + table])[0]
    return bytes(image.PixelData[16 + table : 16 + table + length])


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_a_code_stream_says_its_size(syntax: str) -> None:
    image = ct_series(slices=1, rows=64, transfer_syntax=syntax)[0]
    assert size_of(reader(first_fragment(image))) == (image.Rows, image.Columns)


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"\xff\xd8\xff\xda" + bytes(20), SOC_SIZ, b"RLE or another"])
def test_what_says_no_size_has_none(content: bytes) -> None:
    assert size_of(reader(content)) is None


def test_the_size_in_a_jpeg_is_found_behind_other_segments() -> None:
    profile = b"\xff\xe2" + struct.pack(">H", 60002) + bytes(60000)
    frame = b"\xff\xc3" + struct.pack(">HBHHB", 11, 16, 512, 384, 1) + bytes(3)
    assert size_of(reader(b"\xff\xd8" + profile + b"\xff" + frame)) == (512, 384)
