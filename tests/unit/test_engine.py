"""A job in a child process harms nothing else; slots; and which engine the settings choose."""

import gc
import operator
import os
import runpy
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import NoneType

import pytest
from highdicom._standard_utils import get_module_attribute_map
from psycopg.conninfo import conninfo_to_dict

from node import storage
from node.commands import check
from node.engine import Slots, consumer_thread, run_in_child
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


# The child process.


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], tuple[str]]:
    """The arguments of `runpy.run_path` for a file of Python: in place of a plugin."""

    def written(text: str) -> tuple[str]:
        path = tmp_path / "plugin.py"
        path.write_text(text)
        return (str(path),)

    return written


def run_script(path: str) -> None:
    """Run a file of Python in place of a plugin."""
    runpy.run_path(path)


def test_the_result_comes_back() -> None:
    assert run_in_child(operator.add, (40, 2), returns=int, seconds=PATIENCE, beat=always) == 42


def test_a_large_result_comes_back() -> None:
    large = run_in_child(operator.mul, ("x", 30_000_000), returns=str, seconds=PATIENCE, beat=always)
    assert len(large) == 30_000_000


def test_the_job_runs_in_another_process() -> None:
    assert run_in_child(os.getpid, (), returns=int, seconds=PATIENCE, beat=always) != os.getpid()


def test_an_error_of_the_node_comes_through_as_itself(tmp_path: Path) -> None:
    missing = tmp_path / "nothing.toml"
    with pytest.raises(ConfigError) as error:
        run_in_child(Settings.read, (missing,), returns=Settings, seconds=PATIENCE, beat=always)
    assert str(error.value) == f"{missing}: there is no such file"


def test_any_other_error_is_the_plugins_with_file_and_line(script: Callable[[str], tuple[str]]) -> None:
    with pytest.raises(PluginFailed) as error:
        run_in_child(run_script, script("\n\nvalue = {}['spleen']\n"), returns=NoneType, seconds=PATIENCE, beat=always)
    assert str(error.value) == "KeyError: 'spleen' (plugin.py, line 3)"


def test_an_error_inside_a_library_names_the_line_that_called_it(script: Callable[[str], tuple[str]]) -> None:
    with pytest.raises(PluginFailed, match=r"^ValueError: .* \(plugin\.py, line 2\)$"):
        run_in_child(
            run_script,
            script("import numpy as np\nnp.broadcast_shapes((2,), (3,))\n"),
            returns=NoneType,
            seconds=PATIENCE,
            beat=always,
        )


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("import os; os._exit(3)", "died with exit code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "died of SIGKILL, as it does when memory runs out"),
        ("import os; os.abort()", "died of SIGABRT"),
        ("import ctypes; ctypes.string_at(0)", "died of SIGSEGV"),
        ("import sys; sys.exit(4)", "died with exit code 4"),
    ],
)
def test_a_process_that_dies_is_reported_with_its_cause(
    script: Callable[[str], tuple[str]], text: str, cause: str
) -> None:
    with pytest.raises(JobDied, match=cause):
        run_in_child(run_script, script(text), returns=NoneType, seconds=PATIENCE, beat=always)


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
    run_in_child(
        os.getpid, (), returns=int, seconds=PATIENCE, beat=always
    )  # the first job waits for the imports of the fork server
    limit = 3.0 if why == "the time limit" else 600.0
    message = "longer than its time limit of 3 s" if why == "the time limit" else "ended: its lease is lost"
    beat = always if why == "the time limit" else lambda: not pids.exists()
    with pytest.raises(JobDied, match=message):
        run_in_child(run_script, arguments, returns=NoneType, seconds=limit, beat=beat, beat_seconds=0.05)
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
        run_in_child(run_script, arguments, returns=NoneType, seconds=PATIENCE, beat=always)
    wait_for(lambda: gone(int(pid.read_text())))


