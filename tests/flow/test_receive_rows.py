"""Rows that are late: they follow when the ledger can be written, or are read from the packs."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event as engine_event

from node.ledger import Ledger
from node.receive import Arrivals
from node.receive.arrivals import PATIENCE_SECONDS
from node.receive.c_store import OUT_OF_RESOURCES, SUCCESS
from node.testing import ct_series
from tests.reception import OpenReception, Reception, encoded, store_in

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom", "ignore::UserWarning:pynetdicom")


def test_rows_that_were_never_written_are_recovered_from_the_packs(
    reception: Reception, clock: Callable[[], float]
) -> None:
    """The process died between answer and row: another process reads the packs."""
    sent = ct_series(slices=5)
    with reception.association() as association:
        for image in sent:
            store_in(association, image)
    reception.all_closed()
    assert reception.rows() == []
    again = Arrivals(
        reception.ledger.studies, reception.ledger.instances, reception.spool, wake=lambda: None, clock=clock
    )
    assert again.recover() == 5
    assert sorted(reception.rows()) == sorted(str(image.SOPInstanceUID) for image in sent)
    rows = reception.ledger.instances.of(str(sent[0].StudyInstanceUID))
    assert sorted(reception.spool.part10(place).read()[-128:] for _, place in rows) == sorted(
        encoded(image)[-128:] for image in sent
    )
    assert again.recover() == 0, "once"
    events = [event.name for _, event in reception.ledger.events.read()]
    assert "instance.repeated" not in events


def test_recovery_begins_where_the_rows_end(reception: Reception, clock: Callable[[], float]) -> None:
    sent = ct_series(slices=4)
    with reception.association() as association:
        for image in sent[:2]:
            store_in(association, image)
        reception.arrivals.record()
        for image in sent[2:]:
            store_in(association, image)
    reception.all_closed()
    assert (
        Arrivals(
            reception.ledger.studies, reception.ledger.instances, reception.spool, wake=lambda: None, clock=clock
        ).recover()
        == 2
    )
    assert len(reception.rows()) == 4


def test_recovery_writes_rows_in_groups(open_reception: OpenReception) -> None:
    reception = open_reception(group_size=2)
    with reception.association() as association:
        for image in ct_series(slices=5):
            store_in(association, image)
    reception.all_closed()
    assert reception.arrivals.recover() == 5
    assert len(reception.rows()) == 5
    reception.arrivals.record()
    assert len(reception.rows()) == 5


@contextmanager
def locked(ledger: Ledger) -> Iterator[None]:
    """Another connection locks the database, and the ledger does not wait long for it."""

    def wait_briefly(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA busy_timeout = 20")

    engine_event.listen(ledger.db._engine, "connect", wait_briefly)
    ledger.db._engine.dispose()
    holder = sqlite3.connect(ledger.db._engine.url.database or "", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        holder.rollback()
        holder.close()


def test_instances_are_accepted_for_a_limited_time_while_the_ledger_is_locked(reception: Reception, clock: Any) -> None:
    first, second, third, fourth = ct_series(slices=4)
    with reception.association() as association:
        with locked(reception.ledger):
            assert store_in(association, first) == SUCCESS
            assert reception.arrivals.record() == 1.0, "it asks to be tried again"
            clock.advance(PATIENCE_SECONDS)
            assert store_in(association, second) == SUCCESS
            assert reception.arrivals.record() == 1.0
            clock.advance(0.1)
            assert store_in(association, third) == OUT_OF_RESOURCES
        assert reception.rows() == []
        assert reception.arrivals.record() is None
        assert len(reception.rows()) == 2, "the rows follow"
        assert reception.reasons() == ["the ledger has not been writable for 10 s"]
        assert store_in(association, fourth) == SUCCESS, "instances are accepted again"
    reception.arrivals.record()
    assert len(reception.rows()) == 3


def test_a_group_keeps_its_place_when_the_ledger_fails(open_reception: OpenReception) -> None:
    reception = open_reception(group_size=2)
    sent = ct_series(slices=5)
    with locked(reception.ledger):
        reception.send(*sent)
        assert reception.rows() == []
    reception.arrivals.record()
    assert sorted(reception.rows()) == sorted(str(image.SOPInstanceUID) for image in sent)
    assert "instance.repeated" not in [event.name for _, event in reception.ledger.events.read()]
