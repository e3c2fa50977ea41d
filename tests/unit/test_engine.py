"""Steps run when there is something to do; what a job does in its process harms nobody else."""

import operator
import os
import runpy
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import structlog

from node.engine import Engine, Step, run_in_child
from node.engine import local as engine_local
from node.errors import ConfigError, JobDied, LedgerUnavailable, PluginFailed
from node.settings import Settings

PATIENCE = 30
"""Seconds after which a test that waits has failed; none waits so long when all is well."""


def always() -> bool:
    return True


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_for(true: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)


# The slot.


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], tuple[str]]:
    """The arguments of `runpy.run_path` for a file of Python: what a plugin's code stands for here."""

    def written(text: str) -> tuple[str]:
        path = tmp_path / "plugin.py"
        path.write_text(text)
        return (str(path),)

    return written


def test_the_result_comes_back() -> None:
    assert run_in_child(operator.add, (40, 2), seconds=PATIENCE, beat=always) == 42


def test_a_large_result_comes_back() -> None:
    large = run_in_child(operator.mul, (b"x", 30_000_000), seconds=PATIENCE, beat=always)
    assert len(large) == 30_000_000


def test_the_job_runs_in_another_process() -> None:
    assert run_in_child(os.getpid, (), seconds=PATIENCE, beat=always) != os.getpid()


def test_an_error_of_the_node_comes_through_as_itself(tmp_path: Path) -> None:
    missing = tmp_path / "nothing.toml"
    with pytest.raises(ConfigError) as error:
        run_in_child(Settings.read, (missing,), seconds=PATIENCE, beat=always)
    assert str(error.value) == f"{missing}: there is no such file"


def test_any_other_error_is_the_plugins_with_file_and_line(script: Callable[[str], tuple[str]]) -> None:
    with pytest.raises(PluginFailed) as error:
        run_in_child(runpy.run_path, script("\n\nvalue = {}['spleen']\n"), seconds=PATIENCE, beat=always)
    assert str(error.value) == "KeyError: 'spleen' (plugin.py, line 3)"


def test_an_error_inside_a_library_names_the_line_that_called_it(script: Callable[[str], tuple[str]]) -> None:
    with pytest.raises(PluginFailed, match=r"^ValueError: .* \(plugin\.py, line 2\)$"):
        run_in_child(
            runpy.run_path,
            script("import numpy as np\nnp.broadcast_shapes((2,), (3,))\n"),
            seconds=PATIENCE,
            beat=always,
        )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import os; os._exit(3)", "died with exit code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "died of SIGKILL, as it does when memory runs out"),
        ("import os; os.abort()", "died of SIGABRT"),
        ("import ctypes; ctypes.string_at(0)", "died of SIGSEGV"),
        ("import sys; sys.exit(4)", "died with exit code 4"),
    ],
)
def test_a_process_that_dies_is_told_by_how(script: Callable[[str], tuple[str]], text: str, told: str) -> None:
    with pytest.raises(JobDied, match=told):
        run_in_child(runpy.run_path, script(text), seconds=PATIENCE, beat=always)


@pytest.mark.parametrize("why", ["the time limit", "the beat"])
def test_a_job_that_is_ended_leaves_no_process(script: Callable[[str], tuple[str]], tmp_path: Path, why: str) -> None:
    """Neither itself nor what it started."""
    arguments = script(
        "import os, subprocess, time\n"
        "from pathlib import Path\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "helper = subprocess.Popen(['sleep', '600'])\n"
        "(folder / 'draft').write_text(f'{os.getpid()} {helper.pid}')\n"
        "(folder / 'draft').rename(folder / 'pids')\n"
        "time.sleep(600)\n"
    )
    pids = tmp_path / "pids"
    run_in_child(os.getpid, (), seconds=PATIENCE, beat=always)  # the first job waits for the imports of its server
    limit = 3.0 if why == "the time limit" else 600.0
    said = "longer than its time limit of 3 s" if why == "the time limit" else "ended: its lease is lost"
    beat = always if why == "the time limit" else lambda: not pids.exists()
    with pytest.raises(JobDied, match=said):
        run_in_child(runpy.run_path, arguments, seconds=limit, beat=beat, beat_seconds=0.05)
    for pid in map(int, pids.read_text().split()):
        wait_for(lambda pid=pid: gone(pid))  # type: ignore[misc]