def test_the_beat_is_called_while_the_job_runs() -> None:
    beats: list[float] = []

    def beat() -> bool:
        beats.append(time.monotonic())
        return len(beats) < 3

    with pytest.raises(JobDied):
        run_in_child(time.sleep, (600,), returns=NoneType, seconds=600, beat=beat, beat_seconds=0.02)
    assert len(beats) == 3


def test_a_beat_that_fails_ends_the_job_too() -> None:
    def beat() -> bool:
        raise LedgerUnavailable("the ledger is away")

    with pytest.raises(LedgerUnavailable):
        run_in_child(time.sleep, (600,), returns=NoneType, seconds=600, beat=beat, beat_seconds=0.02)


def test_a_child_that_dies_in_the_middle_of_its_answer_has_died(script: Callable[[str], tuple[str]]) -> None:
    """Its pipe is full, and half an answer is on the way, when it is killed."""
    arguments = script(
        "import os, signal, threading, time\n"
        "def end():\n"
        "    time.sleep(0.5)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "threading.Thread(target=end, daemon=True).start()\n"
        "from node.engine import child_answers, child_process\n"
        "def half(descriptor, error):\n"
        '    os.write(descriptor, b\'{"error": "Ref\')\n'
        "    time.sleep(600)\n"
        "child_process.send_error = half\n"
        "raise ValueError('x' * 100)\n"
    )
    with pytest.raises(JobDied, match="SIGKILL"):
        run_in_child(run_script, arguments, returns=NoneType, seconds=PATIENCE, beat=always)


