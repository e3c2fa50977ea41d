"""Rows of associations that failed: alike ones are counted, and there are never many."""

from node.commands import explain
from node.ledger import Ledger
from node.records import FailedAssociation
from tests.conftest import Clock


def failed(at: float, *, address: str = "10.0.0.1", times: int = 1, calling: str = "CT1") -> FailedAssociation:
    return FailedAssociation(
        outcome="rejected", calling=calling, called="ISOCENTER", address=address, reason="not in receive.accept_from",
        first_at=at, last_at=at, times=times,
    )  # fmt: skip


def test_alike_failures_are_one_row_with_their_number(ledger: Ledger) -> None:
    ledger.failed_associations.record([failed(1.0), failed(2.0, address="10.0.0.2")])
    ledger.failed_associations.record([failed(3.0, times=5)])
    newest, other = ledger.failed_associations.read()
    assert (newest.first_at, newest.last_at, newest.times) == (1.0, 3.0, 6)
    assert (other.address, other.times) == ("10.0.0.2", 1)


def test_explain_lists_them(ledger: Ledger) -> None:
    assert list(explain.failed_associations(ledger)) == ["no association was rejected or aborted"]
    ledger.failed_associations.record([failed(1.0, times=3, calling="")])
    (line,) = explain.failed_associations(ledger)
    assert "rejected: an unknown AE at 10.0.0.1 to ISOCENTER: not in receive.accept_from, 3 times since" in line


def test_the_oldest_go_where_there_are_many(ledger: Ledger) -> None:
    for number in range(6):
        ledger.failed_associations.record([failed(float(number), address=f"10.0.0.{number}")], most=3)
    assert [failure.address for failure in ledger.failed_associations.read()] == ["10.0.0.5", "10.0.0.4", "10.0.0.3"]


def test_they_are_forgotten_with_the_stories_of_studies(ledger: Ledger, clock: Clock) -> None:
    ledger.failed_associations.record([failed(clock()), failed(clock() + 10, address="10.0.0.2")])
    ledger.retention.forget(before=clock() + 5)
    assert [failure.address for failure in ledger.failed_associations.read()] == ["10.0.0.2"]
