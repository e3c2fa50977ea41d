"""Programs that tests start: each leads a session of its own, and none outlives the tests, even if they are killed."""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ISOCENTER = Path(sys.executable).with_name("isocenter")


@dataclass
class Started:
    """A process that the starter has started; to be used as `subprocess.Popen` is."""

    pid: int
    returns: Path
    returncode: int | None = None
    _ended: int = field(init=False)

    def __post_init__(self) -> None:
        try:
            self._ended = os.pidfd_open(self.pid)
        except ProcessLookupError:  # it has ended already
            self._ended = os.open(os.devnull, os.O_RDONLY)

    def __del__(self) -> None:
        os.close(self._ended)

    def poll(self) -> int | None:
        """Return its return code, or None while it runs."""
        with suppress(FileNotFoundError):
            self.returncode = int((self.returns / str(self.pid)).read_text())
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended, and return its return code."""
        if self.poll() is None and not select.select([self._ended], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        while (code := self.poll()) is None:  # written in a moment
            time.sleep(0.002)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Starter:
    """The process that starts all others; with its end, which is the end of this one, they are killed."""

    def __init__(self) -> None:
        self._returns = Path(tempfile.mkdtemp(prefix="isocenter-returns-"))
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.forks", str(self._returns)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True,
        )  # fmt: skip

    def start(
        self, command: Sequence[str], outputs: Sequence[Path], environment: Mapping[str, str], *, forked: bool
    ) -> Started:
        """Start a program whose stdout and stderr are appended to two files."""
        request = {
            "command": list(command), "outputs": [str(path.absolute()) for path in outputs], "forked": forked,
            "environment": {**os.environ, **environment}, "folder": str(Path.cwd()),
        }  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(f"{json.dumps(request)}\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        assert answer, f"tests.forks has ended with {self._process.wait(60)}; its stderr says why"
        return Started(int(answer), self._returns)


def session(pid: int) -> list[int]:
    """Return the living processes of a session: all that a program has started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, _parent, _group, leader = (process / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(leader) == pid and state != "Z":
                found.append(int(process.name))
    return found


def kill_session(leader: int) -> None:
    """Kill every process of a session; one that ends meanwhile is no error."""
    for pid in session(leader):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def print_stacks(leader: int) -> None:
    """Have the forked processes of a session print their stacks on stderr: they hang. Others end by the signal."""
    for pid in session(leader):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGUSR2)
    time.sleep(2)  # nothing says when they have been printed


_first = threading.Lock()


def starter() -> Starter:
    """Return the one process that starts all others of this process, whichever thread asks first."""
    with _first:
        return _starter()


@cache
def _starter() -> Starter:
    return Starter()


def start(command: Sequence[str], log: Path, **environment: str) -> Started:
    """Start a program that writes to a log."""
    return starter().start(command, (log, log), environment, forked=False)


def start_isocenter(words: Sequence[str], log: Path, **environment: str) -> Started:
    """Start `isocenter` as a fork of a process that has imported it."""
    return starter().start(["isocenter", *words], (log, log), environment, forked=True)


def start_text(text: str, log: Path, **environment: str) -> Started:
    """Start the text of a program as a fork of a process that has imported `isocenter`."""
    return starter().start(["python", text], (log, log), environment, forked=True)


def isocenter(*words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run `isocenter` as a fork of a process that has imported it, and return what it wrote."""
    with tempfile.TemporaryDirectory(prefix="isocenter-output-") as folder:
        outputs = Path(folder, "out"), Path(folder, "err")
        process = starter().start(["isocenter", *words], outputs, {}, forked=True)
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
        out, err = (path.read_text() for path in outputs)
        return subprocess.CompletedProcess(["isocenter", *words], code, out, err)
