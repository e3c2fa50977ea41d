"""What both engines promise: steps run when there is something to do, and every due job is done, once.

The ledger remembers, and the engine only says that something is due: a lost, late or repeated word of it is harmless.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

import psycopg
import pytest
import structlog
from psycopg.sql import SQL, Identifier
from psycopg.types.json import Jsonb

from node.engine import Engine, Step
from node.engine.procrastinate import CONNECT_SECONDS, POLL_SECONDS, Procrastinate, schema
from node.engine.steps import REST_SECONDS
from node.errors import LedgerUnavailable
from node.ledger import JobQueue, Ledger, conninfo
from node.records import JOB_QUEUE, JOB_TASK, Job, JobState, Plan, StudyState
from tests.peers import wait_until
from tests.postgres import Postgres

PATIENCE = 60
"""Seconds after which a test that waits has failed; none waits so long when all is well."""
NEVER = 600.0
PROCRASTINATE = "procrastinate"
STUDY = "1.2.1"
only_procrastinate = pytest.mark.parametrize("kind", [PROCRASTINATE], indirect=True)

Planned = Callable[..., int]
Wanted = Callable[..., Plan]


@pytest.fixture(params=["local on SQLite", "local on PostgreSQL", PROCRASTINATE])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def ledger_url(kind: str, request: pytest.FixtureRequest, tmp_path: object) -> Iterator[str]:
    if kind == "local on SQLite":
        yield f"sqlite:///{tmp_path}/ledger.db"
        return
    server: Postgres = request.getfixturevalue("database_server")
    url = server.create()
    yield url
    server.drop(url)


@pytest.fixture
def clock() -> Callable[[], float]:
    """Real time: PostgreSQL's own clock says when a message is due."""
    return time.time


@pytest.fixture
def ledger(kind: str, ledger_url: str) -> Iterator[Ledger]:
    with closing(Ledger(ledger_url, queue=JobQueue(schema()) if kind == PROCRASTINATE else None)) as opened:
        yield opened


@dataclass
class Engines:
    """Starts engines of one kind, and stops them at the end."""

    kind: str
    url: str
    idle_seconds: float = NEVER
    rest_seconds: float = REST_SECONDS
    poll_seconds: float = POLL_SECONDS
    connect_seconds: float = CONNECT_SECONDS
    started: list[Engine] = field(default_factory=list)

    def __call__(self, *steps: Step) -> Engine:
        engine = Engine(
            list(steps), courier=self.courier(), idle_seconds=self.idle_seconds, rest_seconds=self.rest_seconds
        )
        self.started.append(engine)
        engine.start()
        return engine

    def courier(self) -> Procrastinate | None:
        if self.kind != PROCRASTINATE:
            return None
        return Procrastinate(str(conninfo(self.url)), JOB_QUEUE, JOB_TASK, self.poll_seconds, self.connect_seconds)

    def wake_for_job(self, engine: Engine) -> None:
        """In one process the step before says that a job may be due; else the message is all there is."""
        if self.kind != PROCRASTINATE:
            engine.wake("infer")


@pytest.fixture
def start(kind: str, ledger_url: str, ledger: Ledger) -> Iterator[Engines]:
    """Start engines whose steps sleep until they are woken."""
    engines = Engines(kind, ledger_url)
    yield engines
    for engine in engines.started:
        engine.stop()
    assert not [thread for engine in engines.started for thread in engine._threads if thread.is_alive()]


# Steps.


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


def test_every_step_runs_at_the_start(start: Engines) -> None:
    first, second = Counted(), Counted()
    start(Step(name="one", work=first), Step(name="two", work=second))
    first.wait()
    second.wait()


def test_a_step_that_is_woken_runs_and_no_other(start: Engines) -> None:
    first, second = Counted(), Counted()
    engine = start(Step(name="one", work=first), Step(name="two", work=second))
    first.wait()
    second.wait()
    for _ in range(3):
        engine.wake("one")
        first.wait()
    assert second.calls == 1


