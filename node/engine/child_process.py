"""A job slot: one child process, one job, one time limit.

What a job does – a plugin's code, large arrays, libraries in C – can crash, hang or exhaust memory. In a child it takes
nothing with it. The child is forked from a server process that has imported the heavy libraries and holds no threads.
"""

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from node.errors import JobDied, NodeError, PluginFailed

PRELOAD = ("node.app", "node.preload")
"""What the server process imports once, so that a child starts in milliseconds and finds tables read."""

WARM_UP_SECONDS = 120.0

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(list(PRELOAD))
_parents: list[Connection] = []  # in a child: where its answer goes


def run_in_child(
    work: Callable[..., Any],
    arguments: Sequence[object],
    *,
    seconds: float,
    beat: Callable[[], bool],
    beat_seconds: float = 10.0,
    gave_way: Callable[[], None] = lambda: None,
) -> Any:
    """Return what `work(*arguments)` returns, run in a child process of its own.

    `beat` is called every `beat_seconds` while the child runs; when it returns False, or raises, the child is ended.
    `gave_way` is called when the work calls `give_way`.

    Raises
    ------
    NodeError
        What the work raised of the node's own errors, as it was.
    PluginFailed
        It raised anything else.
    JobDied
        It ran longer than `seconds`, was ended, or died.
    """
    ours, theirs = _context.Pipe(duplex=False)
    child = _context.Process(target=_child, args=(theirs, work, tuple(arguments)), daemon=True)
    child.start()
    theirs.close()
    try:
        answer = _wait(ours, seconds=seconds, beat=beat, beat_seconds=beat_seconds, gave_way=gave_way)
    except EOFError as error:
        child.join(5)
        raise JobDied(f"the job's process died {_how(child.exitcode)}") from error
    finally:
        ours.close()
        _end(child)
    if isinstance(answer, NodeError):
        raise answer
    return answer


class GaveWay:
    """What a child says before its answer when what is left of its work needs no slot."""


def give_way() -> None:
    """Say that, in a child; elsewhere nobody is told."""
    for parent in _parents:
        parent.send(GaveWay())


def warm_up() -> None:
    """Have the server process import what children need, so that the first job starts as fast as any other."""
    run_in_child(os.getpid, (), seconds=WARM_UP_SECONDS, beat=lambda: True)


def _wait(
    ours: Connection, *, seconds: float, beat: Callable[[], bool], beat_seconds: float, gave_way: Callable[[], None]
) -> Any:
    left = seconds
    while True:
        while not ours.poll(min(beat_seconds, max(left, 0.0))):
            left -= beat_seconds
            if left <= 0:
                raise JobDied(f"the job ran longer than its time limit of {seconds:g} s")
            if not beat():
                raise JobDied("the job was ended: its lease is lost")
        try:
            answer = ours.recv()
        except OSError as error:  # it was killed with half its answer on the way
            raise EOFError from error
        if not isinstance(answer, GaveWay):
            return answer
        gave_way()


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"of {name}" + (", as it does when memory runs out" if name == "SIGKILL" else "")
    return f"with exit code {code}"


def _end(child: Any) -> None:
    child.join(2)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)  # whatever the plugin started, and itself if it still runs
    if child.is_alive():
        child.kill()  # it had no process group of its own yet
    child.join(5)  # one that the kernel does not let go of is left to it


def _child(theirs: Connection, work: Callable[..., Any], arguments: Sequence[object]) -> None:
    os.setpgid(0, 0)
    _parents.append(theirs)
    threading.Thread(target=_follow_node, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: None)  # service managers send it to all at once; the node says what ends
    try:
        answer = work(*arguments)
    except NodeError as error:
        answer = error
    except Exception as error:  # noqa: BLE001 (one of three: a plugin may raise anything)
        answer = PluginFailed(f"{type(error).__name__}: {error} ({_where(error)})")
    theirs.send(answer)
    theirs.close()
    sys.stdout.flush()


def _follow_node() -> None:
    """End this process, and what the plugin started, when the node is killed: nobody is left to bound their time."""
    if (node := multiprocessing.parent_process()) is not None:
        node.join()
        os.killpg(0, signal.SIGKILL)


def _where(error: Exception) -> str:
    """Return file and line of the innermost frame that is not in an installed library, for the plugin's author."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename] or list(frames)
    return f"{os.path.basename(own[-1].filename)}, line {own[-1].lineno}"  # noqa: PTH119
