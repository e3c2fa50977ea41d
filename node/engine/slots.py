"""The slots of a machine, which limit how many jobs compute at once."""

import threading
from collections.abc import Callable


class Slots:
    """The slots of one machine for jobs that ask models; a job that finds none free waits until the node stops.

    Twice as many jobs may run: a job that has its answers releases its slot, and composes while the next one computes.
    """

    def __init__(self, number: int, stopping: Callable[[], bool] = lambda: False) -> None:
        self.threads = 2 * number
        self._free = threading.Semaphore(number)
        self._stopping = stopping

    def run(self, work: Callable[[Callable[[], None]], float | None]) -> float | None:
        """Run `work` in a slot and return what it returns; its argument is the function that releases the slot early.

        If the node stops while it waits for a slot, `work` is not run.
        """
        held = self._free.acquire()

        def release() -> None:
            nonlocal held
            if held:
                held = False
                self._free.release()

        try:
            return None if self._stopping() else work(release)
        finally:
            release()