def test_a_step_wakes_those_that_follow_it(start: Engines) -> None:
    first, second, third = Counted(), Counted(), Counted()
    engine = start(
        Step(name="one", work=first, then=("two",)),
        Step(name="two", work=second, then=("three",)),
        Step(name="three", work=third),
    )
    for work in (first, second, third):
        work.wait()
    before = third.calls
    engine.wake("one")
    wait_until(lambda: third.calls > before, what="the third step")


def test_a_wake_up_during_the_work_is_not_lost(start: Engines) -> None:
    begun, go_on = threading.Event(), threading.Event()
    calls: list[int] = []

    def work() -> float | None:
        calls.append(1)
        begun.set()
        assert go_on.wait(PATIENCE)
        return None

    engine = start(Step(name="one", work=work))
    assert begun.wait(PATIENCE)
    engine.wake("one")
    go_on.set()
    wait_until(lambda: len(calls) == 2, what="the second run")


def test_a_step_that_says_when_it_is_due_runs_again_then(start: Engines) -> None:
    work = Counted(0.0, -5.0, 0.01, 0.0)
    start(Step(name="one", work=work))
    work.wait(5)


@pytest.mark.parametrize("answer", [None, NEVER])
def test_a_step_is_looked_at_again_now_and_then_whatever_it_says(start: Engines, answer: float | None) -> None:
    """What is due sooner than it thought may have come from another process."""
    start.idle_seconds = 0.01
    work = Counted(answer, answer)
    start(Step(name="one", work=work))
    work.wait(3)


def test_a_step_that_raises_is_logged_and_goes_on(start: Engines) -> None:
    start.rest_seconds = 0.01
    with structlog.testing.capture_logs() as logs:
        work = Counted(ValueError("odd"), LedgerUnavailable("locked"))
        start(Step(name="one", work=work))
        work.wait(3)
    assert [(line["event"], line["step"], line["reason"]) for line in logs] == [
        ("step.failed", "one", "ValueError: odd"),
        ("step.failed", "one", "LedgerUnavailable: locked"),
    ]


def test_after_an_error_a_step_rests(start: Engines) -> None:
    start.rest_seconds = NEVER
    work = Counted(ValueError("odd"))
    engine = start(Step(name="one", work=work))
    work.wait()
    assert engine._once(Step(name="one", work=Counted(ValueError("odd")))) == (False, NEVER)
    engine.wake("one")
    work.wait()


def test_stopping_lets_every_step_end_what_it_does(start: Engines) -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> float | None:
        begun.set()
        assert go_on.wait(PATIENCE)
        ended.set()
        return 0.0

    engine = start(Step(name="one", work=work), Step(name="idle", work=Counted()))
    assert begun.wait(PATIENCE)
    assert not engine.stopping
    stopper = threading.Thread(target=engine.stop)
    stopper.start()
    wait_until(lambda: engine.stopping, what="the stop")
    assert stopper.is_alive(), "it waits for the step"
    go_on.set()
    stopper.join(PATIENCE)
    assert ended.is_set()
    assert not any(thread.is_alive() for thread in engine._threads)


# Jobs.


@dataclass
class Slots:
    """Does jobs as `infer` does: claims what the ledger gives it, and finishes it."""

    ledger: Ledger
    perform: Callable[[Job], object] = lambda job: None
    done: list[Job] = field(default_factory=list)

    def __call__(self) -> float | None:
        job = self.ledger.jobs.claim(lease_seconds=60)
        if job is None:
            due = self.ledger.jobs.next_due()
            return None if due is None else due - self.ledger.db.clock()
        self.perform(job)
        if self.ledger.jobs.finish(job, []):
            self.done.append(job)
        return 0.0

    def step(self, threads: int = 1) -> Step:
        return Step(name="infer", work=self, threads=threads, remind=self.ledger.jobs.remind)

    def wait(self, number: int) -> None:
        wait_until(lambda: len(self.done) >= number, seconds=PATIENCE, what=f"the end of {number} jobs")