@pytest.mark.parametrize("text", ["pass", "import os; os._exit(1)", "raise ValueError"])
def test_a_job_that_ends_by_itself_leaves_no_process_either(
    script: Callable[[str], tuple[str]], tmp_path: Path, text: str
) -> None:
    pid = tmp_path / "pid"
    arguments = script(
        "import subprocess\n"
        "from pathlib import Path\n"
        f"Path({str(pid)!r}).write_text(str(subprocess.Popen(['sleep', '600']).pid))\n"
        f"del subprocess, Path\n{text}\n"
    )
    with suppress(JobDied, PluginFailed):
        run_in_child(runpy.run_path, arguments, seconds=PATIENCE, beat=always)
    wait_for(lambda: gone(int(pid.read_text())))


def test_the_beat_is_felt_while_the_job_runs() -> None:
    beats: list[float] = []

    def beat() -> bool:
        beats.append(time.monotonic())
        return len(beats) < 3

    with pytest.raises(JobDied):
        run_in_child(time.sleep, (600,), seconds=600, beat=beat, beat_seconds=0.02)
    assert len(beats) == 3


def test_a_beat_that_fails_ends_the_job_too() -> None:
    def beat() -> bool:
        raise LedgerUnavailable("the ledger is away")

    with pytest.raises(LedgerUnavailable):
        run_in_child(time.sleep, (600,), seconds=600, beat=beat, beat_seconds=0.02)


def test_a_child_that_dies_in_the_middle_of_its_answer_has_died(script: Callable[[str], tuple[str]]) -> None:
    """Its pipe is full, and half an answer is on the way, when it is killed."""
    arguments = script(
        "import os, signal, threading, time\n"
        "def end():\n"
        "    time.sleep(0.5)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "threading.Thread(target=end, daemon=True).start()\n"
        "import multiprocessing.connection as mc\n"
        "send_bytes = mc.Connection._send\n"
        "def half(self, buf, write=None):\n"
        "    send_bytes(self, bytes(buf)[: len(buf) // 2])\n"
        "    time.sleep(600)\n"
        "mc.Connection._send = half\n"
        "raise ValueError('x' * 100)\n"
    )
    with pytest.raises(JobDied, match="SIGKILL"):
        run_in_child(runpy.run_path, arguments, seconds=PATIENCE, beat=always)


def test_slots_work_side_by_side() -> None:
    results: list[int] = []

    def slot(number: int) -> None:
        results.append(run_in_child(operator.add, (number, 1), seconds=PATIENCE, beat=always))

    threads = [threading.Thread(target=slot, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(results) == [1, 2, 3, 4]


def test_the_signal_of_the_terminal_does_not_reach_a_job() -> None:
    """Ctrl-C ends the node, which ends its jobs itself: a job is in a process group of its own."""
    assert run_in_child(os.getpgrp, (), seconds=PATIENCE, beat=always) != os.getpgrp()


# The steps.


class Counted:
    """Work that counts its calls, and answers from a list, then None."""

    def __init__(self, *answers: float | Exception | None) -> None:
        self.calls = 0
        self.answers = list(answers)
        self.ran = threading.Semaphore(0)

    def __call__(self) -> float | None:
        self.calls += 1
        answer = self.answers.pop(0) if self.answers else None
        self.ran.release()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def wait(self, times: int = 1) -> None:
        for _ in range(times):
            assert self.ran.acquire(timeout=PATIENCE), "it did not run"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Engine]]:
    """Start an engine whose steps sleep until they are woken, and stop it at the end."""
    monkeypatch.setattr(engine_local, "IDLE_SECONDS", 600.0)
    engines: list[Engine] = []

    def made(*steps: Step) -> Engine:
        engine = Engine(list(steps))
        engines.append(engine)
        engine.start()
        return engine

    yield made
    for engine in engines:
        engine.stop()


def test_every_step_runs_at_the_start(started: Callable[..., Engine]) -> None:
    one, two = Counted(), Counted()
    started(Step(name="one", work=one), Step(name="two", work=two))
    one.wait()
    two.wait()


