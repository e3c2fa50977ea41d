"""Jobs of every engine: each due job is done once; a lost, late or repeated message does no harm."""

import threading
import time
from contextlib import closing

import pytest

from node.engine import Step
from node.errors import LedgerUnavailable
from node.ledger import Ledger
from node.records import Job, JobState, StudyState
from tests.engines import (
    PATIENCE,
    PROCRASTINATE,
    STUDY,
    Counted,
    Engines,
    Planned,
    Slots,
    Wanted,
    change,
    defer,
    messages,
)
from tests.peers import wait_until


def test_planned_jobs_are_done_each_once(start: Engines, ledger: Ledger, routed: Planned, wanted: Wanted) -> None:
    slots = Slots(ledger)
    engine = start(slots.step(threads=3))
    for number in range(1, 11):
        routed(wanted("a"), wanted("b"), study=f"1.2.{number}")
        start.wake_for_job(engine)
    slots.wait(20)
    assert len({job.id for job in slots.done}) == len(slots.done) == 20


def test_what_waits_at_the_start_is_done(start: Engines, ledger: Ledger, routed: Planned, wanted: Wanted) -> None:
    routed(wanted("a"), wanted("b"))
    slots = Slots(ledger)
    start(slots.step())
    slots.wait(2)


def test_as_many_jobs_are_done_at_once_as_there_are_threads(
    start: Engines, ledger: Ledger, routed: Planned, wanted: Wanted
) -> None:
    together, names = threading.Barrier(3, timeout=PATIENCE), set()
    now, most, lock = 0, 0, threading.Lock()

    def perform(job: Job) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        names.add(threading.current_thread().name[: len("infer")])
        together.wait()
        with lock:
            now -= 1

    routed(*(wanted(f"p{number}") for number in range(6)))
    slots = Slots(ledger, perform)
    start(slots.step(threads=3))
    slots.wait(6)
    assert most == 3
    assert names == {"infer"}


