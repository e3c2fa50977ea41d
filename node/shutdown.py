"""How a program that serves comes to its end: told by a signal, and never later than it must."""

import faulthandler
import os
import select
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

log = structlog.get_logger()

SIGNALS = (signal.SIGTERM, signal.SIGINT)
LEAVE_SECONDS = 25.0
"""How long a stop may take beyond the time that jobs and associations have to end."""


class Ending:
    """Waits for SIGTERM or Ctrl-C, and then sees to it that the process ends in time, with exit status 0.

    The kernel may give a signal to any thread, and Python runs its handlers in the main thread alone: one that waits
    for a lock sleeps on. What wakes it is a byte that the signal writes, in whichever thread (`signal.set_wakeup_fd`).
    """

    def __init__(self, reader: socket.socket) -> None:
        self._reader = reader
        self._came = False

    @property
    def told(self) -> bool:
        """Whether a signal has come."""
        return self._came or bool(select.select([self._reader], [], [], 0)[0])

    def wait(self, seconds: float) -> None:
        """Return when a signal has come; the process then has `LEAVE_SECONDS` beyond `seconds` to end by itself."""
        self._reader.recv(1)
        self._came = True
        bound = threading.Timer(seconds + LEAVE_SECONDS, _leave)
        bound.daemon = True
        bound.start()


@contextmanager
def ending() -> Iterator[Ending]:
    """Take the signals that end a program; to be entered in the main thread."""
    reader, writer = socket.socketpair()
    writer.settimeout(0)
    wakes = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    handlers = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    try:
        yield Ending(reader)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakes)
        reader.close()
        writer.close()


def _leave() -> None:
    """Leave at once, as a kill would: all that was promised is durable, and the next start goes on from there."""
    log.error("node.cut", reason="a part of the node had not ended in time; the stacks tell which")
    faulthandler.dump_traceback()
    os._exit(0)
