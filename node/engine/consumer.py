"""A producer and a consumer side by side: each item is consumed in another thread while the next is produced."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def consumer_thread(
    consume: Callable[[Iterator[Item]], Result],
) -> Iterator[tuple[Callable[[Item], object], Future[Result]]]:
    """Run `consume` in a thread of its own; give the function that puts an item, and the future of its result.

    The items end with the block, which waits until `consume` has returned.
    """
    items: SimpleQueue[Item | None] = SimpleQueue()
    with ThreadPoolExecutor(1) as thread:
        result = thread.submit(consume, iter(items.get, None))
        try:
            yield items.put, result
        finally:
            items.put(None)
