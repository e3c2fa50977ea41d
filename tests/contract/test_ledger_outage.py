"""The database goes and comes back under a node that receives: nothing is lost, and nobody has to help."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from node.engine import Engine, Step
from node.errors import LedgerUnavailable
from node.ledger import Ledger, database
from node.receive import Arrivals, arrivals
from node.records import Arrival, Plan
from node.spool import Spool
from tests.conftest import Clock
from tests.postgres import Postgres

Arrive = Callable[..., Arrival]
STUDY = "1.2.1"


@pytest.fixture
def ledger_url(database_server: Postgres) -> Iterator[str]:
    """PostgreSQL alone can be away: SQLite is a file."""
    url = database_server.create()
    yield url
    database_server.drop(url)


@contextmanager
def away(server: Postgres, mode: str = "immediate") -> Iterator[None]:
    server.stop(mode)
    try:
        yield
    finally:
        server.start()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_what_was_taken_while_the_database_was_away_is_recorded_when_it_is_back(
    ledger: Ledger, spool: Spool, clock: Clock, arrival: Arrive, database_server: Postgres, mode: str
) -> None:
    waiting = Arrivals(ledger.studies, ledger.instances, spool, wake=lambda: None, clock=clock, steady=clock)
    waiting.put(arrival(1))
    assert waiting.record() is None
    with away(database_server, mode):
        waiting.put(arrival(2))
        assert waiting.record() == 1.0, "it asks to be tried again"
        waiting.check_ledger()
        clock.advance(arrivals.PATIENCE_SECONDS + 1)
        with pytest.raises(LedgerUnavailable):
            waiting.check_ledger()
    waiting.put(arrival(3))
    assert waiting.record() is None
    waiting.check_ledger()
    assert len(ledger.instances.of(STUDY)) == 3
    assert "instance.repeated" not in [event.name for _, event in ledger.events.read()]


def test_a_receiver_goes_on_through_two_outages(
    ledger: Ledger, spool: Spool, arrival: Arrive, database_server: Postgres
) -> None:
    """Instances come all the time; the engine tries their rows again and again."""
    sent = [arrival(number) for number in range(1, 401)]
    waiting = Arrivals(ledger.studies, ledger.instances, spool, wake=lambda: engine.wake("receive"))
    engine = Engine([Step(name="receive", work=waiting.record)])
    engine.start()
    try:
        for start in range(0, len(sent), 100):
            for instance in sent[start : start + 100]:
                waiting.put(instance)
            if start in (100, 200):
                with away(database_server):
                    waiting.put(sent[start])
        done = threading.Event()
        for _ in range(300):
            if not waiting._waiting or done.wait(0.1):
                break
        assert not waiting._waiting
    finally:
        engine.stop()
    assert len(ledger.instances.of(STUDY)) == 400
    assert ledger.instances.marks() == {"a.pack": sent[-1].end}
    assert ledger.queries.refusals() == []


def test_a_claim_outlives_the_server(
    ledger: Ledger, routed: Callable[..., int], wanted: Callable[..., Plan], database_server: Postgres
) -> None:
    routed(wanted())
    job = ledger.jobs.claim(lease_seconds=60)
    assert job is not None
    with away(database_server):
        for ask in (lambda: ledger.jobs.finish(job, []), lambda: ledger.jobs.of(STUDY), ledger.jobs.next_due):
            with pytest.raises(LedgerUnavailable, match="the ledger cannot be used just now: "):
                ask()
    assert ledger.jobs.finish(job, [])


def test_a_row_that_can_never_be_written_does_not_stop_the_others(
    ledger: Ledger, spool: Spool, arrival: Arrive
) -> None:
    waiting = Arrivals(ledger.studies, ledger.instances, spool, wake=lambda: None)
    broken = arrival(2)
    for arrived in (arrival(1), replace(broken, instance=replace(broken.instance, study_uid="1." * 40)), arrival(3)):
        waiting.put(arrived)
    assert waiting.record() is None
    assert len(ledger.instances.of(STUDY)) == 2
    assert [refusal.sop_instance_uid for refusal in ledger.queries.refusals()] == [broken.instance.sop_instance_uid]


def test_a_program_that_hangs_in_a_transaction_is_ended_by_the_server(
    ledger: Ledger, arrival: Arrive, ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it held is free for the others; what it wanted to write is not written."""
    ledger.instances.record([arrival(1)])
    options = database.POSTGRESQL["options"].replace("60s", "200ms")
    monkeypatch.setitem(database.POSTGRESQL, "options", options)
    hanging = Ledger(ledger_url)

    def hang() -> None:
        with hanging.db.writing() as connection:
            database.hold(connection, [STUDY])
            assert ledger.instances.record([arrival(2)]) == [STUDY], "it waited until the server had ended the other"
            connection.exec_driver_sql("UPDATE study SET because = 'too late'")

    with pytest.raises(LedgerUnavailable):
        hang()
    hanging.close()
    found = ledger.studies.find(STUDY)
    assert found is not None
    assert found.because == ""


def test_a_row_that_another_process_locks_too_long_is_ledger_unavailable(
    ledger: Ledger, arrival: Arrive, ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.instances.record([arrival(1)])
    options = database.POSTGRESQL["options"].replace("lock_timeout=5s", "lock_timeout=50ms")
    monkeypatch.setitem(database.POSTGRESQL, "options", options)
    impatient = Ledger(ledger_url)
    with ledger.db.writing() as connection:
        database.hold(connection, [STUDY])
        with pytest.raises(LedgerUnavailable, match="lock timeout"):
            impatient.instances.record([arrival(2)])
    assert impatient.instances.record([arrival(2)]) == [STUDY]
    impatient.close()
