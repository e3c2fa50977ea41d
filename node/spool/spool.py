"""The files: packs of received instances, and composed objects; beside them decoded values (`node.images.decoded`).

A pack is an append-only file, one per association. Each record in it is a head of 32 bytes, a complete Part 10 file,
and an envelope: the instance's row as JSON. So the packs can tell the ledger's rows again.

    head = magic (8) · length of the Part 10 file (u64) · length of the envelope (u32) · CRC-32 of both (u32) · zero (8)

The writer holds a lock on its pack; a pack that can be locked has no writer any more. Where each record is synced
before the next begins, only the last of such a pack can be torn; where they are synced later, a power cut may leave
holes. The checksum tells. Nothing is ever cut off a pack that
has no writer: should an earlier record be damaged, those after it are found by their magic.
"""

import fcntl
import itertools
import json
import os
import re
import shutil
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, replace
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO

from isal.isal_zlib import crc32

from node.errors import BytesLost, ConfigError, SpoolFull
from node.faults import fault, torn
from node.images.part10 import Part10
from node.records import Arrival, Instance, Place

MAGIC = b"ISOPACK1"
HEAD = struct.Struct("<8sQII8x")
FIELDS = tuple(field.name for field in fields(Instance))
values_of = attrgetter(*FIELDS)
JSON = json.JSONEncoder(separators=(",", ":"), check_circular=False)
Buffer = bytes | bytearray | memoryview
MOST_PARTS = 1024
"""What one writev takes at most (IOV_MAX)."""
PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700
"""Images are for the node's user alone."""
READ_ONLY_FILE = 0o400
PACK_LIMIT = 256 * 1024 * 1024
IDLE_SECONDS = 3600.0
"""A pack that was written so lately is never deleted."""


def writer(pid: int) -> str:
    """Return the name of a process of this machine in the names of what it writes: other machines share the spool."""
    return f"{re.sub('[^A-Za-z0-9.]', '_', socket.gethostname())}-{pid}"


