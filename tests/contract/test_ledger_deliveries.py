"""Deliveries in the ledger: claim, lease, end, and every move between states. For every database."""

import itertools
from collections.abc import Callable, Mapping

from sqlalchemy import text

from node.ledger import Ledger
from node.records import (
    DELIVERY_MOVES,
    Declined,
    Delivery,
    DeliveryState,
)
from tests.ledger_rows import (
    LEASE,
    STUDY,
    Arrive,
    Make,
    Route,
    Want,
    claimed,
    event_names,
)


def test_what_is_queued_is_due_at_once_in_its_order(
    ledger: Ledger, outbox: Callable[..., list[Delivery]], clock: Callable[[], float], result: Make
) -> None:
    due = outbox(3, to=("PACS", "ARCHIVE"))
    assert {delivery.destination for delivery in due} == {"PACS"}
    assert sorted(delivery.object.sop_instance_uid for delivery in due) == ["2.25.1", "2.25.2", "2.25.3"]
    assert due[0].object in [result(number) for number in (1, 2, 3)]
    assert ledger.deliveries.next_due("PACS") == clock() + 60, "when what was claimed is another's"
    ledger.deliveries.release(due)
    assert ledger.deliveries.next_due("PACS") == clock()
    assert len(ledger.deliveries.claim("PACS", lease_seconds=60, limit=2)) == 2
    assert ledger.deliveries.claim("NOWHERE", lease_seconds=60) == []
    assert ledger.deliveries.next_due("NOWHERE") is None


def test_what_was_delivered_stays_delivered(ledger: Ledger, outbox: Callable[..., list[Delivery]]) -> None:
    (sent,) = outbox()
    assert not ledger.deliveries.has_delivered("PACS")
    ledger.deliveries.mark_delivered(sent, "")
    assert ledger.deliveries.has_delivered("PACS")
    assert not ledger.deliveries.has_delivered("ARCHIVE")
    (before,) = ledger.deliveries.of(STUDY)
    assert (before.state, before.attempts) == (DeliveryState.DELIVERED, 1)
    ledger.deliveries.postpone(sent, seconds=0, reason="late")
    ledger.deliveries.park(sent, "late")
    ledger.deliveries.mark_delivered(sent, "twice")
    ledger.queries.requeue()
    assert ledger.deliveries.of(STUDY) == [before]
    assert ledger.deliveries.claim("PACS", lease_seconds=60) == []
    assert event_names(ledger).count("object.delivered") == 1
    assert not {"object.postponed", "object.parked"} & set(event_names(ledger))


def test_an_object_that_is_made_again_is_not_queued_again(
    ledger: Ledger, outbox: Callable[..., list[Delivery]], routed: Route, wanted: Want, result: Make
) -> None:
    (sent,) = outbox()
    ledger.deliveries.mark_delivered(sent)
    routed(wanted(digest="other"), number=2)
    ledger.jobs.finish(claimed(ledger), [result(1), result(2)])
    assert [delivery.object.sop_instance_uid for delivery in ledger.deliveries.claim("PACS", lease_seconds=60)] == [
        "2.25.2"
    ]


def test_a_postponed_delivery_waits_and_counts(
    ledger: Ledger, outbox: Callable[..., list[Delivery]], clock: Callable[[], float]
) -> None:
    (sent,) = outbox()
    ledger.deliveries.postpone(sent, seconds=8, reason="no answer")
    assert ledger.deliveries.claim("PACS", lease_seconds=60) == []
    assert ledger.deliveries.next_due("PACS") == clock() + 8
    clock.advance(8)  # type: ignore[attr-defined]
    (again,) = ledger.deliveries.claim("PACS", lease_seconds=60)
    assert (again.attempts, again.reason, again.queued_at) == (1, "no answer", sent.queued_at)


def test_a_parked_delivery_is_put_back_with_a_fresh_start(
    ledger: Ledger, outbox: Callable[..., list[Delivery]], clock: Callable[[], float]
) -> None:
    (sent,) = outbox()
    ledger.deliveries.park(sent, "PACS refused it")
    assert ledger.queries.parked() == [(STUDY, "delivery to PACS", "PACS refused it")]
    assert ledger.deliveries.next_due("PACS") is None
    clock.advance(100)  # type: ignore[attr-defined]
    assert ledger.queries.requeue(STUDY) == {"studies": 0, "jobs": 0, "deliveries": 1}
    (again,) = ledger.deliveries.claim("PACS", lease_seconds=60)
    assert (again.attempts, again.queued_at) == (0, clock())


