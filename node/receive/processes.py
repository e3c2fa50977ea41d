"""The receiver processes of a node: each accepts from the one socket that is bound here, on a core of its own.

A process that dies is followed by another. Callers that no process has taken yet wait at the socket, which outlives
them all, and what was acknowledged lies in packs that carry the name of their writer.
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

from node.receive.scp import listen
from node.records import Address
from node.spool import writer

log = structlog.get_logger()

WATCH_SECONDS = 30.0
"""How often packs are looked for that somebody left behind, on whatever machine."""
QUIET_SECONDS = 60.0
"""What nobody wrote for so long is no living process's, whose rows are half a second late; or hurts nobody."""
REST_SECONDS = 5.0
"""A process that died sooner after its start is not followed at once."""


class Recover(Protocol):
    """Records what packs of processes that died hold beyond the ledger's marks."""

    def __call__(self, of: str | None = None, *, quiet_seconds: float = 0) -> int:
        """Return how many instances that were."""


@dataclass(frozen=True, slots=True)
class Child:
    """One receiver process."""

    process: subprocess.Popen[str]
    since: float


@dataclass(slots=True)
class Receivers:
    """Starts receiver processes, follows those that die, and hears what steps they wake.

    Parameters
    ----------
    program
        The module that a process runs. It is given the descriptor of the socket, `order` as the first line of its
        stdin, whose end is the end of its service, and prints the name of each step to be woken.

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
    _listening: socket.socket | None = None
    _children: list[Child] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Listen, and start the processes; who calls before they are ready waits at the socket."""
        self._listening = listen(self.address)
        self._children = [self._launch(self._listening) for _ in range(self.processes)]

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._listening.getsockname()[1]) if self._listening else self.address.port

    @property
    def pids(self) -> list[int]:
        """The processes there are."""
        return [child.process.pid for child in self._children]

    def watch(self) -> float:
        """Follow processes that died, record what they left, and return when to look again."""
        dead = [child for child in self._children if child.process.poll() is not None]
        waits = [wait for child in dead if (wait := self._follow(child)) > 0]
        for child in dead:
            self.recover(writer(child.process.pid))
        self.recover(quiet_seconds=QUIET_SECONDS)
        return min(waits, default=WATCH_SECONDS)

    def _follow(self, child: Child) -> float:
        """Start another process in the place of one that died, or return how long that has to wait."""
        with self._lock:
            wait = child.since + REST_SECONDS - time.monotonic()
            if self._listening is not None and wait <= 0:
                log.error("receiver.died", pid=child.process.pid, code=child.process.returncode)
                self._children[self._children.index(child)] = self._launch(self._listening)
            return wait

    def close(self) -> None:
        """Take no more associations; the processes end when those that are open have, or their time is over."""
        with self._lock:
            if self._listening is not None:
                self._listening.close()
            self._listening = None
            for child in self._children:
                with suppress(OSError):  # it has died
                    child.process.stdin.close()  # type: ignore[union-attr]

    def wait(self, seconds: float) -> None:
        """Wait until the processes have ended; kill those that have not after so many seconds."""
        until = time.monotonic() + seconds
        for child in self._children:
            try:
                child.process.wait(max(until - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                log.error("receiver.killed", pid=child.process.pid)
                child.process.kill()
                child.process.wait()

    def _launch(self, listening: socket.socket) -> Child:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", self.program, str(listening.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[listening.fileno()],
            text=True,
        )
        with suppress(OSError):  # it has died already, and is found dead
            process.stdin.write(f"{self.order}\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
        threading.Thread(target=self._hear, args=(process,), name=f"receiver-{process.pid}", daemon=True).start()
        return Child(process, time.monotonic())

    def _hear(self, process: subprocess.Popen[str]) -> None:
        for line in process.stdout:  # type: ignore[union-attr]
            self.wake(line.strip())
        process.wait()  # its end of the pipe is closed a moment before it can be found dead
        self.wake("receive")
