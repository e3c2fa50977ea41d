"""The spool: the folder that holds packs and composed objects."""

import fcntl
import hashlib
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
"""A pack is never deleted within so many seconds after its last write."""


def writer(pid: int) -> str:
    """Return the name of a process of this machine, as in the names of its files: other machines share the spool."""
    return f"{re.sub('[^A-Za-z0-9.]', '_', socket.gethostname())}-{pid}"


class Spool:
    """The folder that holds packs and composed objects.

    Parameters
    ----------
    path
        Created if it does not exist, unless `made` says that it was created before; ConfigError if it cannot be used.
    free_mark
        Bytes that must stay free under `path`; with less free space, instances are refused.
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
        """Open a new pack for an association; SpoolFull if it cannot be created."""
        try:
            return Pack(self.packs / f"{self.new_name()}.pack", synced=self.synced, association=association)
        except OSError as error:
            raise SpoolFull(f"no pack can be made in the spool: {error.strerror}") from error

    def sync(self, pack: str) -> bool:
        """Make the present content of a pack durable; False if there is no such pack, or it cannot be synced."""
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
        """Return the Part 10 file at a place, with its header summary `note`."""
        path, decoded = self._paths(place.pack)
        return Part10(path=path, offset=place.offset, length=place.length, summary=note, decoded=decoded)

    @lru_cache(maxsize=256)  # noqa: B019 - a spool lives as long as its process
    def _paths(self, pack: str) -> tuple[Path, Path]:
        return self.packs / pack, self.decoded / pack

    def sync_packs(self, packs: Iterable[str]) -> None:
        """Make the content of these packs durable; SpoolFull if that fails. A pack that is gone is skipped."""
        for name in packs:
            try:
                with (self.packs / name).open("rb") as file:
                    os.fdatasync(file.fileno())
            except FileNotFoundError:
                continue
            except OSError as error:
                raise SpoolFull(f"pack {name} cannot be synced: {error.strerror}") from error

    def holds(self, instance: Instance, place: Place) -> bool:
        """Return whether an instance's bytes are whole at their place; True for a pack that is still being written."""
        if self.is_open(place.pack):
            return True
        try:
            return crc32(self.part10(place).read()) == instance.checksum
        except BytesLost:
            return False

    def idle_packs(self) -> list[str]:
        """Return the packs without a writer that were not written for a while: a new pack is not locked at once."""
        latest = time.time() - IDLE_SECONDS
        return [path.name for path in self._all_packs() if _changed(path) < latest and not self.is_open(path.name)]

    def size(self, pack: str) -> int:
        """Return how many bytes a pack has, 0 where it is gone."""
        try:
            return (self.packs / pack).stat().st_size
        except FileNotFoundError:
            return 0

    def unread(self, marks: Mapping[str, int]) -> dict[str, int]:
        """Return how many bytes beyond the mark cannot be read as an instance, by pack; packs without a writer only."""
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

    def studies_with_results(self) -> list[str]:
        """Return the studies of which composed objects lie here."""
        return sorted(folder.name for folder in self.objects.iterdir() if folder.is_dir() and any(folder.iterdir()))

    def free_job_numbers(self) -> None:
        """Rename the pages of jobs, so that jobs of a new ledger, which begin with 1, do not overwrite them."""
        for sidecar in self.objects.glob("*/job-*.json"):
            sidecar.replace(sidecar.with_name(f"run-{hashlib.sha256(sidecar.read_bytes()).hexdigest()[:16]}.json"))
            sidecar.with_suffix(".png").unlink(missing_ok=True)

    def drop_objects(self, folder: str, *, until: float) -> int:
        """Delete the objects composed for a study up to a time, and return their number."""
        old = [path for path in (self.objects / folder).glob("*") if _changed(path) <= until]
        for path in old:
            path.unlink(missing_ok=True)
        with suppress(OSError):  # something newer is in it
            (self.objects / folder).rmdir()
        return len(old)

    def _all_packs(self, *, since: str = "") -> list[Path]:
        """Return the packs that were opened when `since` was, or later, in that order; none if the spool is away.

        There may be thousands of packs: of the others only the names are read.
        """
        try:
            with os.scandir(self.packs) as found:
                names = sorted(entry.name for entry in found if entry.name >= since and entry.name.endswith(".pack"))
        except FileNotFoundError:
            return []
        return [self.packs / name for name in names]

    def is_open(self, pack: str) -> bool:
        """Return whether a pack still has a writer, in any process."""
        try:
            with (self.packs / pack).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        return False

    def written_at(self, pack: str) -> float:
        """Return when a pack was last written; infinity if it is gone."""
        return _changed(self.packs / pack)

    def is_whole(self, pack: str) -> bool:
        """Return whether a pack was closed as `whole`."""
        try:
            return (self.packs / pack).stat().st_mode & PRIVATE_FILE == READ_ONLY_FILE
        except FileNotFoundError:
            return False

    def is_over(self, pack: str, mark: int) -> bool:
        """Return whether a pack has no writer, and no record at the mark or beyond."""
        return not self.is_open(pack) and self.size(pack) <= mark

    def open_packs(self, *, since: str) -> set[str]:
        """Return the names of packs with a writer that were opened when `since` was, or later."""
        return {path.name for path in self._all_packs(since=since) if self.is_open(path.name)}

    def without_writer(self, names: Iterable[str], *, of: str | None = None, quiet_seconds: float = 0) -> list[str]:
        """Return which of these packs have no writer, including packs that are gone; see `unwritten`."""
        latest = time.time() - quiet_seconds if quiet_seconds else float("inf")
        mine = [name for name in names if of is None or f"-{of}-" in name]
        quiet = [name for name in mine if not self.size(name) or _changed(self.packs / name) <= latest]
        return [name for name in quiet if not self.is_open(name)]

    def unwritten(
        self, marks: Mapping[str, int], *, of: str | None = None, quiet_seconds: float = 0
    ) -> Iterator[Arrival]:
        """Yield the instances beyond the ledger's marks in packs without a writer.

        `of`: only packs of this `writer`. `quiet_seconds`: only packs that were not written for so long.
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
        """Store a composed object durably, and return its path below the spool; an object of the same name is replaced.

        `content` may be a function that writes the object to a file, so that a large object need not be in memory.
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
    """Return when a file was last written; a file that is gone counts as new."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
