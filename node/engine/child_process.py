"""A job in a child process of its own, with a time limit.

A plugin's code, large arrays and C libraries can crash, hang or exhaust memory; in a child process they harm nothing
else. The child is forked from the fork server of `multiprocessing`, a process without threads that has imported the
heavy libraries. It is confined (`node.sandbox`), and answers with data (`node.engine.child_answers`).
"""

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from node.author_place import place_of, sentence_of
from node.engine.child_answers import ChildAnswers, SlotReleased, send_answer, send_error, send_slot_released
from node.engine.descendants import adopt_orphans, kill_descendants
from node.errors import JobDied, NodeError, PluginFailed
from node.interrupts import interrupts_blocked
from node.plain_text import LONGEST, plain
from node.sandbox import Sandbox

Answer = TypeVar("Answer")

RESTART_SECONDS, RESTART_PAUSE_SECONDS = 10.0, 0.05
"""How long a child is tried to be started while the fork server is dying, and how often."""
OOM_SCORE = 500
"""Of a job's process; the node has 0, and 1000 is the first to go."""
START_SECONDS = 120.0
"""How long the fork server may take to start."""
MORE_MEMORY = "; raise engine.job_memory_mb if the images are in order"
SETTING = "ISOCENTER_"
"""Settings in the environment begin so; the ledger's password may be one. No child has them."""

_context = multiprocessing.get_context("forkserver")
_parent: list[Connection] = []  # in a child: the connection to its parent


def preload_children(module: ModuleType) -> None:
    """Have the fork server import a module once, so that no child has to; without effect once the server runs."""
    _context.set_forkserver_preload([module.__name__])


def start_fork_server() -> None:
    """Start the fork server, so that the first job starts as fast as any other."""
    run_in_child(os.getpid, (), returns=int, seconds=START_SECONDS, beat=lambda: True)


def run_in_child(
    work: Callable[..., Answer],
    arguments: Sequence[object],
    *,
    returns: type[Answer],
    seconds: float,
    beat: Callable[[], bool],
    beat_seconds: float = 10.0,
    on_slot_released: Callable[[], None] = lambda: None,
    sandbox: Sandbox | None = None,
) -> Answer:
    """Run `work(*arguments)` in a child process and return its result, which is data of the type `returns`.

    `beat` is called every `beat_seconds` while the child runs; when it returns False, or raises, the child is killed.
    `on_slot_released` is called when the work calls `release_slot`. `sandbox` says what the child may do; without
    it, it may do what the node may. Its folder for temporary files is deleted when it has ended.

    Raises
    ------
    NodeError
        An error of the node that the work raised, unchanged.
    PluginFailed
        The work raised any other error, or its result is none of the type.
    JobDied
        The child ran longer than `seconds`, was killed, or died.
    """
    with tempfile.TemporaryDirectory(prefix="isocenter-job-", ignore_cleanup_errors=True) as scratch:
        answers, to_parent = _context.Pipe(duplex=False)
        order = (to_parent, work, tuple(arguments), returns, sandbox, Path(scratch))
        child = _context.Process(target=_child, args=order, daemon=True)
        _start(child)
        to_parent.close()
        try:
            return _wait(
                ChildAnswers(answers.fileno()), returns,
                seconds=seconds, beat=beat, beat_seconds=beat_seconds, on_slot_released=on_slot_released,
            )  # fmt: skip
        except EOFError as error:
            child.join(5)
            raise JobDied(f"the job's process died {_cause(child.exitcode)}") from error
        finally:
            answers.close()
            _kill(child)


def _start(child: Any) -> None:
    """Start a child, again where the fork server has just died: multiprocessing starts another once it has ended."""
    ends = time.monotonic() + RESTART_SECONDS
    while True:
        try:
            resource_tracker.ensure_running()  # it unblocks what is blocked when it is started
            with interrupts_blocked():  # the first child starts the fork server, too
                child.start()
        except (OSError, EOFError) as error:
            if time.monotonic() > ends:
                raise JobDied(f"the job's process cannot be started: {error or type(error).__name__}") from error
            time.sleep(RESTART_PAUSE_SECONDS)
        else:
            return


