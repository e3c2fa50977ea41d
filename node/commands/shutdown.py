"""How a serving program stops: on SIGTERM or Ctrl-C, within a bounded time, with exit status 0."""

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
EXIT_SECONDS = 25.0
"""How long a stop may take beyond the time that jobs and associations have to end."""


class Shutdown:
    """Waits for a signal, and then sees to it that the process ends in time, with exit status 0.

    The kernel may deliver a signal to any thread, and Python runs its handler in the main thread only, where it does
    not interrupt a wait for a lock. The signal therefore writes a byte to a socket (`signal.set_wakeup_fd`), whatever
    thread it is delivered to, and `wait` reads that byte.
    """

    def __init__(self, reader: socket.socket, exit_seconds: float) -> None:
        self._reader = reader
        self._exit_seconds = exit_seconds
        self._received = False

    @property
    def requested(self) -> bool:
        """Whether a signal has been received."""
        return self._received or bool(select.select([self._reader], [], [], 0)[0])

    def wait(self, seconds: float) -> None:
        """Return when a signal is received; the process then has `seconds` and `exit_seconds` to end by itself."""
        self._reader.recv(1)
        self._received = True
        limit = threading.Timer(seconds + self._exit_seconds, _exit)
        limit.daemon = True
        limit.start()


@contextmanager
def shutdown_on_signals(exit_seconds: float = EXIT_SECONDS) -> Iterator[Shutdown]:
    """Handle the signals that stop a program; must be entered in the main thread."""
    reader, writer = socket.socketpair()
    writer.settimeout(0)
    former_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    handlers = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    try:
        yield Shutdown(reader, exit_seconds)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(former_fd)
        reader.close()
        writer.close()


def _exit() -> None:
    """Exit at once, as if killed: all that was acknowledged is durable, and the next start goes on from there."""
    log.error("node.cut", reason="a part of the node did not end in time; the stacks below show which")
    faulthandler.dump_traceback()
    os._exit(0)
