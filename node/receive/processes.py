"""The receiver processes of a node, which share its listening sockets, so that several cores receive.

A process that dies is replaced. Connections that no process has accepted yet wait at the sockets, which this
process keeps open. What a dead process had acknowledged lies in packs that carry the name of their writer.
"""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from node.errors import ConfigError
from node.interrupts import interrupts_blocked
from node.receive.scp import listen
from node.records import Address
from node.spool import writer

log = structlog.get_logger()

WATCH_SECONDS = 30.0
"""How often packs are searched for that a dead process left behind, on any machine."""
QUIET_SECONDS = 60.0
"""Packs that were not written for so long are read: a living process writes its rows within a second or so."""
RESTART_SECONDS = 5.0
"""A process is replaced no sooner than so long after its start."""


class Recover(Protocol):
    """Records what packs of dead processes hold beyond the ledger's marks."""

    def __call__(self, of: str | None = None, *, quiet_seconds: float = 0) -> int:
        """Return the number of instances that were recorded."""


@dataclass(frozen=True, slots=True)
class ReceiverChild:
    """One receiver process, and when it was started, by the monotonic clock."""

    process: subprocess.Popen[str]
    started_at: float


@dataclass(slots=True)
class Receivers:
    """Starts receiver processes, replaces those that die, and wakes the steps that they name.

    Parameters
    ----------
    program
        The module that a process runs, with the descriptors of the sockets as its arguments. The first line of its
        stdin is `order`; it stops at the end of its stdin. On stdout it prints the name of each step to be woken.
    beside
        A second address to listen on.
    restart_seconds
        A process is replaced no sooner than so long after its start.

    Raises
    ------
    ConfigError
        From `start`: the port is in use, or the interface is not this machine's.
    """

    address: Address
    program: str
    order: str
    processes: int
    wake: Callable[[str], None]
    recover: Recover
    restart_seconds: float = RESTART_SECONDS
    beside: Address | None = None
    _listening: tuple[socket.socket, ...] = ()
    _children: list[ReceiverChild] = field(default_factory=list)
    _leaving: list[ReceiverChild] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Listen, and start the processes; connections wait at the socket until a process is ready."""
        self._listening = (listen(self.address),)
        if self.beside is not None:
            try:
                self._listening += (listen(self.beside),)
            except ConfigError:
                self._listening[0].close()
                raise
        self._children = [self._launch() for _ in range(self.processes)]

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._listening[0].getsockname()[1]) if self._listening else self.address.port

    @property
    def pids(self) -> list[int]:
        """The process IDs, living or dead."""
        return [child.process.pid for child in self._children]

    def watch(self) -> float:
        """Replace processes that died, record what they left, and return in how many seconds to look again."""
        dead = [child for child in self._children if child.process.poll() is not None]
        waits = [wait for child in dead if (wait := self._replace(child)) > 0]
        for child in dead:
            self.recover(writer(child.process.pid))
        self.recover(quiet_seconds=QUIET_SECONDS)
        return min(waits, default=WATCH_SECONDS)

    def renew(self, order: str, *, anew: bool = False) -> None:
        """Have processes with another order accept from now on; the former end with their last association.

        With `anew`, this is done for the same order, too: files that it names have changed.
        """
        with self._lock:
            if not self._listening or (order == self.order and not anew):
                return
            self.order = order
            former, self._children = self._children, [self._launch() for _ in range(self.processes)]
            self._leaving = [child for child in (*self._leaving, *former) if child.process.poll() is None]
            _end(former)

    def _replace(self, child: ReceiverChild) -> float:
        """Replace a dead process, or return how long that has to wait."""
        with self._lock:
            wait = child.started_at + self.restart_seconds - time.monotonic()
            if self._listening and wait <= 0:
                log.error("receiver.died", pid=child.process.pid, code=child.process.returncode)
                self._children[self._children.index(child)] = self._launch()
            return wait

    def close(self) -> None:
        """Accept no more associations; the processes end with their last association, or when their time is over."""
        with self._lock:
            for listening in self._listening:
                listening.close()
            self._listening = ()
            _end(self._children)

    def wait(self, seconds: float) -> None:
        """Wait so many seconds for the processes to end, and kill those that have not."""
        until = time.monotonic() + seconds
        for child in (*self._children, *self._leaving):
            try:
                child.process.wait(max(until - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                log.error("receiver.killed", pid=child.process.pid)
                child.process.kill()
                child.process.wait()

    def _launch(self) -> ReceiverChild:
        descriptors = [listening.fileno() for listening in self._listening]
        with interrupts_blocked():
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", self.program, *map(str, descriptors)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=descriptors,
                text=True,
            )
        with suppress(OSError):  # the process has died already; `watch` finds it
            process.stdin.write(f"{self.order}\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
        threading.Thread(
            target=self._wake_named_steps, args=(process,), name=f"receiver-{process.pid}", daemon=True
        ).start()
        return ReceiverChild(process, time.monotonic())

    def _wake_named_steps(self, process: subprocess.Popen[str]) -> None:
        for line in process.stdout:  # type: ignore[union-attr]
            self.wake(line.strip())
        process.wait()  # the pipe is closed a moment before the process can be waited for
        self.wake("receive")


def _end(children: list[ReceiverChild]) -> None:
    """Have processes accept no more associations and end with the last that they have."""
    for child in children:
        with suppress(OSError):  # the process has died
            child.process.stdin.close()  # type: ignore[union-attr]
