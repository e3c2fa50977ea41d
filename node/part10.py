"""A DICOM Part 10 file that lies somewhere inside a larger file, or is one of its own."""

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import IO

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from node.errors import BytesLost, NotUnderstood, SpoolAway

PREAMBLE = b"\0" * 128 + b"DICM"
SEND_AGAIN = "what it held must be sent again"
IMPLEMENTATION_CLASS_UID = UID("2.25.193461287730264511827714359262104405917")
"""Names this implementation in every file it writes and every association it takes part in (PS3.7 D.3.3.2)."""
IMPLEMENTATION_VERSION_NAME = "ISOCENTER_0_1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part10:
    """Where the bytes of one instance lie: `length` bytes at `offset` of the file at `path`."""

    path: Path
    offset: int = 0
    length: int

    @classmethod
    def of_file(cls, path: Path) -> "Part10":
        """Return the place of an instance that is a file of its own."""
        return cls(path=path, length=path.stat().st_size)

    def read(self) -> bytes:
        """Return the complete file, preamble and meta information included."""
        with self.open() as file:
            return os.pread(file.fileno(), self.length, self.offset)

    def open(self) -> FileIO:
        """Open the file that the instance lies in.

        Raises
        ------
        BytesLost
            It is gone, or does not reach to the instance's end.
        SpoolAway
            Its whole folder is gone, or the file cannot be opened just now.
        """
        try:
            file = FileIO(self.path)
        except FileNotFoundError as error:
            if not self.path.parent.exists():
                raise SpoolAway(f"{self.path.parent} is not there; bring it back") from error
            raise BytesLost(f"{self.path.name} is gone; {SEND_AGAIN}") from error
        except OSError as error:
            raise SpoolAway(f"{self.path.name} cannot be opened: {error.strerror}") from error
        there = os.fstat(file.fileno()).st_size
        if there < self.offset + self.length:
            file.close()
            raise BytesLost(
                f"{self.path.name} has {there} bytes, the instance ends at {self.offset + self.length}; {SEND_AGAIN}"
            )
        return file


@contextmanager
def understood() -> Iterator[None]:
    """Have every fault of form of a data set told as `NotUnderstood`.

    pydicom raises whatever a broken length or VR leads to, when it reads a data set and again when a value is first
    asked for; so the list of its errors is long, and stands here alone.
    """
    try:
        yield
    except (
        AttributeError,
        EOFError,
        IndexError,
        KeyError,
        NotImplementedError,
        OSError,
        OverflowError,
        RecursionError,
        TypeError,
        UnicodeError,
        ValueError,
        struct.error,
        zlib.error,
    ) as error:
        raise NotUnderstood(f"the data set cannot be read: {error}") from error


def parse(file: IO[bytes], *, pixels: bool) -> Dataset:
    """Read one data set, and have every fault of form told as `NotUnderstood`."""
    with understood():
        return dcmread(file, stop_before_pixels=not pixels, force=True)


def file_header(*, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Return preamble and File Meta Information of an instance, to stand before its data set (PS3.10 section 7.1)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    out = DicomBytesIO()
    write_file_meta_info(out, meta)
    return PREAMBLE + bytes(out.getvalue())