def messages(url: str, state: str = "todo") -> list[int]:
    """The jobs that messages in the queue name."""
    with psycopg.connect(url, autocommit=True) as rows:
        found = rows.execute("SELECT args ->> 'job_id' FROM procrastinate_jobs WHERE status = %s ORDER BY id", [state])
        return [int(number) for (number,) in found]


def change(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as rows:
        rows.execute(statement)  # type: ignore[call-overload]


def listening(url: str) -> bool:
    """Whether a worker hears of new messages."""
    with psycopg.connect(url, autocommit=True) as rows:
        query = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"
        return rows.execute(query).fetchone() != (0,)


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


def defer(url: str, job_id: int) -> None:
    message = "INSERT INTO procrastinate_jobs (queue_name, task_name, args) VALUES (%s, %s, %s)"
    with psycopg.connect(url, autocommit=True) as rows:
        rows.execute(message, [JOB_QUEUE, JOB_TASK, Jsonb({"job_id": job_id})])


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


# Messages, which only procrastinate brings.


@only_procrastinate
def test_a_message_wakes_a_worker_that_sleeps(
    start: Engines, ledger: Ledger, routed: Planned, wanted: Wanted, ledger_url: str
) -> None:
    """By its notification alone: nobody looks into the queue, or into the ledger."""
    start.poll_seconds = NEVER
    slots = Slots(ledger)
    start(slots.step())
    wait_until(lambda: listening(ledger_url), what="LISTEN")
    time.sleep(0.5)  # it hears of a message only while it does not look for one
    routed(wanted())
    slots.wait(1)


@only_procrastinate
def test_every_way_to_wait_puts_a_message_into_the_queue(
    ledger: Ledger, routed: Planned, wanted: Wanted, ledger_url: str
) -> None:
    def taken() -> list[tuple[int, bool, int]]:
        with psycopg.connect(ledger_url, autocommit=True) as rows:
            found = rows.execute(
                "DELETE FROM procrastinate_jobs RETURNING (args ->> 'job_id')::int, scheduled_at > now(), priority"
            ).fetchall()
            return [(job, bool(later), priority) for job, later, priority in found]

    routed(wanted("a", priority=3), wanted("b"))
    first, second = ledger.jobs.of(STUDY)
    assert taken() == [(first.id, False, 3), (second.id, False, 0)]
    held = ledger.jobs.claim(lease_seconds=60)
    assert held is not None
    ledger.jobs.postpone(held, seconds=60, reason="later", attempts=0)
    assert taken() == [(first.id, True, 3)]
    held = ledger.jobs.claim(lease_seconds=60)
    assert held is not None
    ledger.jobs.park(held, "broken")
    assert taken() == []
    ledger.queries.requeue()
    assert taken() == [(second.id, False, 0)]
    ledger.jobs.adopt({"a": "1", "b": "2"})
    (three,) = (job for job in ledger.jobs.of(STUDY) if job.version == "2")
    assert taken() == [(three.id, False, 0)]
    ledger.jobs.adopt({"a": "1", "b": "1"})
    assert taken() == [(second.id, False, 0)]


@only_procrastinate
def test_the_queue_is_empty_when_all_is_done(
    start: Engines, ledger: Ledger, routed: Planned, wanted: Wanted, ledger_url: str
) -> None:
    slots = Slots(ledger)
    engine = start(slots.step(threads=2))
    for number in range(1, 11):
        routed(wanted(), study=f"1.2.{number}")
        engine.wake("infer")
    slots.wait(10)
    wait_until(lambda: not messages(ledger_url), what="the last message")
    engine.stop()
    with psycopg.connect(ledger_url, autocommit=True) as rows:
        for table in ("procrastinate_jobs", "procrastinate_events", "procrastinate_workers"):
            assert rows.execute(SQL("SELECT * FROM {}").format(Identifier(table))).fetchall() == []


@only_procrastinate
def test_what_a_dead_worker_left_in_the_queue_is_cleaned_away(
    ledger: Ledger, routed: Planned, wanted: Wanted, ledger_url: str
) -> None:
    routed(wanted("a"), wanted("b"))
    change(ledger_url, "UPDATE procrastinate_jobs SET status = 'doing' WHERE (args ->> 'job_id')::int = 1")
    ledger.jobs.remind()
    assert messages(ledger_url, "doing") == []
    assert messages(ledger_url) == [2, 1], "the job it named is due, and a new message names it"


@only_procrastinate
def test_a_reminder_is_put_once_and_only_of_what_is_due(
    ledger: Ledger, routed: Planned, wanted: Wanted, ledger_url: str
) -> None:
    routed(*(wanted(plugin) for plugin in "abcd"))
    later, held = ledger.jobs.claim(lease_seconds=60), ledger.jobs.claim(lease_seconds=60)
    assert later is not None
    assert held is not None
    ledger.jobs.postpone(later, seconds=30, reason="later", attempts=0)
    change(ledger_url, "DELETE FROM procrastinate_jobs")
    wait = ledger.jobs.remind()
    assert wait is not None
    assert 20 < wait <= 30, "the job that is due next may have no message"
    ledger.jobs.remind()
    assert messages(ledger_url) == [3, 4]


@only_procrastinate
def test_the_engine_goes_on_when_the_database_was_away(
    start: Engines, ledger: Ledger, routed: Planned, wanted: Wanted, ledger_url: str,
    database_server: Postgres,
) -> None:  # fmt: skip
    start.rest_seconds = 0.2
    start.connect_seconds = 1.0
    slots = Slots(ledger)
    start(slots.step())
    routed(wanted())
    slots.wait(1)
    with structlog.testing.capture_logs() as logs:
        database_server.stop("immediate")
        wait_until(lambda: logs, what="a word of it")
    database_server.start()
    said = [line["reason"] for line in logs if line["step"] == "infer by job id"]
    assert all(line.startswith("LedgerUnavailable: job ids cannot be listened to just now: ") for line in said), said
    routed(wanted(), study="1.2.2")
    slots.wait(2)


@only_procrastinate
def test_a_job_that_runs_while_the_database_is_away_holds_up_no_other(
    start: Engines, ledger: Ledger, routed: Planned, wanted: Wanted, database_server: Postgres
) -> None:
    start.rest_seconds = 0.2
    start.connect_seconds = 1.0
    begun, go_on = threading.Event(), threading.Event()

    def perform(job: Job) -> None:
        if job.plugin == "long":
            begun.set()
            assert go_on.wait(PATIENCE)

    slots = Slots(ledger, perform)
    engine = start(slots.step(threads=2))
    routed(wanted("long"))
    assert begun.wait(PATIENCE)
    with structlog.testing.capture_logs() as logs:
        database_server.stop("immediate")
        wait_until(lambda: logs, what="a word of it")
    database_server.start()
    routed(wanted("short"), study="1.2.2")
    slots.wait(1)
    stopper = threading.Thread(target=engine.stop)
    stopper.start()
    wait_until(lambda: engine.stopping, what="the stop")
    go_on.set()
    stopper.join(PATIENCE)
    assert [job.plugin for job in slots.done] == ["short", "long"]


def test_of_several_that_open_a_ledger_at_once_one_makes_the_queue(database_server: Postgres) -> None:
    url = database_server.create()
    try:
        with ThreadPoolExecutor(4) as programs:
            opened = list(programs.map(lambda _: Ledger(url, queue=JobQueue(schema())), range(4)))
        for opened_ledger in opened:
            assert opened_ledger.jobs.remind() is None
            opened_ledger.close()
    finally:
        database_server.drop(url)


def test_a_step_that_does_not_end_holds_up_the_stop_for_so_long_and_no_longer() -> None:
    ended = threading.Event()
    engine = Engine([Step(name=str(number), work=lambda: ended.wait(PATIENCE) or None) for number in range(3)])
    engine.start()
    stopper = threading.Thread(target=engine.stop, kwargs={"seconds": 0.1})
    stopper.start()
    stopper.join(PATIENCE / 3)
    assert not stopper.is_alive()
    ended.set()
