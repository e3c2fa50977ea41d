"""Points at which a test can kill the node or make a call fail. They do nothing unless a test arms one of them.

`FAULT_AT=pack.append.synced:3` kills the node, with every process it started, when one of its processes passes that
point the third time. `FAULT_AT=spool.keep.written:1:ENOSPC` raises that error there instead, the first time and each
time after it. If `FAULT_WHEN` names a file, passes are counted only from when that file exists. The variables have no
prefix ISOCENTER_, because they are not settings. A point that is not armed costs a comparison.
"""

import errno
import itertools
import os
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

POINTS = {
    "pack.append.torn": "half of an instance, with its head and envelope, is in its pack",
    "pack.append.written": "all of it is in the pack, and not yet synced",
    "pack.append.synced": "it is durable, and the sender has no answer",
    "receive.answer": "its row is due, and the sender is about to be answered",
    "receive.rows.due": "senders were answered Success, and the rows are not written",
    "receive.rows.recorded": "rows are committed, and still in memory",
    "assemble.settled": "a study is stable, and nothing is planned for it",
    "route.planned": "its jobs are planned, and none is claimed",
    "infer.claimed": "a job is claimed, and its process is not yet started",
    "infer.running": "the plugin is about to run, in the job's own process",
    "spool.keep.written": "an object is written under the name of a draft",
    "compose.kept": "an object is kept, and the job's others are not",
    "infer.performed": "all objects are kept, and no row names them",
    "infer.finished": "the job is done and its deliveries are due",
    "deliver.sent": "a destination has stored an object, and its delivery still waits",
    "deliver.marked": "an object is marked as delivered, and the next is not sent",
    "ledger.commit": "a transaction has written all its rows, and is not committed",
}
"""Every point, in the order of the flow, and the state there."""

VARIABLE = "FAULT_AT"
WHEN = "FAULT_WHEN"
ROOT = "FAULT_ROOT"


def _read(text: str) -> tuple[str, int, str]:
    name, _, rest = text.partition(":")
    number, _, kind = rest.partition(":")
    return name, int(number or 1), kind


_NAME, _NUMBER, _KIND = _read(os.environ.get(VARIABLE, ""))
_passed = itertools.count(1)
_lock = threading.Lock()
if _NAME:
    os.environ.setdefault(ROOT, str(os.getpid()))  # the first process of the node; the others inherit it


def armed() -> bool:
    """Return whether a test has armed a point; then every process of the node must be able to kill the others."""
    return bool(_NAME)


def fault(name: str) -> None:
    """Pass a point; if it is armed and due, die or raise."""
    if name == _NAME and _due():
        _strike()


def torn(name: str, fd: int, parts: Sequence[bytes | bytearray | memoryview]) -> None:
    """Pass a point in the middle of a write; if it is armed and due, write half of `parts` first."""
    if name == _NAME and _due():
        content = b"".join(parts)
        os.write(fd, content[: len(content) // 2])
        _strike()


def _due() -> bool:
    if WHEN in os.environ and not Path(os.environ[WHEN]).exists():
        return False
    with _lock:
        passed = next(_passed)
    return passed >= _NUMBER if _KIND else passed == _NUMBER


def _strike() -> None:
    if _KIND:
        number = getattr(errno, _KIND)
        raise OSError(number, os.strerror(number))
    _die()


def _die() -> NoReturn:
    """Kill all processes of the node, the first process first and this process last: none is left to clean up."""
    root = int(os.environ[ROOT])
    for pid in (root, *_below(root)):
        if pid != os.getpid():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
    raise SystemExit  # not reached


def _below(root: int) -> list[int]:
    """Return the descendants of a process, from /proc."""
    parents: dict[int, int] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    found = [root]
    for ancestor in found:
        found += [pid for pid, parent in parents.items() if parent == ancestor]
    return found[1:]
