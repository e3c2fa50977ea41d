"""Messages of procrastinate: they wake a worker, follow each change of a job, and survive a lost database."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import structlog
from psycopg.sql import SQL, Identifier

from node.engine.procrastinate import schema
from node.ledger import JobQueue, Ledger
from node.records import Job
from tests.engines import (
    NEVER,
    PATIENCE,
    PROCRASTINATE,
    STUDY,
    Engines,
    Planned,
    Slots,
    Wanted,
    change,
    listening,
    messages,
)
from tests.peers import wait_until
from tests.postgres import Postgres

only_procrastinate = pytest.mark.parametrize("kind", [PROCRASTINATE], indirect=True)


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