def test_stopping_lets_a_job_end_and_begins_no_other(
    start: Engines, ledger: Ledger, routed: Planned, wanted: Wanted
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def perform(job: Job) -> None:
        begun.set()
        assert go_on.wait(PATIENCE)

    routed(wanted("a"), wanted("b"))
    slots = Slots(ledger, perform)
    engine = start(slots.step())
    assert begun.wait(PATIENCE)
    stopper = threading.Thread(target=engine.stop)
    stopper.start()
    wait_until(lambda: engine.stopping, what="the stop")
    assert stopper.is_alive(), "it waits for the job"
    go_on.set()
    stopper.join(PATIENCE)
    assert not stopper.is_alive()
    assert sorted(job.state for job in ledger.jobs.of(STUDY)) == [JobState.DONE, JobState.WAITING]


def test_an_engine_that_is_stopped_at_once_stops(start: Engines, ledger: Ledger) -> None:
    start(Slots(ledger).step()).stop(seconds=PATIENCE)


def test_the_most_urgent_job_is_done_first_and_senders_take_turns(
    start: Engines, ledger: Ledger, routed: Planned, wanted: Wanted
) -> None:
    """Whatever the order is in which the engine says that they are due: the ledger knows more than it."""
    routed(wanted("low", priority=-5), wanted("first", priority=0), wanted("second", priority=0))
    routed(wanted("urgent", priority=20), study="1.2.2")
    routed(wanted("routine", priority=0), study="1.2.3")
    with ledger.db.writing() as connection:
        connection.exec_driver_sql("UPDATE job SET sender = 'MR1' WHERE study_uid = '1.2.3'")
    slots = Slots(ledger)
    start(slots.step())
    slots.wait(5)
    assert [job.plugin for job in slots.done] == ["urgent", "routine", "first", "second", "low"]


def test_a_job_whose_transaction_is_rolled_back_is_never_done(
    start: Engines, ledger: Ledger, routed: Planned, wanted: Wanted, kind: str, ledger_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def fail(point: str) -> None:
        if point == "ledger.commit" and (found := ledger.studies.find(STUDY)) and found.state is StudyState.STABLE:
            raise LedgerUnavailable("before the commit")

    with monkeypatch.context() as broken:
        broken.setattr("node.ledger.database.fault", fail)
        with pytest.raises(LedgerUnavailable, match="before the commit"):
            routed(wanted("never"))
    assert ledger.jobs.of(STUDY) == []
    if kind == PROCRASTINATE:
        assert messages(ledger_url) == []
    slots = Slots(ledger)
    engine = start(slots.step())
    routed(wanted("always"), study="1.2.2")
    start.wake_for_job(engine)
    slots.wait(1)
    assert [job.plugin for job in slots.done] == ["always"]


def test_a_job_that_is_put_back_is_done_when_it_is_due(
    start: Engines, ledger: Ledger, routed: Planned, wanted: Wanted
) -> None:
    times: list[float] = []

    def perform(job: Job) -> None:
        times.append(time.time())
        if len(times) == 1:
            assert ledger.jobs.postpone(job, seconds=0.7, reason="not yet", attempts=0)

    routed(wanted())
    slots = Slots(ledger, perform)
    start(slots.step())
    slots.wait(1)
    assert times[1] - times[0] >= 0.7
    assert ledger.jobs.of(STUDY)[0].attempts == 1


def test_a_parked_job_that_is_requeued_is_done(start: Engines, ledger: Ledger, routed: Planned, wanted: Wanted) -> None:
    routed(wanted())
    job = ledger.jobs.claim(lease_seconds=60)
    assert job is not None
    ledger.jobs.park(job, "the plugin is broken")
    slots = Slots(ledger)
    engine = start(slots.step())
    assert ledger.queries.requeue()["jobs"] == 1
    start.wake_for_job(engine)
    slots.wait(1)


def test_a_job_whose_worker_died_is_done_when_its_lease_has_run_out(
    start: Engines, ledger: Ledger, routed: Planned, wanted: Wanted, kind: str, ledger_url: str
) -> None:
    routed(wanted())
    assert ledger.jobs.claim(lease_seconds=0.5) is not None
    if kind == PROCRASTINATE:
        change(ledger_url, "DELETE FROM procrastinate_jobs")
    slots = Slots(ledger)
    start(slots.step())
    slots.wait(1)
    assert slots.done[0].attempts == 2


def test_a_job_is_done_though_its_step_raised_at_the_message(
    start: Engines, ledger: Ledger, routed: Planned, wanted: Wanted
) -> None:
    start.rest_seconds = 0.01
    slots = Slots(ledger)
    once = Counted(LedgerUnavailable("locked"), LedgerUnavailable("still locked"))

    def work() -> float | None:
        once()
        return slots()

    engine = start(Step(name="infer", work=work, remind=ledger.jobs.remind))
    routed(wanted())
    start.wake_for_job(engine)
    slots.wait(1)


def test_a_job_without_a_message_is_found_in_the_ledger(
    start: Engines, ledger: Ledger, routed: Planned, wanted: Wanted, kind: str, ledger_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    start.idle_seconds = 0.3
    slots = Slots(ledger)
    start(slots.step())
    with closing(Ledger(ledger_url)) as without_queue:
        monkeypatch.setattr(ledger.studies, "plan", without_queue.studies.plan)
        routed(wanted("a"), wanted("b"))
    slots.wait(2)


def test_a_message_for_a_job_that_is_done_superseded_or_unknown_does_nothing(
    start: Engines, ledger: Ledger, routed: Planned, wanted: Wanted, kind: str, ledger_url: str
) -> None:
    routed(wanted("a"))
    routed(wanted("a", digest="e"), number=2)
    slots = Slots(ledger)
    engine = start(slots.step())
    slots.wait(1)
    assert {job.state for job in ledger.jobs.of(STUDY)} == {JobState.DONE, JobState.SUPERSEDED}
    if kind == PROCRASTINATE:
        for job_id in (1, 2, 4711, *range(20)):
            defer(ledger_url, job_id)
        wait_until(lambda: not messages(ledger_url), what="the end of the messages")
    for _ in range(20):
        engine.wake("infer")
    routed(wanted("b", digest="f"), number=3)
    start.wake_for_job(engine)
    slots.wait(2)
    assert [job.plugin for job in slots.done] == ["a", "b"]


def test_engines_side_by_side_do_each_job_once(start: Engines, ledger: Ledger, routed: Planned, wanted: Wanted) -> None:
    slots = [Slots(ledger) for _ in range(3)]
    engines = [start(slot.step(threads=2)) for slot in slots]
    for number in range(1, 31):
        routed(wanted(), study=f"1.2.{number}")
        for engine in engines:
            start.wake_for_job(engine)
    wait_until(lambda: sum(len(slot.done) for slot in slots) >= 30, seconds=PATIENCE, what="the end of 30 jobs")
    done = [job.id for slot in slots for job in slot.done]
    assert len(set(done)) == len(done) == 30
