"""Ctrl-C in a terminal goes to every process that was started from it; only the first of them decides what follows."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """In the context, processes are started that never get SIGINT: they inherit the mask of this thread.

    They end with the node. One that was still importing would end with a traceback, before it can say that it ignores
    the signal.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
