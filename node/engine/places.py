"""How many jobs compute at once; what a job still composes when its answers are known needs no place."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Places:
    """The places of one machine for jobs that ask models; whoever comes when all are taken waits.

    Twice as many jobs may be under way: one that has left its place composes beside the next one.
    """

    def __init__(self, number: int) -> None:
        self.threads = 2 * number
        self._free = threading.Semaphore(number)

    @contextmanager
    def one(self) -> Iterator[Callable[[], None]]:
        """Take a place; give what leaves it before the end."""
        taken = self._free.acquire()

        def leave() -> None:
            nonlocal taken
            if taken:
                taken = False
                self._free.release()

        try:
            yield leave
        finally:
            leave()
