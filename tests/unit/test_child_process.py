"""A job's process ends with all that it has started, dies before the node, and starts when its server was killed."""

import os
import resource
import runpy
import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import forkserver
from pathlib import Path
from types import NoneType

import pytest

from node.engine import Sandbox, run_in_child
from node.engine.child_process import OOM_SCORE
from node.errors import JobDied, PluginFailed
from tests.unit.test_engine import PATIENCE, always, gone, wait_for

NOBODY = 65534
Script = Callable[[str], tuple[str]]

LEAVES_ONE_BEHIND = """
import os, sys, time
from pathlib import Path
from types import NoneType
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        Path({pid!r}).write_text(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
while not Path({pid!r}).exists() or not Path({pid!r}).read_text():
    time.sleep(0.01)
time.sleep({seconds})
"""
"""A plugin that starts a process in a session of its own, whose parent then ends, and runs for some seconds itself."""


@pytest.fixture
def script(tmp_path: Path) -> Script:
    def written(text: str) -> tuple[str]:
        path = tmp_path / "plugin.py"
        path.write_text(text)
        return (str(path),)

    return written


def test_what_a_plugin_has_started_in_a_session_of_its_own_ends_with_its_job(script: Script, tmp_path: Path) -> None:
    text = LEAVES_ONE_BEHIND.format(pid=str(tmp_path / "pid"), seconds=0)
    run_in_child(_run, script(text), returns=NoneType, seconds=PATIENCE, beat=always)
    wait_for(lambda: gone(int((tmp_path / "pid").read_text())))


def test_it_ends_with_a_job_that_is_killed_at_its_time_limit(script: Script, tmp_path: Path) -> None:
    text = LEAVES_ONE_BEHIND.format(pid=str(tmp_path / "pid"), seconds=600)
    with pytest.raises(JobDied, match="longer than its time limit"):
        run_in_child(_run, script(text), returns=NoneType, seconds=8, beat=always, beat_seconds=0.1)
    wait_for(lambda: gone(int((tmp_path / "pid").read_text())))


def test_a_job_starts_although_the_fork_server_was_killed() -> None:
    run_in_child(os.getpid, (), returns=int, seconds=PATIENCE, beat=always)
    os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)  # type: ignore[attr-defined]
    assert run_in_child(os.getpid, (), returns=int, seconds=PATIENCE, beat=always) != os.getpid()


def test_the_kernel_kills_a_job_before_the_node_when_memory_runs_out() -> None:
    path = Path("/proc/self/oom_score_adj")
    assert int(run_in_child(Path.read_text, (path,), returns=str, seconds=PATIENCE, beat=always)) == OOM_SCORE


def test_a_job_that_needs_more_memory_than_its_images_explain_fails_with_a_sentence() -> None:
    limit = Sandbox(memory=64 * 2**20)
    assert run_in_child(_allocate, (16,), returns=int, seconds=PATIENCE, beat=always, sandbox=limit) == 16
    with pytest.raises(PluginFailed, match="more memory than a job with such images may use: 64 MB; raise engine"):
        run_in_child(_allocate, (128,), returns=int, seconds=PATIENCE, beat=always, sandbox=limit)


def test_a_job_cannot_raise_its_own_limit() -> None:
    with pytest.raises(PluginFailed, match="more memory"):
        run_in_child(
            _raise_and_allocate, (128,), returns=int, seconds=PATIENCE, beat=always, sandbox=Sandbox(memory=64 * 2**20)
        )


def _allocate(megabytes: int) -> int:
    return len(bytearray(megabytes * 2**20)) // 2**20


def _raise_and_allocate(megabytes: int) -> int:
    """As a plugin that would have more; only a privileged process may."""
    os.setuid(NOBODY) if os.getuid() == 0 else None
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return _allocate(megabytes)


def _run(path: str) -> None:
    runpy.run_path(path)
