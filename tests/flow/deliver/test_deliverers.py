"""Several processes deliver to one destination: no process sends what another has claimed."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import pytest

from node.deliver import Outbox, OutgoingObject, StoreOutcome, StoreResult
from node.engine import Lease
from node.errors import LedgerUnavailable
from node.ledger import Ledger
from node.records import LEASE_SECONDS, Address, DeliveryState, Plan, ResultObject
from node.spool import Spool
from tests.peers import wait_until

STUDY = "1.2.1"
STORED = StoreResult(StoreOutcome.STORED, "")


@pytest.fixture
def due(
    ledger: Ledger, routed: Callable[..., int], wanted: Callable[..., Plan], result: Callable[..., ResultObject]
) -> list[str]:
    """Three objects that are due."""
    routed(wanted())
    job = ledger.jobs.claim(lease_seconds=60)
    assert job is not None
    ledger.jobs.finish(job, [result(number) for number in range(3)])
    return [f"2.25.{number}" for number in range(3)]


@pytest.fixture
def pacs_outbox(ledger: Ledger, spool: Spool, clock: Callable[[], float]) -> Outbox:
    address = Address("PEER", "127.0.0.1", 1)
    return Outbox(
        destination="PACS", address=address, calling="US", seconds=1, give_up_seconds=1e6,
        deliveries=ledger.deliveries, spool=spool,
        clock=clock,
    )  # fmt: skip


def states(ledger: Ledger) -> list[DeliveryState]:
    return sorted(delivery.state for delivery in ledger.deliveries.of(STUDY))


def test_deliveries_that_remain_when_the_node_stops_are_released_unchanged(
    ledger: Ledger, pacs_outbox: Outbox, due: list[str]
) -> None:
    sent: list[str] = []
    stopping = threading.Event()

    def store(_to: Address, _as: str, objects: list[OutgoingObject], **_: float) -> Iterator[StoreResult]:
        for outgoing in objects:
            sent.append(outgoing.sop_instance_uid)
            stopping.set()
            yield STORED

    replace(pacs_outbox, send_objects=store, stopping=stopping.is_set).deliver()
    assert len(sent) == 1
    assert states(ledger) == ["delivered", "waiting", "waiting"]
    other = ledger.deliveries.claim("PACS", lease_seconds=60)
    assert {delivery.object.sop_instance_uid for delivery in other} == set(due) - set(sent)
    assert {delivery.attempts for delivery in other} == {0}


def test_a_deliverer_that_lost_its_lease_sends_nothing_more(
    ledger: Ledger, pacs_outbox: Outbox, due: list[str], clock: Callable[[], float]
) -> None:
    """As after a long pause of the whole machine: by then another process has taken all of it."""
    sent: list[str] = []
    others: list[str] = []

    def store(_to: Address, _as: str, objects: list[OutgoingObject], **_: float) -> Iterator[StoreResult]:
        for outgoing in objects:
            sent.append(outgoing.sop_instance_uid)
            clock.advance(LEASE_SECONDS + 1)  # type: ignore[attr-defined]
            taken = ledger.deliveries.claim("PACS", lease_seconds=1000)
            others.extend(delivery.object.sop_instance_uid for delivery in taken)
            yield STORED

    replace(pacs_outbox, send_objects=store, lease=partial(Lease, clock=clock)).deliver()
    assert len(sent) == 1
    assert sorted(others) == sorted(due)
    assert states(ledger) == ["waiting"] * 3, "the other process records what became of them"
    assert ledger.deliveries.claim("PACS", lease_seconds=60) == [], "and they are still the other's"


def test_a_lease_is_renewed_for_as_long_as_one_object_takes() -> None:
    renewed = threading.Semaphore(0)

    def failing() -> bool:
        raise LedgerUnavailable("locked")

    answers: Iterator[Callable[[], bool]] = iter([lambda: True, failing, lambda: True, lambda: False])

    def renew() -> bool:
        renewed.release()
        return next(answers)()

    with Lease(renew, every=0.01) as lease:
        for _ in range(3):
            assert renewed.acquire(timeout=10)
            assert lease.held
        assert renewed.acquire(timeout=10)
        wait_until(lambda: not lease.held, what="the loss of the lease")


def test_a_lease_is_not_renewed_while_a_delivery_is_taken_out_of_it() -> None:
    renewed = threading.Event()

    def renew() -> bool:
        renewed.set()
        return True

    with Lease(renew, every=0.01) as lease:
        with lease.lock:
            renewed.clear()
            assert not renewed.wait(0.1)
        assert renewed.wait(10)


def test_a_second_deliverer_sends_no_delivery_that_the_first_holds(
    ledger: Ledger, pacs_outbox: Outbox, due: list[str]
) -> None:
    sent: list[str] = []
    begun, go = threading.Event(), threading.Event()

    def store(_to: Address, _as: str, objects: list[OutgoingObject], **_: float) -> Iterator[StoreResult]:
        for outgoing in objects:
            begun.set()
            assert go.wait(30)
            sent.append(outgoing.sop_instance_uid)
            yield STORED

    deliverer = replace(pacs_outbox, send_objects=store)
    first = threading.Thread(target=deliverer.deliver)
    first.start()
    assert begun.wait(30)
    wait = deliverer.deliver()
    assert wait is not None
    assert 0 < wait <= LEASE_SECONDS
    assert sent == []
    go.set()
    first.join()
    assert sorted(sent) == due
    assert states(ledger) == ["delivered"] * 3
