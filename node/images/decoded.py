"""Stored values of compressed images, decoded while their study arrives, in files that jobs read instead of decoding.

Each instance has a file of its own, by its place: `decoded/PACK/OFFSET` below the spool, and no pack is ever written
anew. In it are its values, (row, column), and a CRC-32 (u32) of its place and of them. It is never the only copy of
anything: it is not synced, and one that is missing, short or damaged is as good as none. A file is made before its
image is decoded, as long as the values and without the checksum: of several decoders one decodes it, its bytes are
counted, and an image at which a decoder died is not tried again.
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
    """Make the file of an instance whose values have so many bytes; False where there is one, or none can be made."""
    if part.decoded is None:
        return False
    try:
        part.decoded.mkdir(exist_ok=True)
        fd = os.open(_file(part), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    except OSError:
        return False
    try:
        os.truncate(fd, size)
    finally:
        os.close(fd)
    return True


def keep(part: Part10, values: NDArray[Any]) -> None:
    """Write the values of an instance that was claimed; OSError where its file is gone meanwhile, or has no room."""
    with _file(part).open("r+b") as file:
        file.write(values.data)
        file.write(CHECKSUM.pack(_checksum(part, values)))


def give_up(part: Part10) -> None:
    """Leave an instance that was claimed to its job: its file stays, and is empty."""
    with suppress(OSError):
        os.truncate(_file(part), 0)


def fill(part: Part10, values: NDArray[Any]) -> bool:
    """Fill an array with the values that are kept of an instance; False where there are none, or not whole."""
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
    """Return how many bytes each file has, by pack and offset."""
    found: dict[str, dict[str, int]] = {}
    for pack in folder.iterdir():
        found[pack.name] = {}
        with suppress(FileNotFoundError):  # another process drops it
            found[pack.name].update({one.name: one.stat().st_size for one in pack.iterdir()})
    return found


def drop(folder: Path, packs: Iterable[str]) -> None:
    """Delete what is kept of the instances of packs."""
    for pack in packs:
        shutil.rmtree(folder / pack, ignore_errors=True)


def _file(part: Part10) -> Path:
    return (part.decoded or part.path) / str(part.offset)


def _checksum(part: Part10, values: NDArray[Any]) -> int:
    return crc32(values.data, crc32(f"{part.path.name}/{part.offset}".encode()))