class Pack:
    """One open pack: the only place where received bytes are written.

    With `synced` an instance is on the disk when `append` returns; without, it is the kernel's, which outlives this
    process but no power cut, and `Spool.sync` makes it durable.
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
        """Write the beginning of an instance too large to be held; `append` brings its end, or `drop` forgets it.

        Its head is written last: until then a reader finds nothing here. SpoolFull where it cannot be written.
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
        """Return no more than so many bytes of what `write` took; none where the pack is broken."""
        if self._fd < 0:
            return b""
        return os.pread(self._fd, min(length, self._begun), self.size + HEAD.size)

    def remove(self) -> None:
        """Delete a pack that has come to nothing."""
        self.path.unlink(missing_ok=True)
        self.close()

    def append(self, instance: Instance, *parts: Buffer) -> Arrival:
        """Write one instance, whose Part 10 file is the concatenation of `parts`, and return when it is durable.

        What was written of it by `write` stands before `parts`.

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
    def broken(self) -> bool:
        """Whether a failed write left the pack unusable; its whole records stay readable."""
        return self._fd < 0

    def _give_up(self, size: int) -> None:
        """Drop what was half written, and use the pack no more: after a failed sync the kernel may have lost pages."""
        with suppress(OSError):
            os.ftruncate(self._fd, size)
        self._close()

    def close(self, *, whole: bool = False) -> None:
        """Let go of the pack; whoever locks it next reads it as complete.

        `whole` says that its association was released and nothing on it was refused. The pack is read-only from then
        on, so that this is known though its row be lost.
        """
        with self._lock:
            if self._fd >= 0 and whole:
                with suppress(OSError):
                    os.fchmod(self._fd, READ_ONLY_FILE)
                    if self.synced:
                        os.fsync(self._fd)
            if self._fd >= 0 and not self.synced:
                with suppress(OSError):  # `Spool.sync` meets it again, and tells
                    os.fdatasync(self._fd)
            self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            self._close()


class Spool:
    """The folder that holds packs and composed objects.

    Parameters
    ----------
    path
        Made where it does not exist, unless it was `made` before; ConfigError where it cannot be, or is not there.
    free_mark
        Bytes that must stay free under `path`; below, nothing is taken.
    synced
        Whether each instance is flushed to disk before its sender gets the answer, or later, by `sync`.
    """

    def __init__(self, path: Path, *, free_mark: int = 0, synced: bool = True, made: bool = False) -> None:
        self.synced = synced
        self.path = path
        self.free_mark = free_mark
        self.packs = path / "packs"
        self.objects = path / "objects"
        self.decoded = path / "decoded"
        self._count = itertools.count(1)
        self._barren: dict[str, tuple[int, int]] = {}  # mark and size of packs with nothing whole beyond their mark
        try:
            for folder in () if made else (self.packs, self.objects, self.decoded):
                folder.mkdir(parents=True, exist_ok=True)
                if stat.S_IMODE(folder.stat().st_mode) != PRIVATE_FOLDER:
                    folder.chmod(PRIVATE_FOLDER)
        except OSError as error:
            raise ConfigError(
                f"spool.path {path} cannot be used: {error.strerror}; make it writable or name another"
            ) from error
        if not os.access(self.packs, os.W_OK):
            raise ConfigError(f"spool.path {path} is not writable for this user; make it so or name another")

    def check_space(self) -> None:
        """Raise SpoolFull while less than the mark is free."""
        if (room := self.room) < 0:
            free, mark = (room + self.free_mark) // 2**20, self.free_mark // 2**20
            raise SpoolFull(f"{free} MiB are free under the spool, the mark is {mark} MiB")

    @property
    def room(self) -> int:
        """How many bytes are free beyond the mark; negative below it."""
        return shutil.disk_usage(self.packs).free - self.free_mark

    def new_name(self) -> str:
        """Return a name that nothing else in the spool has, and that sorts by time."""
        return f"{time.time_ns()}-{writer(os.getpid())}-{next(self._count)}"

    def open_pack(self, association: str = "") -> Pack:
        """Begin a new pack for an association; SpoolFull where none can be made."""
        try:
            return Pack(self.packs / f"{self.new_name()}.pack", synced=self.synced, association=association)
        except OSError as error:
            raise SpoolFull(f"no pack can be made in the spool: {error.strerror}") from error

    def sync(self, pack: str) -> bool:
        """Make what a pack holds by now durable; False where there is no such pack, or it cannot be synced."""
        try:
            fd = os.open(self.packs / pack, os.O_RDONLY)
        except OSError:
            return False
        try:
            os.fdatasync(fd)
        except OSError:
            return False
        finally:
            os.close(fd)
        return True

    def part10(self, place: Place, note: str = "") -> Part10:
        """Return the Part 10 file that lies at a place, with what was noted of it."""
        path, decoded = self._paths(place.pack)
        return Part10(path=path, offset=place.offset, length=place.length, summary=note, decoded=decoded)

    @lru_cache(maxsize=256)  # noqa: B019 - a spool lives as long as its process
    def _paths(self, pack: str) -> tuple[Path, Path]:
        return self.packs / pack, self.decoded / pack

    def sync_packs(self, packs: Iterable[str]) -> None:
        """Make all that was written to these packs durable; SpoolFull where that fails. One gone is no fault."""
        for name in packs:
            try:
                with (self.packs / name).open("rb") as file:
                    os.fdatasync(file.fileno())
            except FileNotFoundError:
                continue
            except OSError as error:
                raise SpoolFull(f"pack {name} cannot be synced: {error.strerror}") from error

    def holds(self, instance: Instance, place: Place) -> bool:
        """Return whether an instance's bytes lie whole at their place; those of a pack that is being written do."""
        if self.is_open(place.pack):
            return True
        try:
            return crc32(self.part10(place).read()) == instance.checksum
        except BytesLost:
            return False

    def idle_packs(self) -> list[str]:
        """Return the packs that nobody writes, and nobody wrote for a while: one just made is not yet locked."""
        latest = time.time() - IDLE_SECONDS
        return [path.name for path in self._all_packs() if _changed(path) < latest and not self.is_open(path.name)]

    def size(self, pack: str) -> int:
        """Return how many bytes a pack has, 0 where it is gone."""
        try:
            return (self.packs / pack).stat().st_size
        except FileNotFoundError:
            return 0

    def unread(self, marks: Mapping[str, int]) -> dict[str, int]:
        """Return, of packs without a writer, how many bytes beyond the mark cannot be read as an instance."""
        found = {}
        for path in self._all_packs():
            mark = marks.get(path.name, 0)
            with suppress(FileNotFoundError):
                beyond = path.stat().st_size - mark
                if beyond > 0 and not self.is_open(path.name) and next(recover(path, mark), None) is None:
                    found[path.name] = beyond
        return found

    def drop_packs(self, names: Iterable[str]) -> None:
        """Delete packs."""
        for name in names:
            (self.packs / name).unlink(missing_ok=True)

    def drop_objects(self, folder: str, *, until: float) -> int:
        """Delete what was composed for a study up to a time, and return how many files that were."""
        old = [path for path in (self.objects / folder).glob("*") if _changed(path) <= until]
        for path in old:
            path.unlink(missing_ok=True)
        with suppress(OSError):  # something newer is in it
            (self.objects / folder).rmdir()
        return len(old)

    def _all_packs(self, *, since: str = "") -> list[Path]:
        """Return the packs that were begun when `since` was, or later, in that order; none where the spool is away.

        There may be thousands: the others' names are read, and no more.
        """
        try:
            with os.scandir(self.packs) as found:
                names = sorted(entry.name for entry in found if entry.name >= since and entry.name.endswith(".pack"))
        except FileNotFoundError:
            return []
        return [self.packs / name for name in names]

    def is_open(self, pack: str) -> bool:
        """Return whether the association that writes a pack, in whatever process, still lives."""
        try:
            with (self.packs / pack).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        return False

    def written_at(self, pack: str) -> float:
        """Return when a pack was last written; infinity where it is gone."""
        return _changed(self.packs / pack)

    def is_whole(self, pack: str) -> bool:
        """Return whether a pack was closed as `whole`."""
        try:
            return (self.packs / pack).stat().st_mode & PRIVATE_FILE == READ_ONLY_FILE
        except FileNotFoundError:
            return False

    def is_over(self, pack: str, mark: int) -> bool:
        """Return whether nobody writes a pack any more, and no record in it begins at the mark or beyond."""
        return not self.is_open(pack) and self.size(pack) <= mark

    def open_packs(self, *, since: str) -> set[str]:
        """Return the packs that somebody writes, of those that were begun when `since` was, or later."""
        return {path.name for path in self._all_packs(since=since) if self.is_open(path.name)}

    def without_writer(self, names: Iterable[str], *, of: str | None = None, quiet_seconds: float = 0) -> list[str]:
        """Return which of these packs nobody writes, those that are gone included; see `unwritten`."""
        latest = time.time() - quiet_seconds if quiet_seconds else float("inf")
        mine = [name for name in names if of is None or f"-{of}-" in name]
        quiet = [name for name in mine if not self.size(name) or _changed(self.packs / name) <= latest]
        return [name for name in quiet if not self.is_open(name)]

    def unwritten(
        self, marks: Mapping[str, int], *, of: str | None = None, quiet_seconds: float = 0
    ) -> Iterator[Arrival]:
        """Yield what packs without a writer hold beyond the ledger's marks.

        `of`: only packs of this `writer`; `quiet_seconds`: only packs that nobody wrote for so long.
        """
        latest = time.time() - quiet_seconds
        for path in self._all_packs():
            mark = marks.get(path.name, 0)
            with suppress(FileNotFoundError):  # another process has purged it
                seen = (mark, path.stat().st_size)
                if seen[1] <= mark or _changed(path) > latest or self._barren.get(path.name) == seen:
                    continue
                if (of is None or f"-{of}-" in path.name) and (yield from recover(path, mark)) == 0:
                    self._barren[path.name] = seen

    def keep(self, folder: str, name: str, content: bytes | Callable[[BinaryIO], None]) -> str:
        """Store a composed object durably, and return its path below the spool; the same name replaces it whole.

        `content` may write itself: an object can be larger than what it was made of.
        """
        target = self.objects / folder / name
        made = not target.parent.exists()
        draft = target.with_name(f".{name}.{writer(os.getpid())}")
        try:
            target.parent.mkdir(exist_ok=True)
            with draft.open("wb") as file:
                if callable(content):
                    content(file)
                else:
                    file.write(content)
                file.flush()
                fault("spool.keep.written")
                os.fsync(file.fileno())
            draft.replace(target)
            sync_folder(target.parent)
            if made:
                sync_folder(self.objects)
        except OSError as error:
            with suppress(OSError):  # on a disk that has become read-only it stays, and the next draft has its name
                draft.unlink(missing_ok=True)
            raise SpoolFull(f"the spool cannot be written: {error.strerror}") from error
        return str(target.relative_to(self.path))


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


def _changed(path: Path) -> float:
    """Return when a file was last written; one that is gone meanwhile counts as new."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def next_magic(fd: int, start: int) -> int | None:
    """Return the offset of the next thing that looks like a head, from `start` on."""
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


def write_all(fd: int, parts: Iterable[Buffer]) -> None:
    """Write all parts at the end of what was written; the kernel may take less than it is given."""
    views = [memoryview(part) for part in parts if part]
    while views:
        written = os.writev(fd, views[:MOST_PARTS])
        while views and written >= len(views[0]):
            written -= len(views.pop(0))
        if views:
            views[0] = views[0][written:]


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
