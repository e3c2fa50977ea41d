"""Large arrays of a job, in memory that a Triton server on the same machine reads and writes without copying.

An arena is a file in /dev/shm that the node makes, keeps warm from job to job, and lends to one job at a time. Making
its pages costs more than filling them, so they are made once. Its name says whose it is, and its owner holds a lock on
it for as long as it lives: what a killed node leaves is told by its lock, and swept when a node starts on the machine.
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
from typing import Any

import numpy as np
import structlog
from numpy.typing import DTypeLike, NDArray

from node.errors import JobDied, NodeError

log = structlog.get_logger()

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps POSIX shared memory
PREFIX, WORD = "isocenter_", "_arena_"
PAGE = mmap.PAGESIZE
POPULATE_WRITE = 23  # linux/mman.h; since Linux 5.14
SMALLEST = 1 << 20
"""Arrays of fewer bytes are not worth a place in the arena."""
ROOM = 1.5
"""An arena has room for a volume of int16 and for labels of one byte on its grid."""
GRAIN = 1 << 20
BEAT_SECONDS = 10.0


class Arena:
    """The arena that was lent to this process, with the arrays that live in it.

    Parameters
    ----------
    name
        Of the file in /dev/shm.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        fd = os.open(SHARED_MEMORY / name, os.O_RDWR)
        try:
            self.size = os.fstat(fd).st_size
            self._memory = mmap.mmap(fd, self.size)
        finally:
            os.close(fd)
        self._begin = np.frombuffer(self._memory, np.uint8).ctypes.data
        self._taken: dict[int, int] = {}
        self._lock = threading.Lock()

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any] | None:
        """Return an array in the arena, or None where there is no room; its place is free again when it is gone."""
        kind = np.dtype(dtype)
        size = math.prod(shape) * kind.itemsize
        with self._lock:
            offset = self._gap(size)
            if offset is None:
                return None
            self._taken[offset] = size
        flat = np.frombuffer(self._memory, kind, math.prod(shape), offset)
        weakref.finalize(
            flat, self._taken.pop, offset, None
        ).atexit = False  # every view of it keeps it: it is not the memory's owner
        return flat.reshape(shape)

    def populate(self, array: NDArray[Any]) -> None:
        """Have the pages of an array at hand before it is filled: by itself each would be a fault of its own."""
        offset = self.offset(array)
        if offset is not None:
            begin = offset // PAGE * PAGE
            with suppress(OSError, ValueError):
                self._memory.madvise(POPULATE_WRITE, begin, offset + array.nbytes - begin)

    def offset(self, array: NDArray[Any]) -> int | None:
        """Return where an array begins in the arena; None where it is not in it, or not in one piece."""
        offset: int = array.ctypes.data - self._begin
        inside = array.flags.c_contiguous and offset >= 0 and offset + array.nbytes <= self.size
        return offset if inside else None

    def _gap(self, size: int) -> int | None:
        """Return where the first gap begins that is large enough."""
        at = 0
        for offset, length in sorted(self._taken.copy().items()):
            if at + size <= offset:
                return at
            at = -(-(offset + length) // PAGE) * PAGE
        return at if at + size <= self.size else None


_lent: list[Arena] = []
_abandoned: list[Arena] = []


def use(name: str) -> None:
    """Have this process keep its large arrays in an arena that was lent to it."""
    _lent[:] = [Arena(name)] if name else []


def abandon() -> None:
    """Let go of the arena that was lent, for good: somebody may still write into it. Its owner sees its name gone."""
    for one in _lent:
        (SHARED_MEMORY / one.name).unlink(missing_ok=True)
    _abandoned.extend(_lent)
    _lent.clear()


def lent() -> Arena | None:
    """Return the arena that was lent to this process."""
    return _lent[0] if _lent else None


def populate(array: NDArray[Any]) -> None:
    """Have the pages of an array at hand that is about to be filled, where it lies in the arena."""
    if _lent:
        _lent[0].populate(array)


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return an array of unknown values: in the arena if it is large, one was lent and there is room."""
    large = math.prod(shape) * np.dtype(dtype).itemsize >= SMALLEST
    there = _lent[0].empty(shape, dtype) if _lent and large else None
    return np.empty(shape, dtype) if there is None else there


def _name(owner: int) -> str:
    return f"{PREFIX}{owner}{WORD}{secrets.token_hex(4)}"


def make(size: int, *, owner: int) -> tuple[str, int]:
    """Make an arena of so many bytes, all its pages there; return its name and the descriptor whose lock says we live.

    Raises
    ------
    OSError
        There is no /dev/shm, or no room in it.
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
    """Return whether a file or a region is an arena of some node, by its name."""
    return name.startswith(PREFIX) and WORD in name


def sweep() -> int:
    """Remove the arenas whose owners no longer live, and return how many there were."""
    swept = 0
    for path in [path for path in SHARED_MEMORY.glob(f"{PREFIX}*") if is_arena(path.name)]:
        with suppress(OSError), path.open("rb") as file:  # another's, in use, or gone meanwhile
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
            swept += 1
    return swept


@dataclass(frozen=True, slots=True)
class _Made:
    """An arena of ours, with the descriptor that holds its lock."""

    name: str
    fd: int
    size: int

    @property
    def there(self) -> bool:
        return (SHARED_MEMORY / self.name).exists()

    def grown(self, size: int) -> "_Made | None":
        """Return it with more bytes and another name, since servers have mapped the old; None, and it is no more."""
        name = _name(os.getpid())
        try:
            os.posix_fallocate(self.fd, 0, size)
            (SHARED_MEMORY / self.name).rename(SHARED_MEMORY / name)
        except OSError:
            self.drop()
            return None
        return _Made(name, self.fd, size)

    def drop(self) -> None:
        (SHARED_MEMORY / self.name).unlink(missing_ok=True)
        os.close(self.fd)


class Arenas:
    """The arenas of this process, each lent to one job at a time.

    Parameters
    ----------
    budget
        Bytes that the arenas may have together. A job that needs more than is left waits for others to end; one that
        needs more than all of it runs alone, and keeps in memory of its own what does not fit. With 0 there are none,
        and nobody waits.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._idle: list[_Made] = []
        self._lent = 0
        self._room = threading.Condition()

    def prepare(self, volume_bytes: int) -> None:
        """Have an arena at hand with room for volumes of so many bytes, before a job asks for it."""
        size = self._size(volume_bytes)
        with self._room:
            if volume_bytes < SMALLEST or any(made.size >= size for made in self._idle):
                return
            if self._lent + sum(made.size for made in self._idle) + size <= self._budget:
                made = self._take(size)
                self._idle += [made] if made else []

    @contextmanager
    def lend(self, volume_bytes: int, beat: Callable[[], bool]) -> Iterator[str]:
        """Lend an arena with room for volumes of so many bytes, and labels on them; give its name, or none.

        While it waits for room, `beat` is called now and then; when that returns False it waits no longer.
        """
        if not self._budget or volume_bytes < SMALLEST:
            yield ""
            return
        size = self._size(volume_bytes)
        with self._room:
            while self._lent and self._lent + size > self._budget:
                if not self._room.wait(BEAT_SECONDS) and not beat():
                    break
            made = self._take(size)
            self._lent += size
        clean = False
        try:
            yield made.name if made else ""
            clean = True
        except NodeError as error:
            clean = not isinstance(error, JobDied)  # the server may still be writing for a job that died
            raise
        finally:
            with self._room:
                self._lent -= size
                self._give_back(made, clean=clean)
                self._room.notify_all()

    def close(self) -> list[str]:
        """Remove all that are not lent, and return their names."""
        with self._room:
            names = [made.name for made in self._idle]
            for made in self._idle:
                made.drop()
            self._idle.clear()
        return names

    def _take(self, size: int) -> _Made | None:
        """Return the smallest idle arena that is large enough, else the largest made larger, else a new one."""
        self._idle.sort(key=lambda made: made.size)
        for made in self._idle:
            if made.size >= size:
                self._idle.remove(made)
                return made
        while len(self._idle) > 1 and self._lent + size + sum(made.size for made in self._idle[:-1]) > self._budget:
            self._idle.pop(0).drop()
        if self._idle and (grown := self._idle.pop().grown(size)) is not None:
            return grown
        return self._made(size)

    def _size(self, volume_bytes: int) -> int:
        return min(-(-int(volume_bytes * ROOM) // GRAIN) * GRAIN, self._budget)

    def _made(self, size: int) -> _Made | None:
        try:
            return _Made(*make(size, owner=os.getpid()), size)
        except OSError as error:
            log.warning("arena.refused", mib=size // 2**20, reason=error.strerror)
            return None

    def _give_back(self, made: _Made | None, *, clean: bool) -> None:
        if made is None:
            return
        if clean and made.there:
            self._idle.append(made)
        else:
            made.drop()
