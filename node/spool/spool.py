"""The spool: the folder that holds packs and composed objects."""

import fcntl
import itertools
import os
import re
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from isal.isal_zlib import crc32

from node.errors import BytesLost, ConfigError, SpoolFull
from node.faults import fault
from node.images.part10 import Part10
from node.records import Arrival, Instance, Place
from node.spool.files import PRIVATE_FILE, READ_ONLY_FILE, sync_folder
from node.spool.pack import Pack
from node.spool.recovery import recover

PRIVATE_FOLDER = 0o700
PACK_LIMIT = 256 * 1024 * 1024
IDLE_SECONDS = 3600.0
"""A pack that was written so lately is never deleted."""


def writer(pid: int) -> str:
    """Return the name of a process of this machine in the names of what it writes: other machines share the spool."""
    return f"{re.sub('[^A-Za-z0-9.]', '_', socket.gethostname())}-{pid}"


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


def _changed(path: Path) -> float:
    """Return when a file was last written; one that is gone meanwhile counts as new."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
