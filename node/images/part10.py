"""A DICOM Part 10 file, which may be a section of a larger file."""

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.uid import UID

from node.errors import BytesLost, NotUnderstood, SpoolAway

PREAMBLE = b"\0" * 128 + b"DICM"
META_ELEMENT = struct.Struct("<HH2sH")
META_LENGTH = struct.Struct("<HH2sHI")
SEND_AGAIN = "what it held must be sent again"
IMPLEMENTATION_CLASS_UID = UID("2.25.193461287730264511827714359262104405917")
"""Identifies this implementation in every file that it writes and every association (PS3.7 D.3.3.2)."""
IMPLEMENTATION_VERSION_NAME = "ISOCENTER_0_1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part10:
    """Where the bytes of one instance are: `length` bytes at `offset` of the file at `path`.

    `summary` is the header summary made on reception (`node.images.header_summary`), empty where there is none.
    `decoded` is the folder that may hold its decoded stored values (`node.images.decoded`), if it is in a pack.
    """

    path: Path
    offset: int = 0
    length: int
    summary: str = ""
    decoded: Path | None = None

    @classmethod
    def of_file(cls, path: Path) -> "Part10":
        """Return the location of an instance that is a file of its own."""
        return cls(path=path, length=path.stat().st_size)

    def read(self) -> bytes:
        """Return the complete file, preamble and meta information included."""
        with self.open() as file:
            return os.pread(file.fileno(), self.length, self.offset)

    def open(self) -> FileIO:
        """Open the file that contains the instance; raises the errors of `check`."""
        self.check()
        try:
            return FileIO(self.path)
        except OSError as error:
            raise SpoolAway(f"{self.path.name} cannot be opened: {error.strerror}") from error

    def check(self) -> None:
        """Check that the file still has all bytes of the instance.

        Raises
        ------
        BytesLost
            The file is gone, or ends before the end of the instance.
        SpoolAway
            The whole folder is gone, or cannot be read at the moment.
        """
        try:
            size = os.stat(self.path).st_size  # noqa: PTH116 - called for every slice, and twice as fast as pathlib
        except FileNotFoundError as error:
            if not self.path.parent.exists():
                raise SpoolAway(f"{self.path.parent} is not there; bring it back") from error
            raise BytesLost(f"{self.path.name} is gone; {SEND_AGAIN}") from error
        except OSError as error:
            raise SpoolAway(f"{self.path.name} cannot be looked at: {error.strerror}") from error
        if size < self.offset + self.length:
            raise BytesLost(
                f"{self.path.name} has {size} bytes, the instance ends at {self.offset + self.length}; {SEND_AGAIN}"
            )


FAULTS = (
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    NotImplementedError,
    OSError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What pydicom raises for a malformed length or VR: when it reads a data set, and at the first access to a value."""


@contextmanager
def understood() -> Iterator[None]:
    """Raise `NotUnderstood` for every error of form in a data set."""
    try:
        yield
    except FAULTS as error:
        raise NotUnderstood(f"the data set cannot be read: {error}") from error


def parse(file: BinaryIO, *, pixels: bool, stop_at: int | None = None) -> Dataset:
    """Read a data set, or its part before the tag `stop_at`; NotUnderstood for every error of form."""
    with understood():
        if stop_at is not None:
            return read_partial(file, lambda tag, _vr, _length: tag >= stop_at, force=True)
        return dcmread(file, stop_before_pixels=not pixels, force=True)


def file_header(*, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Return preamble and File Meta Information of an instance, to be written before its data set (PS3.10 section 7.1).

    It is called for every instance. pydicom writes the same bytes, and takes many times as long.
    """
    meta = (
        b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01"  # File Meta Information Version
        + _meta(0x0002, b"UI", sop_class_uid)
        + _meta(0x0003, b"UI", sop_instance_uid)
        + _meta(0x0010, b"UI", transfer_syntax_uid)
        + _meta(0x0012, b"UI", IMPLEMENTATION_CLASS_UID)
        + _meta(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME)
    )
    return PREAMBLE + META_LENGTH.pack(0x0002, 0x0000, b"UL", 4, len(meta)) + meta


def _meta(element: int, vr: bytes, text: str) -> bytes:
    """Return one short element of group 0002; UIDs are padded with a null, names with a space (PS3.5 section 6.2)."""
    value = text.encode()
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    return META_ELEMENT.pack(0x0002, element, vr, len(value)) + value