def test_one_destination_does_not_move_anothers_rows(ledger: Ledger, outbox: Callable[..., list[Delivery]]) -> None:
    (sent,) = outbox(to=("PACS", "ARCHIVE"))
    ledger.deliveries.park(sent, "PACS refused it")
    assert [delivery.state for delivery in ledger.deliveries.claim("ARCHIVE", lease_seconds=60)] == [
        DeliveryState.WAITING
    ]


def test_what_one_deliverer_holds_no_other_is_given(ledger: Ledger, outbox: Callable[..., list[Delivery]]) -> None:
    first = outbox(3)
    assert len({delivery.worker for delivery in first}) == 1
    assert ledger.deliveries.claim("PACS", lease_seconds=LEASE) == []
    ledger.deliveries.mark_delivered(first[0])
    ledger.deliveries.release(first[1:])
    second = ledger.deliveries.claim("PACS", lease_seconds=LEASE)
    assert [delivery.object for delivery in second] == [delivery.object for delivery in first[1:]]
    assert [delivery.attempts for delivery in second] == [0, 0], "what is given back has cost no attempt"
    assert {delivery.worker for delivery in second} != {delivery.worker for delivery in first}


def test_a_worker_that_lost_its_lease_does_not_change_a_delivery(
    ledger: Ledger, outbox: Callable[..., list[Delivery]], clock: Callable[[], float]
) -> None:
    late = outbox(2)
    clock.advance(61)  # type: ignore[attr-defined]
    now = ledger.deliveries.claim("PACS", lease_seconds=LEASE)
    assert len(now) == 2
    before = ledger.deliveries.of(STUDY)
    ledger.deliveries.mark_delivered(late[0])
    ledger.deliveries.postpone(late[1], seconds=9, reason="late")
    ledger.deliveries.park(late[1], "late")
    ledger.deliveries.release(late)
    assert not ledger.deliveries.renew(late, lease_seconds=LEASE)
    assert ledger.deliveries.of(STUDY) == before
    assert ledger.deliveries.claim("PACS", lease_seconds=LEASE) == []
    ledger.deliveries.mark_delivered(now[0])
    assert [delivery.state for delivery in ledger.deliveries.of(STUDY)].count(DeliveryState.DELIVERED) == 1


def test_a_lease_that_is_renewed_outlasts_its_time(
    ledger: Ledger, outbox: Callable[..., list[Delivery]], clock: Callable[[], float]
) -> None:
    held = outbox(2)
    clock.advance(50)  # type: ignore[attr-defined]
    assert ledger.deliveries.renew(held, lease_seconds=60)
    clock.advance(50)  # type: ignore[attr-defined]
    assert ledger.deliveries.claim("PACS", lease_seconds=LEASE) == []
    assert ledger.deliveries.next_due("PACS") == clock() + 10
    ledger.deliveries.mark_delivered(held[0])
    assert ledger.deliveries.renew(held[1:], lease_seconds=60), "what is sent is no longer held, and need not be"


def test_every_move_of_a_delivery_that_the_table_does_not_have_is_refused(
    ledger: Ledger, outbox: Callable[..., list[Delivery]], arrival: Arrive
) -> None:
    late = itertools.count(2)
    moves: Mapping[str, Callable[[Delivery], object]] = {
        "deliver": ledger.deliveries.mark_delivered,
        "postpone": lambda sent: ledger.deliveries.postpone(sent, seconds=0, reason=""),
        "park": lambda sent: ledger.deliveries.park(sent, ""),
        "requeue": lambda sent: ledger.queries.requeue(sent.study_uid),
        "commit": ledger.commitments.commit,
        "resend": lambda sent: ledger.commitments.send_again(sent, seconds=0, reason=""),
        "abandon": lambda sent: ledger.commitments.abandon(sent, "", answered=True),
        "decline": lambda sent: ledger.deliveries.decline(sent, ""),
        "replace": lambda sent: ledger.fallbacks.replace(Declined(delivery=sent, job_id=1, objects=()), (), ""),
        "supplant": lambda sent: ledger.fallbacks.supplant(sent, (), ""),
        "exhaust": lambda sent: ledger.fallbacks.park(Declined(delivery=sent, job_id=1, objects=()), ""),
        "supersede": lambda _sent: ledger.instances.record([arrival(next(late))]),
    }
    assert set(moves) == {move for _, move in DELIVERY_MOVES}
    (sent,) = outbox()
    for state in DeliveryState:
        for move, make in moves.items():
            with ledger.db.writing() as connection:
                held = {"state": state.value, "worker": sent.worker}
                connection.execute(text("UPDATE delivery SET state = :state, worker = :worker"), held)
            make(sent)
            (after,) = ledger.deliveries.of(STUDY)
            assert after.state is DELIVERY_MOVES.get((state, move), state), f"{state} {move}"
