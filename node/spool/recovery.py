"""Read the records of a pack back: after a crash, the ledger's rows are made again from them."""

import fcntl
import json
import os
import struct
from collections.abc import Generator
from pathlib import Path

from isal.isal_zlib import crc32

from node.records import Arrival, Instance, Place

MAGIC = b"ISOPACK1"
HEAD = struct.Struct("<8sQII8x")


def recover(path: Path, mark: int) -> Generator[Arrival, None, int | None]:
    """Yield the whole records of a pack from `mark` on, and return their number; None while its writer lives."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        found = 0
        start: int | None = mark
        while start is not None:
            arrival = read_record(file.fileno(), path.name, start)
            if arrival is not None:
                found += 1
                yield arrival
            start = arrival.end if arrival is not None else next_magic(file.fileno(), start + 1)
        return found


def next_magic(fd: int, start: int) -> int | None:
    """Return the offset of the next magic number from `start` on; None if there is none."""
    overlap = len(MAGIC) - 1
    while chunk := os.pread(fd, 1 << 20, start):
        if (found := chunk.find(MAGIC)) >= 0:
            return start + found
        if len(chunk) <= overlap:
            return None
        start += len(chunk) - overlap
    return None


def read_record(fd: int, pack: str, start: int) -> Arrival | None:
    """Read the record at `start`, or None where it is torn."""
    head = os.pread(fd, HEAD.size, start)
    if len(head) < HEAD.size:
        return None
    magic, length, envelope_length, checksum = HEAD.unpack(head)
    body, whole = start + HEAD.size, length + envelope_length
    if magic != MAGIC or not 0 < whole <= os.fstat(fd).st_size - body:
        return None
    content = os.pread(fd, whole, body)
    if len(content) < whole or crc32(content) != checksum:
        return None
    instance = Instance(**json.loads(content[length:]))
    place = Place(pack=pack, offset=body, length=length)
    return Arrival(instance=instance, place=place, end=body + len(content))
