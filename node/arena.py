"""Large arrays of a job, in memory that a Triton server on the same machine reads and writes without copying.

An arena is a file in /dev/shm that the node creates, keeps from job to job, and lends to one job at a time. To create
its pages costs more than to fill them, so they are created once. Its name contains the process ID of its owner, and the
owner holds a lock on it as long as it lives: arenas without a lock were left by a killed node, and are removed when a
node starts on the machine.
"""

import fcntl
import math
import mmap
import os
import secrets
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import structlog
from numpy.typing import DTypeLike, NDArray

from node.errors import JobDied, NodeError

log = structlog.get_logger()

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps POSIX shared memory
PREFIX, INFIX = "isocenter_", "_arena_"
PAGE = mmap.PAGESIZE
POPULATE_WRITE = 23  # linux/mman.h; since Linux 5.14
SMALLEST = 1 << 20
"""Arrays of fewer bytes are not put into the arena."""
HEADROOM = 1.5
"""An arena holds a volume of int16 and labels of one byte on its grid."""
GRANULE = 1 << 20
BEAT_SECONDS = 10.0


class Memory(Protocol):
    """Where large arrays are allocated."""

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array of undefined values."""

    def populate(self, array: NDArray[Any]) -> None:
        """Create the pages of an array, or of a part of one, before it is filled."""


class ProcessMemory:
    """The memory of this process; its pages are created when they are written."""

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """See `Memory.empty`."""
        return np.empty(shape, dtype)

    def populate(self, array: NDArray[Any]) -> None:
        """Do nothing."""


PROCESS_MEMORY = ProcessMemory()


class Arena:
    """An arena that was lent to this process, with the arrays in it.

    Parameters
    ----------
    name
        Of the file in /dev/shm.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.abandoned = False
        fd = os.open(SHARED_MEMORY / name, os.O_RDWR)
        try:
            self.size = os.fstat(fd).st_size
            self._memory = mmap.mmap(fd, self.size)
        finally:
            os.close(fd)
        self._begin = np.frombuffer(self._memory, np.uint8).ctypes.data
        self._taken: dict[int, int] = {}  # offset → bytes
        self._lock = threading.Lock()

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array of undefined values: in the arena if it is large and there is room, else elsewhere."""
        large = math.prod(shape) * np.dtype(dtype).itemsize >= SMALLEST
        array = self.allocate(shape, dtype) if large else None
        return np.empty(shape, dtype) if array is None else array

    def allocate(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any] | None:
        """Return an array in the arena, or None if there is no room; its bytes are free again when it is deleted."""
        kind = np.dtype(dtype)
        size = math.prod(shape) * kind.itemsize
        with self._lock:
            offset = None if self.abandoned else self._gap(size)
            if offset is None:
                return None
            self._taken[offset] = size
        flat = np.frombuffer(self._memory, kind, math.prod(shape), offset)
        weakref.finalize(
            flat, self._taken.pop, offset, None
        ).atexit = False  # every view refers to `flat`, which does not own the memory
        return flat.reshape(shape)

    def populate(self, array: NDArray[Any]) -> None:
        """Create the pages of an array at once, if it is in the arena: one page fault for each costs more."""
        offset = self.offset(array)
        if offset is not None:
            begin = offset // PAGE * PAGE
            with suppress(OSError, ValueError):
                self._memory.madvise(POPULATE_WRITE, begin, offset + array.nbytes - begin)

    def offset(self, array: NDArray[Any]) -> int | None:
        """Return the offset of an array in the arena; None if it is elsewhere, or not contiguous."""
        offset: int = array.ctypes.data - self._begin
        inside = array.flags.c_contiguous and offset >= 0 and offset + array.nbytes <= self.size
        return offset if inside else None

    def abandon(self) -> None:
        """Use the arena no more: a server may still write into it. Its owner finds its name gone, and drops it."""
        (SHARED_MEMORY / self.name).unlink(missing_ok=True)
        self.abandoned = True

    def _gap(self, size: int) -> int | None:
        """Return the offset of the first gap that is large enough."""
        at = 0
        for offset, length in sorted(self._taken.copy().items()):
            if at + size <= offset:
                return at
            at = -(-(offset + length) // PAGE) * PAGE
        return at if at + size <= self.size else None


def _name(owner: int) -> str:
    return f"{PREFIX}{owner}{INFIX}{secrets.token_hex(4)}"


def create_arena(size: int, *, owner: int) -> tuple[str, int]:
    """Create an arena of so many bytes with all its pages; return its name, and the descriptor that holds its lock.

    Raises
    ------
    OSError
        There is no /dev/shm, or not enough room in it.
    """
    fd = os.open(SHARED_MEMORY, os.O_TMPFILE | os.O_RDWR, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.posix_fallocate(fd, 0, size)
        name = _name(owner)
        folder = os.open(SHARED_MEMORY, os.O_RDONLY | os.O_DIRECTORY)
        try:  # only with a folder does os.link follow the link, as open(2) has it for O_TMPFILE
            os.link(f"/proc/self/fd/{fd}", name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=True)
        finally:
            os.close(folder)
    except OSError:
        os.close(fd)
        raise
    return name, fd


def is_arena(name: str) -> bool:
    """Return whether the name of a file or a shared memory region is that of an arena."""
    return name.startswith(PREFIX) and INFIX in name


def remove_orphans() -> int:
    """Remove the arenas whose owners no longer live, and return their number."""
    removed = 0
    for path in [path for path in SHARED_MEMORY.glob(f"{PREFIX}*") if is_arena(path.name)]:
        with suppress(OSError), path.open("rb") as file:  # of another user, in use, or removed meanwhile
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
            removed += 1
    return removed


@dataclass(frozen=True, slots=True)
class _OwnedArena:
    """An arena of this process, with the descriptor that holds its lock."""

    name: str
    fd: int
    size: int

    @property
    def exists(self) -> bool:
        return (SHARED_MEMORY / self.name).exists()

    def grown(self, size: int) -> "_OwnedArena | None":
        """Return it enlarged, under a new name, since servers have mapped the old file; drop it if that fails."""
        name = _name(os.getpid())
        try:
            os.posix_fallocate(self.fd, 0, size)
            (SHARED_MEMORY / self.name).rename(SHARED_MEMORY / name)
        except OSError:
            self.drop()
            return None
        return _OwnedArena(name, self.fd, size)

    def drop(self) -> None:
        (SHARED_MEMORY / self.name).unlink(missing_ok=True)
        os.close(self.fd)


class ArenaPool:
    """The arenas of this process, each lent to one job at a time.

    Parameters
    ----------
    budget
        Bytes of all arenas together. A job that needs more than is left waits for other jobs to end; a job that needs
        more than the whole budget runs alone, and keeps in its own memory what does not fit. With 0 there are no
        arenas, and no job waits.
    beat_seconds
        How often `beat` is called while a job waits.
    """

    def __init__(self, budget: int, beat_seconds: float = BEAT_SECONDS) -> None:
        self._budget = budget
        self._beat_seconds = beat_seconds
        self._idle: list[_OwnedArena] = []
        self._lent = 0
        self._changed = threading.Condition()

    def prepare(self, volume_bytes: int) -> None:
        """Create an arena with room for volumes of so many bytes, before a job needs it."""
        size = self._size(volume_bytes)
        with self._changed:
            if volume_bytes < SMALLEST or any(arena.size >= size for arena in self._idle):
                return
            if self._lent + sum(arena.size for arena in self._idle) + size <= self._budget:
                arena = self._take(size)
                self._idle += [arena] if arena else []

    @contextmanager
    def lend(self, volume_bytes: int, beat: Callable[[], bool]) -> Iterator[str]:
        """Lend an arena with room for volumes of so many bytes and labels on them; give its name, "" if there is none.

        While a job waits for room, `beat` is called now and then; when it returns False, the job waits no longer.
        """
        if not self._budget or volume_bytes < SMALLEST:
            yield ""
            return
        size = self._size(volume_bytes)
        with self._changed:
            while self._lent and self._lent + size > self._budget:
                if not self._changed.wait(self._beat_seconds) and not beat():
                    break
            arena = self._take(size)
            self._lent += size
        clean = False
        try:
            yield arena.name if arena else ""
            clean = True
        except NodeError as error:
            clean = not isinstance(error, JobDied)  # the server may still be writing for a job that died
            raise
        finally:
            with self._changed:
                self._lent -= size
                self._give_back(arena, clean=clean)
                self._changed.notify_all()

    def close(self) -> list[str]:
        """Remove all arenas that are not lent, and return their names."""
        with self._changed:
            names = [arena.name for arena in self._idle]
            for arena in self._idle:
                arena.drop()
            self._idle.clear()
        return names

    def _take(self, size: int) -> _OwnedArena | None:
        """Return the smallest idle arena that is large enough, else the largest one enlarged, else a new one."""
        self._idle.sort(key=lambda arena: arena.size)
        for arena in self._idle:
            if arena.size >= size:
                self._idle.remove(arena)
                return arena
        while len(self._idle) > 1 and self._lent + size + sum(arena.size for arena in self._idle[:-1]) > self._budget:
            self._idle.pop(0).drop()
        if self._idle and (grown := self._idle.pop().grown(size)) is not None:
            return grown
        return self._created(size)

    def _size(self, volume_bytes: int) -> int:
        return min(-(-int(volume_bytes * HEADROOM) // GRANULE) * GRANULE, self._budget)

    def _created(self, size: int) -> _OwnedArena | None:
        try:
            return _OwnedArena(*create_arena(size, owner=os.getpid()), size)
        except OSError as error:
            log.warning("arena.refused", mib=size // 2**20, reason=error.strerror)
            return None

    def _give_back(self, arena: _OwnedArena | None, *, clean: bool) -> None:
        if arena is None:
            return
        if clean and arena.exists:
            self._idle.append(arena)
        else:
            arena.drop()
