"""Where the river can be broken on purpose: numbered points, off unless a test arms one.

`FAULT_AT=pack.append.synced:3` kills the node, with every process it started, at the third passing of that point in any
one of its processes. `FAULT_AT=spool.keep.written:1:ENOSPC` raises that error there instead, each time from then on.
Nothing is counted before the file `FAULT_WHEN` exists, where that is set. The names begin with no ISOCENTER_, because
they are no settings. While they are not set a point costs one look at a constant.
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
    "receive.rows.due": "senders have been told Success, and no row says so",
    "receive.rows.recorded": "rows are committed, and still wait in memory to be forgotten",
    "assemble.settled": "a study is stable, and nothing is planned for it",
    "route.planned": "its jobs are planned, and nobody has claimed one",
    "infer.claimed": "a job is claimed, and its process is not yet started",
    "infer.running": "the plugin is about to run, in the job's own process",
    "spool.keep.written": "an object is written under the name of a draft",
    "compose.kept": "an object is kept, and the job's others are not",
    "infer.performed": "all objects are kept, and no row names them",
    "infer.finished": "the job is done and its deliveries are due",
    "deliver.sent": "a destination has stored an object, and its delivery still waits",
    "deliver.marked": "one object is marked as delivered, and the next is not sent",
    "ledger.commit": "a transaction has written all its rows, and is not committed",
}
"""Every point, in the order of the water, and what is true there."""

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
    os.environ.setdefault(ROOT, str(os.getpid()))  # the first of the node's processes; the others inherit it


def fault(name: str) -> None:
    """Pass a point: nothing happens, unless it is the one that is armed."""
    if name == _NAME and _due():
        _strike()


def torn(name: str, fd: int, parts: Sequence[bytes | bytearray | memoryview]) -> None:
    """Pass a point in the middle of a write: if it is the one that is armed, half of `parts` is written first."""
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
    """Kill the whole tree, the root first and ourselves last: nobody is left to tidy up."""
    root = int(os.environ[ROOT])
    for pid in (root, *_below(root)):
        if pid != os.getpid():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
    raise SystemExit  # not reached


def _below(root: int) -> list[int]:
    """Return the processes that descend from one, as /proc tells."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = [root]
    for one in found:
        found += [pid for pid, parent in parents.items() if parent == one]
    return found[1:]
