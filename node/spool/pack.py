"""Packs: append-only files of received instances, one per association.

Each record in a pack is a head of 32 bytes, a complete Part 10 file, and an envelope: the instance's row as JSON.
`node.spool.recovery` can therefore make the ledger's rows again from the packs.

    head = magic (8) · length of the Part 10 file (u64) · length of the envelope (u32) · CRC-32 of both (u32) · zero (8)

The writer holds a lock on its pack; a pack that can be locked no longer has a writer. If each record is synced before
the next begins, only the last record of such a pack can be torn. If records are synced later, a power cut may leave
holes; the checksum reveals them. Nothing is ever cut off a pack that has no writer: if an earlier record is damaged,
the records after it are found by their magic.
"""

import fcntl
import json
import os
import threading
from contextlib import suppress
from dataclasses import fields, replace
from operator import attrgetter
from pathlib import Path

from isal.isal_zlib import crc32

from node.errors import SpoolFull
from node.faults import fault, torn
from node.records import Arrival, Instance, Place
from node.spool.files import PRIVATE_FILE, READ_ONLY_FILE, Buffer, sync_folder, write_all
from node.spool.recovery import HEAD, MAGIC

FIELDS = tuple(field.name for field in fields(Instance))
values_of = attrgetter(*FIELDS)
JSON = json.JSONEncoder(separators=(",", ":"), check_circular=False)


class Pack:
    """One open pack: the only place where received bytes are written.

    With `synced`, an instance is on the disk when `append` returns. Without it, the kernel has the bytes: they survive
    the end of this process, but not a power cut, until `Spool.sync` makes them durable.
    """

    def __init__(self, path: Path, *, synced: bool = True, association: str = "") -> None:
        self.path = path
        self.synced = synced
        self.association = association
        self.name = path.name
        self.size = 0
        self._begun = 0  # bytes of an instance whose end is not here yet, and their checksum
        self._checksum = 0
        self._lock = threading.Lock()  # a connection may be lost, and the pack closed, while an instance is written
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        sync_folder(path.parent)

    def write(self, *parts: Buffer) -> None:
        """Write the beginning of an instance too large for memory; `append` writes its end, or `drop` removes it.

        Its head is written last: until then a reader finds no record here. SpoolFull if it cannot be written.
        """
        with self._lock:
            try:
                if not self._begun:
                    os.lseek(self._fd, self.size + HEAD.size, os.SEEK_SET)
                write_all(self._fd, parts)
            except OSError as error:
                self._give_up(self.size)
                raise SpoolFull(f"the spool cannot be written: {error.strerror}") from error
        for part in parts:
            self._checksum = crc32(part, self._checksum)
            self._begun += len(part)

    def drop(self) -> None:
        """Forget the beginning of an instance; the pack is as it was before."""
        with self._lock:
            self._begun = self._checksum = 0
            if self._fd >= 0:
                try:
                    os.ftruncate(self._fd, self.size)
                    os.lseek(self._fd, self.size, os.SEEK_SET)
                except OSError:
                    self._give_up(self.size)

    def beginning(self, length: int) -> bytes:
        """Return at most so many bytes of what `write` wrote; none if the pack is broken."""
        if self._fd < 0:
            return b""
        return os.pread(self._fd, min(length, self._begun), self.size + HEAD.size)

    def remove(self) -> None:
        """Delete the pack, which holds no record."""
        self.path.unlink(missing_ok=True)
        self.close()

    def append(self, instance: Instance, *parts: Buffer) -> Arrival:
        """Write one instance, whose Part 10 file is the concatenation of `parts`, and return when it is durable.

        Bytes that `write` wrote before come first.

        Raises
        ------
        SpoolFull
            It could not be written or synced; the pack is as it was before, or must not be used again (`broken`).
        """
        begun, checksum = self._begun, self._checksum
        for part in parts:
            checksum = crc32(part, checksum)
        instance = replace(instance, checksum=checksum)
        envelope = JSON.encode(dict(zip(FIELDS, values_of(instance), strict=True))).encode()
        length = begun + sum(map(len, parts))
        start, body = self.size, self.size + HEAD.size
        head = HEAD.pack(MAGIC, length, len(envelope), crc32(envelope, checksum))
        rest = (*parts, envelope) if begun else (head, *parts, envelope)
        with self._lock:
            try:
                torn("pack.append.torn", self._fd, rest)
                write_all(self._fd, rest)
                if begun:
                    os.pwrite(self._fd, head, start)  # over a hole: so short a write is never cut
                fault("pack.append.written")
                if self.synced:
                    os.fdatasync(self._fd)
                fault("pack.append.synced")
            except OSError as error:
                self._give_up(start)
                raise SpoolFull(f"the spool cannot be written: {error.strerror}") from error
        self._begun = self._checksum = 0
        self.size = body + length + len(envelope)
        place = Place(pack=self.name, offset=body, length=length)
        return Arrival(instance=instance, place=place, end=self.size, association=self.association)

    @property
    def begun(self) -> int:
        """How many bytes `write` has written of an instance whose end is not here yet."""
        return self._begun

    @property
    def broken(self) -> bool:
        """Whether a failed write left the pack unusable; its whole records stay readable."""
        return self._fd < 0

    def _give_up(self, size: int) -> None:
        """Cut off the unfinished record, and close the pack: after a failed sync the kernel may have lost pages."""
        with suppress(OSError):
            os.ftruncate(self._fd, size)
        self._close()

    def close(self, *, whole: bool = False) -> None:
        """Close the pack and release its lock; the next process that locks it reads it as complete.

        `whole` says that its association was released and nothing on it was refused. The pack is then made read-only,
        so that this is known even if its row is lost.
        """
        with self._lock:
            if self._fd >= 0 and whole:
                with suppress(OSError):
                    os.fchmod(self._fd, READ_ONLY_FILE)
                    if self.synced:
                        os.fsync(self._fd)
            if self._fd >= 0 and not self.synced:
                with suppress(OSError):  # `Spool.sync` gets the same error, and reports it
                    os.fdatasync(self._fd)
            self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            self._close()
