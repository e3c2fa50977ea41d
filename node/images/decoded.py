"""Files with the stored values of compressed images. They are decoded while the study arrives, so that jobs need not.

Each instance has its own file `decoded/PACK/OFFSET` below the spool; packs are never rewritten. The file contains the
values, (row, column), and a CRC-32 (u32) of PACK/OFFSET and the values. It is only a cache: it is not synced, and a
file that is missing, short or damaged is ignored. The file is created before its image is decoded, with the length of
the values and without the checksum. Therefore only one of several decoders decodes the image, the bytes are counted
from the start, and an image at which a decoder died is not tried again.
"""

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import Any

from isal.isal_zlib import crc32
from numpy.typing import NDArray

from node.images.part10 import Part10

CHECKSUM = Struct("<L")


def claim(part: Part10, size: int) -> bool:
    """Create the file of an instance whose values take `size` bytes; False if it exists or cannot be created."""
    if part.decoded is None:
        return False
    try:
        part.decoded.mkdir(exist_ok=True)
        fd = os.open(_file(part), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError:
        return False
    try:
        os.truncate(fd, size)
    finally:
        os.close(fd)
    return True


def keep(part: Part10, values: NDArray[Any]) -> None:
    """Write the values of a claimed instance; OSError if its file was deleted meanwhile, or the disk is full."""
    with _file(part).open("r+b") as file:
        file.write(values.data)
        file.write(CHECKSUM.pack(_checksum(part, values)))


def give_up(part: Part10) -> None:
    """Give up a claimed instance: its file remains, empty, and its job will decode the image."""
    with suppress(OSError):
        os.truncate(_file(part), 0)


def fill(part: Part10, values: NDArray[Any]) -> bool:
    """Fill an array with the decoded values of an instance; False if there is no whole file of them."""
    checksum = bytearray(CHECKSUM.size)
    try:
        fd = os.open(_file(part), os.O_RDONLY)
        try:
            count = os.preadv(fd, [values.data, checksum], 0)
        finally:
            os.close(fd)
    except OSError:
        return False
    whole = count == values.nbytes + CHECKSUM.size
    return whole and CHECKSUM.unpack(checksum)[0] == _checksum(part, values)


def sizes(folder: Path) -> dict[str, dict[str, int]]:
    """Return the size of each file in bytes, by pack and offset."""
    found: dict[str, dict[str, int]] = {}
    for pack in folder.iterdir():
        found[pack.name] = {}
        with suppress(FileNotFoundError):  # another process deletes the pack
            found[pack.name].update({file.name: file.stat().st_size for file in pack.iterdir()})
    return found


def drop(folder: Path, packs: Iterable[str]) -> None:
    """Delete the decoded values of all instances of these packs."""
    for pack in packs:
        shutil.rmtree(folder / pack, ignore_errors=True)


def _file(part: Part10) -> Path:
    return (part.decoded or part.path) / str(part.offset)


def _checksum(part: Part10, values: NDArray[Any]) -> int:
    return crc32(values.data, crc32(f"{part.path.name}/{part.offset}".encode()))