def release_slot() -> None:
    """In a child, release the slot of its job; elsewhere do nothing."""
    for connection in _parent:
        send_slot_released(connection.fileno())


def _wait(
    answers: ChildAnswers,
    returns: type[Answer],
    *,
    seconds: float,
    beat: Callable[[], bool],
    beat_seconds: float,
    on_slot_released: Callable[[], None],
) -> Answer:
    ends = time.monotonic() + seconds
    while True:
        for answer in answers.read(returns, min(beat_seconds, max(ends - time.monotonic(), 0.0))):
            if not isinstance(answer, SlotReleased):
                return answer
            on_slot_released()
        if time.monotonic() >= ends:
            raise JobDied(f"the job ran longer than its time limit of {seconds:g} s")
        if not beat():
            raise JobDied("the job was ended: its lease is lost")


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"of {name}" + (", as it does when memory runs out" if name == "SIGKILL" else "")
    return f"with exit code {code}"


def _kill(child: Any) -> None:
    child.join(2)
    if child.is_alive():
        kill_descendants(child.pid)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)  # the child, if it still runs, and what the plugin started
    if child.is_alive():
        child.kill()  # it has no process group of its own yet
    child.join(5)  # a child that the kernel cannot end now is left behind


def _child(
    to_parent: Connection,
    work: Callable[..., Answer],
    arguments: Sequence[object],
    returns: type[Answer],
    sandbox: Sandbox | None,
    scratch: Path,
) -> None:
    os.setpgid(0, 0)
    adopt_orphans()
    _be_killed_first()
    _confine(sandbox, scratch)
    _parent.append(to_parent)
    threading.Thread(target=_follow_node, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: None)  # sent to every process; the node itself ends its jobs
    try:
        send_answer(to_parent.fileno(), work(*arguments), returns)
    except NodeError as error:
        send_error(to_parent.fileno(), error)
    except MemoryError as error:
        limit = f": {sandbox.memory // 2**20} MB" if sandbox is not None and sandbox.memory is not None else ""
        sentence = f"it needs more memory than a job with such images may use{limit}{MORE_MEMORY} ({_where(error)})"
        send_error(to_parent.fileno(), PluginFailed(sentence))
    except Exception as error:  # noqa: BLE001 (one of four: a plugin may raise anything)
        place = f" ({_where(error)})"
        raised = plain(sentence_of(error), LONGEST - len(place))
        send_error(to_parent.fileno(), PluginFailed(raised + place))
    to_parent.close()
    kill_descendants(os.getpid())
    sys.stdout.flush()


def _confine(sandbox: Sandbox | None, scratch: Path) -> None:
    """Give up what the work does not need, before there is another thread: threads are confined one by one."""
    for name in [name for name in os.environ if name.startswith(SETTING)]:
        del os.environ[name]
    os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
    if sandbox is not None:
        sandbox.enter(scratch)


def _be_killed_first() -> None:
    """Have the kernel kill this process, and what it starts, before the node when memory runs out (proc(5))."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))


def _follow_node() -> None:
    """Kill this process and what the plugin started when the node dies: nothing else would limit their time."""
    if (node := multiprocessing.parent_process()) is not None:
        node.join()
        kill_descendants(os.getpid())
        os.killpg(0, signal.SIGKILL)


def _where(error: Exception) -> str:
    """Return file and line of the innermost frame in the plugin, or else of that which is in no installed library."""
    frames = traceback.extract_tb(error.__traceback__)
    if place := place_of(error):
        return place
    own = [frame for frame in frames if "site-packages" not in frame.filename] or list(frames)
    return f"{os.path.basename(own[-1].filename)}, line {own[-1].lineno}"  # noqa: PTH119
