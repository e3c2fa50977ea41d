"""How far a command is, on the last line of a terminal; nothing of it reaches a file, a pipe or a log."""

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Self, TextIO, TypeVar

FIRST_SECONDS, EVERY_SECONDS = 1.0, 0.2
"""When the line is shown first, and how often it is written anew."""
WIDTH, BLOCK = 20, 5
"""Characters of a bar, and of the block that moves in a bar whose length nobody knows."""
ERASE = "\r\x1b[K"
"""To the beginning of the line, and erase it (ECMA-48: CR, EL)."""

T = TypeVar("T")
_END = object()


class Progress:
    """A context in which a bar on stderr says what is done, how much of it, and for how long.

    It appears after a second, in a terminal only. While it may be there, `say` prints the lines of the command.

    Parameters
    ----------
    length
        How many steps there are; 0 if nobody knows.
    shown
        Whether it is shown at all; by default, if the stream is a terminal.
    """

    def __init__(
        self,
        doing: str,
        length: int = 0,
        *,
        stream: TextIO | None = None,
        shown: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
        every: float = EVERY_SECONDS,
    ) -> None:
        self._stream = stream or sys.stderr
        self._shown = self._stream.isatty() if shown is None else shown
        self._doing, self._length, self._done = doing, length, 0
        self._clock, self._begun, self._every = clock, clock(), every
        self._drawn = False
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._drawing = threading.Thread(target=self._draw_often, name="progress", daemon=True)

    def __enter__(self) -> Self:
        if self._shown:
            self._drawing.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._shown:
            self._drawing.join()
        self.erase()

    def begin(self, doing: str, length: int = 0) -> None:
        """Name the next part of the work; its time begins."""
        with self._lock:
            self._doing, self._length, self._done, self._begun = doing, length, 0, self._clock()

    def step(self) -> None:
        """Count a step that is done."""
        self._done += 1

    def say(self, write: Callable[[], object]) -> None:
        """Call what writes lines of the command, with the bar out of its way."""
        with self._lock:
            self._erase()
            write()

    def erase(self) -> None:
        """Remove the bar; it comes back at its next turn."""
        with self._lock:
            self._erase()

    def draw(self) -> None:
        """Write the bar as it is now."""
        with self._lock:
            seconds = self._clock() - self._begun
            if self._shown and seconds >= FIRST_SECONDS and not self._ended.is_set():
                columns = shutil.get_terminal_size().columns
                text = bar(self._doing, self._done, self._length, seconds)
                self._stream.write(ERASE + text[: columns - 1])
                self._stream.flush()
                self._drawn = True

    def _erase(self) -> None:
        if self._drawn:
            self._stream.write(ERASE)
            self._stream.flush()
            self._drawn = False

    def _draw_often(self) -> None:
        while not self._ended.wait(self._every):
            self.draw()


def bar(doing: str, done: int, length: int, seconds: float) -> str:
    """Return a bar as text: filled by what is done, or with a block that moves where the length is not known."""
    if length:
        filled = WIDTH * min(done, length) // length
        return f"{doing} [{'#' * filled}{'-' * (WIDTH - filled)}] {done}/{length}, {seconds:.0f} s"
    ways = WIDTH - BLOCK
    at = ways - abs(int(seconds / EVERY_SECONDS) % (2 * ways) - ways)
    return f"{doing} [{'-' * at}{'#' * BLOCK}{'-' * (ways - at)}] {seconds:.0f} s"


def awaited(items: Iterable[T], progress: Progress) -> Iterator[T]:
    """Yield items with the bar shown while the next one is awaited, and out of the way of who prints it."""
    iterator = iter(items)
    with progress:
        while (item := next(iterator, _END)) is not _END:
            progress.erase()
            yield item  # type: ignore[misc]  # it is no _END
            progress.step()