def test_a_step_that_is_woken_runs_and_no_other(started: Callable[..., Engine]) -> None:
    one, two = Counted(), Counted()
    engine = started(Step(name="one", work=one), Step(name="two", work=two))
    one.wait()
    two.wait()
    for _ in range(3):
        engine.wake("one")
        one.wait()
    assert two.calls == 1


def test_a_step_wakes_those_that_follow_it(started: Callable[..., Engine]) -> None:
    one, two, three = Counted(), Counted(), Counted()
    engine = started(
        Step(name="one", work=one, then=("two",)),
        Step(name="two", work=two, then=("three",)),
        Step(name="three", work=three),
    )
    for work in (one, two, three):
        work.wait()
    before = three.calls
    engine.wake("one")
    wait_for(lambda: three.calls > before)


def test_a_wake_up_during_the_work_is_not_lost(started: Callable[..., Engine]) -> None:
    begun, go_on = threading.Event(), threading.Event()
    calls: list[int] = []

    def work() -> float | None:
        calls.append(1)
        begun.set()
        assert go_on.wait(PATIENCE)
        return None

    engine = started(Step(name="one", work=work))
    assert begun.wait(PATIENCE)
    engine.wake("one")
    go_on.set()
    wait_for(lambda: len(calls) == 2)


def test_a_step_that_says_when_it_is_due_runs_again_then(started: Callable[..., Engine]) -> None:
    work = Counted(0.0, -5.0, 0.01, 0.0)
    started(Step(name="one", work=work))
    work.wait(5)


def test_a_step_that_says_nothing_is_looked_at_again_all_the_same(
    started: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_local, "IDLE_SECONDS", 0.01)
    work = Counted()
    started(Step(name="one", work=work))
    work.wait(3)


def test_a_step_that_raises_is_told_and_goes_on(
    started: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_local, "STUMBLE_SECONDS", 0.01)
    with structlog.testing.capture_logs() as logs:
        work = Counted(ValueError("odd"), LedgerUnavailable("locked"))
        started(Step(name="one", work=work))
        work.wait(3)
    assert [(line["event"], line["step"], line["reason"]) for line in logs] == [
        ("step.failed", "one", "ValueError: odd"),
        ("step.failed", "one", "LedgerUnavailable: locked"),
    ]


def test_after_an_error_a_step_rests(started: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_local, "STUMBLE_SECONDS", 600.0)
    work = Counted(ValueError("odd"))
    engine = started(Step(name="one", work=work))
    work.wait()
    assert engine._once(Step(name="one", work=Counted(ValueError("odd")))) == 600.0
    engine.wake("one")
    work.wait()


def test_a_step_has_as_many_threads_as_it_asks_for(started: Callable[..., Engine]) -> None:
    together = threading.Barrier(3, timeout=PATIENCE)

    def work() -> None:
        together.wait()

    engine = started(Step(name="infer", work=work, threads=3))
    assert sorted(thread.name for thread in engine._threads) == ["infer-1", "infer-2", "infer-3"]
    wait_for(lambda: together.n_waiting == 0 and not together.broken)


def test_stopping_lets_every_step_end_what_it_does(started: Callable[..., Engine]) -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> float | None:
        begun.set()
        assert go_on.wait(PATIENCE)
        ended.set()
        return 0.0

    idle = Counted()
    engine = started(Step(name="one", work=work), Step(name="idle", work=idle))
    assert begun.wait(PATIENCE)
    assert not engine.stopping
    stopper = threading.Thread(target=engine.stop)
    stopper.start()
    wait_for(lambda: engine.stopping)
    assert stopper.is_alive(), "it waits for the step"
    go_on.set()
    stopper.join(PATIENCE)
    assert ended.is_set()
    assert not any(thread.is_alive() for thread in engine._threads)


def test_a_step_that_does_not_end_holds_up_the_stop_for_so_long_and_no_longer() -> None:
    ended = threading.Event()
    engine = Engine([Step(name=str(number), work=lambda: ended.wait(PATIENCE) or None) for number in range(3)])
    engine.start()
    stopper = threading.Thread(target=engine.stop, kwargs={"seconds": 0.1})
    stopper.start()
    stopper.join(PATIENCE / 3)
    assert not stopper.is_alive()
    ended.set()
