"""How many jobs compute at once; what a job still composes when its answers are known needs no place."""

import threading
from collections.abc import Callable


class Places:
    """The places of one machine for jobs that ask models; who comes when all are taken waits, until the node stops.

    Twice as many jobs may be under way: one that has left its place composes beside the next one.
    """

    def __init__(self, number: int, stopping: Callable[[], bool] = lambda: False) -> None:
        self.threads = 2 * number
        self._free = threading.Semaphore(number)
        self._stopping = stopping

    def take(self, work: Callable[[Callable[[], None]], float | None]) -> float | None:
        """Return what work returns that is done in a place, and is given what leaves it before the end."""
        taken = self._free.acquire()

        def leave() -> None:
            nonlocal taken
            if taken:
                taken = False
                self._free.release()

        try:
            return None if self._stopping() else work(leave)
        finally:
            leave()
