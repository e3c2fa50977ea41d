"""Two halves of a task side by side: what one makes, the other takes while the next is made."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


@contextmanager
def beside(work: Callable[[Iterator[Item]], Outcome]) -> Iterator[tuple[Callable[[Item], object], Future[Outcome]]]:
    """Do work in a thread of its own on what it is handed while the block runs; give what hands it, and its outcome.

    The block ends when the work has: what it was handed last was the last.
    """
    handed: SimpleQueue[Item | None] = SimpleQueue()
    with ThreadPoolExecutor(1) as thread:
        outcome = thread.submit(work, iter(handed.get, None))
        try:
            yield handed.put, outcome
        finally:
            handed.put(None)
