"""All that a process has started, whatever group or session it is in (Linux)."""

import ctypes
import os
import signal
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
"""prctl(2): what loses its parent becomes a child of this process, not of init."""
ROUNDS = 100
"""How often descendants are looked for: those that are being killed may start others."""
LIBC = ctypes.CDLL(None)


def adopt_orphans() -> None:
    """Have this process be the parent of all descendants whose own parent ends."""
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)


def kill_descendants(pid: int) -> None:
    """Kill all descendants of a process that adopts orphans, until there are none."""
    for _ in range(ROUNDS):
        found = [*descendants(pid)]
        for each in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(each, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(each, os.WNOHANG)
        if not found:
            return


def descendants(pid: int) -> Iterator[int]:
    """Yield the process IDs of all descendants that live, parents before children."""
    children = defaultdict(list)
    for each in Path("/proc").iterdir():
        if each.name.isdigit() and (parent := _parent_if_alive(each)):
            children[parent].append(int(each.name))
    waiting = children[pid]
    while waiting:
        yield (first := waiting.pop(0))
        waiting += children[first]


def _parent_if_alive(process: Path) -> int:
    """Return the parent of a process, 0 where it is dead (proc(5): state and parent follow the name)."""
    try:
        state, parent, *_ = (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if state in "ZX" else int(parent)
