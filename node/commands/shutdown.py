"""How a serving program stops, on SIGTERM or Ctrl-C within a bounded time with exit status 0; and SIGHUP."""

import faulthandler
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import structlog

log = structlog.get_logger()

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
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
        self._received = 0
        self._hung_up = False

    @property
    def requested(self) -> bool:
        """Whether a signal to stop has been received; for any thread.

        The byte stays for `wait`, which would not return if another thread took it.
        """
        waiting = b""
        with suppress(BlockingIOError):  # nothing is there
            waiting = self._reader.recv(64, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        return bool(self._received) or any(number in SIGNALS for number in waiting)

    def wait(self, seconds: float, on_hangup: Callable[[], object] = lambda: None) -> None:
        """Return when a signal to stop is received; the process then has `seconds` and `exit_seconds` to end by itself.

        SIGHUP, as `systemctl reload` or a closed terminal sends it, stops nothing: `on_hangup` is called.
        """
        while not self._received:
            if self._hung_up:
                self._hung_up = False
                on_hangup()
            else:
                self._receive()
        log.info("node.stopping", reason=signal.Signals(self._received).name)
        limit = threading.Timer(seconds + self._exit_seconds, _exit)
        limit.daemon = True
        limit.start()

    def _receive(self) -> None:
        for number in self._reader.recv(64):
            if number == signal.SIGHUP:
                self._hung_up = True
            elif number in SIGNALS:
                self._received = self._received or number


@contextmanager
def shutdown_on_signals(exit_seconds: float = EXIT_SECONDS) -> Iterator[Shutdown]:
    """Handle the signals that stop a program; must be entered in the main thread."""
    reader, writer = socket.socketpair()
    writer.settimeout(0)
    former_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    handlers = {number: signal.signal(number, lambda *_: None) for number in (*SIGNALS, signal.SIGHUP)}
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