def test_slots_work_side_by_side() -> None:
    results: list[int] = []

    def slot(number: int) -> None:
        results.append(run_in_child(operator.add, (number, 1), returns=int, seconds=PATIENCE, beat=always))

    threads = [threading.Thread(target=slot, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(results) == [1, 2, 3, 4]


def test_a_job_does_not_collect_what_was_there_before_it() -> None:
    assert run_in_child(gc.get_freeze_count, (), returns=int, seconds=PATIENCE, beat=always) > 100_000


def test_a_job_releases_its_slot_before_it_ends(script: Callable[[str], tuple[str]], tmp_path: Path) -> None:
    """The parent learns at once that the slot is free, and still waits for the answer."""
    seen, calls = tmp_path / "seen", []
    arguments = script(
        "import pathlib, time\n"
        "from node.engine import release_slot\n"
        "release_slot()\n"
        f"while not pathlib.Path({str(seen)!r}).exists():\n"
        "    time.sleep(0.01)\n"
        "answer = 42\n"
    )

    def released() -> None:
        calls.append(True)
        seen.touch()

    assert (
        run_in_child(answer_of, arguments, returns=int, seconds=PATIENCE, beat=always, on_slot_released=released) == 42
    )
    assert calls == [True]


def answer_of(path: str) -> int:
    return int(runpy.run_path(path)["answer"])


def test_a_job_that_has_released_its_slot_makes_room_for_one_other() -> None:
    slots, begun, go_on = Slots(1), threading.Semaphore(0), threading.Event()

    def other(_: Callable[[], None]) -> None:
        begun.release()
        go_on.wait(PATIENCE)

    def first(release: Callable[[], None]) -> None:
        for other_thread in others:
            other_thread.start()
        assert not begun.acquire(timeout=0.1)
        release()
        release()
        assert begun.acquire(timeout=PATIENCE)
        assert not begun.acquire(timeout=0.1)

    others = [threading.Thread(target=slots.run, args=(other,)) for _ in range(2)]
    slots.run(first)
    assert not begun.acquire(timeout=0.1), "its end frees no second slot"
    go_on.set()
    assert begun.acquire(timeout=PATIENCE)
    for other_thread in others:
        other_thread.join(PATIENCE)


def test_a_job_that_waited_for_a_slot_does_not_start_when_the_node_stops() -> None:
    stopping = threading.Event()
    slots, done = Slots(1, stopping.is_set), list[str]()
    waiting = threading.Thread(target=slots.run, args=(lambda _: done.append("waited"),))

    def first(_: Callable[[], None]) -> None:
        waiting.start()
        stopping.set()
        done.append("first")

    slots.run(first)
    waiting.join(PATIENCE)
    assert done == ["first"]


def test_the_signal_of_the_terminal_does_not_reach_a_job() -> None:
    """Ctrl-C ends the node, which ends its jobs itself: a job is in a process group of its own."""
    assert run_in_child(os.getpgrp, (), returns=int, seconds=PATIENCE, beat=always) != os.getpgrp()


def tables_that_were_read() -> int:
    """How many of highdicom's tables this process has found read."""
    return get_module_attribute_map.cache_info().currsize


def test_a_job_finds_the_tables_for_composing_loaded() -> None:
    assert run_in_child(tables_that_were_read, (), returns=int, seconds=PATIENCE, beat=always) == 1


# Producer and consumer.


def test_items_are_consumed_while_the_block_runs() -> None:
    taken = threading.Event()

    def work(items: Iterator[int]) -> list[int]:
        first = next(items)
        taken.set()
        return [first, *items]

    with consumer_thread(work) as (put, result):
        put(1)
        assert taken.wait(PATIENCE)
        put(2)
    assert result.result() == [1, 2]


def test_the_consumer_ends_when_the_block_fails() -> None:
    ended: list[int] = []

    def fail() -> None:
        with consumer_thread(ended.extend) as (put, _):
            put(1)
            raise PluginFailed("it broke")

    with pytest.raises(PluginFailed):
        fail()
    assert ended == [1]


def test_an_error_of_the_consumer_is_its_result() -> None:
    with consumer_thread(lambda items: 1 // next(items)) as (put, result):
        put(0)
        put(1)
    with pytest.raises(ZeroDivisionError):
        result.result()


# Which engine.


@pytest.mark.parametrize("build", [storage.open_ledger, storage.open_courier])
def test_procrastinate_without_postgresql_is_a_mistake_in_the_configuration(
    tmp_path: Path, build: Callable[[Settings], object]
) -> None:
    settings = asked_for("procrastinate", f"sqlite:///{tmp_path / 'ledger.db'}")
    with pytest.raises(
        ConfigError, match=r'^engine\.kind "procrastinate" needs a PostgreSQL ledger; set ledger\.url to'
    ):
        build(settings)
    assert not (tmp_path / "ledger.db").exists()


def test_check_reports_it(tmp_path: Path) -> None:
    settings = asked_for("procrastinate", f"sqlite:///{tmp_path / 'ledger.db'}")
    (report,) = check._reports(check._ledger, settings)
    assert not report.good
    assert report.sentence.startswith('engine.kind "procrastinate" needs a PostgreSQL ledger')


def test_the_message_of_a_missing_procrastinate_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "node.engine.procrastinate", raising=False)
    monkeypatch.setitem(sys.modules, "procrastinate", None)
    settings = asked_for("procrastinate", "postgresql://isocenter@db/ledger")
    with pytest.raises(ConfigError, match=r"needs procrastinate, which is not .*: pip install 'isocenter\[procrast"):
        storage.open_ledger(settings)


def test_the_local_engine_needs_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "node.engine.procrastinate", raising=False)
    monkeypatch.setitem(sys.modules, "procrastinate", None)
    settings = asked_for("local", f"sqlite:///{tmp_path / 'ledger.db'}")
    storage.open_ledger(settings).close()
    assert storage.open_courier(settings) is None


def test_a_courier_reaches_the_database_as_the_ledger_does() -> None:
    built = storage.open_courier(
        asked_for("procrastinate", "postgres://isocenter:s%40cret@db:5433/ledger?sslmode=require")
    )
    said = conninfo_to_dict(built.conninfo)
    assert {
        "host": "db",
        "port": "5433",
        "dbname": "ledger",
        "user": "isocenter",
        "password": "s@cret",
    }.items() <= said.items()
    assert (said["sslmode"], said["application_name"]) == ("require", "isocenter")


def asked_for(kind: str, url: str) -> Settings:
    return Settings.model_validate({"engine": {"kind": kind}, "ledger": {"url": url}})
