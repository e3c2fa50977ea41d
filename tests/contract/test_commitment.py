"""What the ledger remembers of Storage Commitment, asked and answered: one suite for every database."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from node.errors import UnknownTransaction
from node.ledger import Ledger
from node.records import (
    Arrival,
    CommitmentRequest,
    CommitmentResult,
    Delivery,
    DeliveryState,
    Plan,
    Reference,
    ResultObject,
)
from tests.conftest import Clock

STUDY = "1.2.1"
WAITING, DELIVERED, COMMITTED, _, _, PARKED, _ = DeliveryState
CT = "1.2.840.10008.5.1.4.1.1.2"
Deliver = Callable[..., list[Delivery]]


def patience(asks: int) -> float:
    return 100.0 * (asks + 1)


@pytest.fixture
def deliver(
    ledger: Ledger, routed: Callable[..., int], wanted: Callable[..., Plan], result: Callable[..., ResultObject]
) -> Deliver:
    """Deliver objects to destinations that are asked for commitment, or not; return what PACS is to be asked about."""

    def make(count: int = 1, *, to: tuple[str, ...] = ("PACS",), commitment: bool = True) -> list[Delivery]:
        routed(wanted(to=to))
        job = ledger.jobs.claim(lease_seconds=60)
        assert job is not None
        ledger.jobs.finish(job, [result(number) for number in range(1, count + 1)])
        for destination in to:
            for sent in ledger.deliveries.claim(destination, lease_seconds=60):
                ledger.deliveries.mark_delivered(sent, commitment=commitment)
        return ledger.commitments.due("PACS")

    return make


def reference(delivery: Delivery) -> Reference:
    return Reference(delivery.object.sop_class_uid, delivery.object.sop_instance_uid)


def answer(
    transaction: str, committed: Sequence[Delivery] = (), failed: Sequence[Delivery] = (), reason: int = 0x0112
) -> CommitmentResult:
    return CommitmentResult(
        transaction_uid=transaction,
        committed=tuple(reference(delivery) for delivery in committed),
        failed=tuple((reference(delivery), reason) for delivery in failed),
    )


def ask(ledger: Ledger, about: Sequence[Delivery], transaction: str = "2.25.1") -> list[Delivery]:
    return ledger.commitments.ask(transaction, "ORTHANC", about, wait=patience)


def states(ledger: Ledger, destination: str = "PACS") -> list[DeliveryState]:
    found = [delivery for delivery in ledger.deliveries.of(STUDY) if delivery.destination == destination]
    return [delivery.state for delivery in sorted(found, key=lambda delivery: delivery.object.sop_instance_uid)]


def event_names(ledger: Ledger) -> list[str]:
    return [event.name for _, event in ledger.events.read(STUDY)]


# Asked of destinations.


def test_only_what_is_delivered_to_a_destination_that_commits_is_asked_about(ledger: Ledger, deliver: Deliver) -> None:
    assert deliver(commitment=False) == []
    assert ledger.commitments.next_due("PACS") is None


def test_what_is_delivered_is_due_to_be_asked_about_at_once(ledger: Ledger, deliver: Deliver, clock: Clock) -> None:
    due = deliver(2)
    assert [delivery.object.sop_instance_uid for delivery in due] == ["2.25.1", "2.25.2"]
    assert ledger.commitments.next_due("PACS") == clock()
    assert {(delivery.asks, delivery.delivered_at) for delivery in due} == {(0, clock())}
    assert ledger.commitments.due("ARCHIVE") == []


def test_what_was_asked_about_is_asked_again_later_and_later(ledger: Ledger, deliver: Deliver, clock: Clock) -> None:
    due = deliver()
    assert ask(ledger, due) == due
    assert ledger.commitments.due("PACS") == []
    assert ledger.commitments.next_due("PACS") == clock() + 100
    clock.advance(100)
    again = ledger.commitments.due("PACS")
    assert [delivery.asks for delivery in again] == [1]
    ask(ledger, again, "2.25.2")
    assert ledger.commitments.next_due("PACS") == clock() + 200


def test_two_processes_do_not_ask_about_the_same(ledger: Ledger, deliver: Deliver) -> None:
    due = deliver()
    ask(ledger, due)
    assert ask(ledger, due, "2.25.2") == []
    with pytest.raises(UnknownTransaction):
        ledger.commitments.record_answer(answer("2.25.2", due), "ORTHANC")


def test_a_request_that_did_not_arrive_is_sent_again_at_its_time(
    ledger: Ledger, deliver: Deliver, clock: Clock
) -> None:
    deliver(2, to=("PACS", "ARCHIVE"))
    ask(ledger, ledger.commitments.due("PACS"))
    before = ledger.commitments.due("ARCHIVE")
    ledger.commitments.ask_again("2.25.1", seconds=3, reason="nobody listens")
    assert ledger.commitments.next_due("PACS") == clock() + 3
    assert ledger.commitments.due("ARCHIVE") == before
    clock.advance(3)
    assert [delivery.reason for delivery in ledger.commitments.due("PACS")] == ["nobody listens"] * 2


def test_an_answer_is_kept_until_its_deliveries_have_moved(ledger: Ledger, deliver: Deliver) -> None:
    first, second, third = due = deliver(3)
    ask(ledger, due)
    assert not ledger.commitments.is_answered("2.25.1")
    ledger.commitments.record_answer(answer("2.25.1", [first], [second]), "ORTHANC")
    assert ledger.commitments.is_answered("2.25.1")
    assert [(sent.object, result) for sent, result in ledger.commitments.answered("PACS")] == [
        (first.object, 0),
        (second.object, 0x112),
    ]
    assert ledger.commitments.answered("ARCHIVE") == []
    ledger.commitments.commit(first)
    ledger.commitments.send_again(second, seconds=5, reason="no such object instance")
    assert ledger.commitments.answered("PACS") == []
    assert states(ledger) == [COMMITTED, WAITING, DELIVERED]
    assert event_names(ledger)[-2:] == ["object.committed", "object.uncommitted"]
    ledger.commitments.record_answer(answer("2.25.1", [third]), "ORTHANC")
    assert [sent.object for sent, _ in ledger.commitments.answered("PACS")] == [third.object], (
        "what it left open can still come"
    )


def test_a_repeated_answer_changes_nothing(ledger: Ledger, deliver: Deliver) -> None:
    due = deliver()
    ask(ledger, due)
    ledger.commitments.record_answer(answer("2.25.1", due), "ORTHANC")
    ledger.commitments.record_answer(answer("2.25.1", [], due), "ORTHANC")
    assert [result for _, result in ledger.commitments.answered("PACS")] == [0]
    ledger.commitments.commit(due[0])
    before = event_names(ledger)
    ledger.commitments.record_answer(answer("2.25.1", [], due), "ORTHANC")
    ledger.commitments.commit(due[0])
    assert (ledger.commitments.answered("PACS"), states(ledger), event_names(ledger)) == ([], [COMMITTED], before)


def test_an_answer_of_a_stranger_is_refused(ledger: Ledger, deliver: Deliver) -> None:
    due = deliver()
    ask(ledger, due)
    with pytest.raises(UnknownTransaction, match=r"2\.25\.9, which this node never began"):
        ledger.commitments.record_answer(answer("2.25.9", due), "ORTHANC")
    with pytest.raises(UnknownTransaction, match=r"which ORTHANC was asked in"):
        ledger.commitments.record_answer(answer("2.25.1", due), "STRANGER")
    assert ledger.commitments.answered("PACS") == []
    assert not ledger.commitments.is_answered("2.25.1")


def test_an_answer_about_what_was_not_asked_is_left(ledger: Ledger, deliver: Deliver) -> None:
    first, second = deliver(2)
    ask(ledger, [first])
    ledger.commitments.record_answer(answer("2.25.1", [first, second]), "ORTHANC")
    assert [sent.object for sent, _ in ledger.commitments.answered("PACS")] == [first.object]


def test_a_failure_outweighs_a_commitment_in_the_same_answer(ledger: Ledger, deliver: Deliver) -> None:
    due = deliver()
    ask(ledger, due)
    ledger.commitments.record_answer(answer("2.25.1", due, due), "ORTHANC")
    assert [result for _, result in ledger.commitments.answered("PACS")] == [0x112]


def test_each_destination_commits_to_its_own_copy(ledger: Ledger, deliver: Deliver) -> None:
    due = deliver(to=("PACS", "ARCHIVE"))
    ask(ledger, due)
    ledger.commitments.ask("2.25.2", "VNA", ledger.commitments.due("ARCHIVE"), wait=patience)
    ledger.commitments.record_answer(answer("2.25.1", due), "ORTHANC")
    ledger.commitments.record_answer(answer("2.25.2", [], due), "VNA")
    ((kept, _),) = ledger.commitments.answered("PACS")
    ledger.commitments.commit(kept)
    assert states(ledger) == [COMMITTED]
    ((lost, reason),) = ledger.commitments.answered("ARCHIVE")
    assert (lost.destination, reason) == ("ARCHIVE", 0x112)


def test_a_failure_settles_every_earlier_question(ledger: Ledger, deliver: Deliver, clock: Clock) -> None:
    """An old success that comes after a newer failure must not keep the object from being sent again."""
    due = deliver()
    ask(ledger, due)
    clock.advance(100)
    ask(ledger, ledger.commitments.due("PACS"), "2.25.2")
    ledger.commitments.record_answer(answer("2.25.2", [], due), "ORTHANC")
    ledger.commitments.send_again(due[0], seconds=0, reason="no such object instance")
    ledger.commitments.record_answer(answer("2.25.1", due), "ORTHANC")
    assert ledger.commitments.answered("PACS") == []
    assert states(ledger) == [WAITING]


def test_what_is_sent_again_is_asked_about_afresh(ledger: Ledger, deliver: Deliver, clock: Clock) -> None:
    due = deliver()
    ask(ledger, due)
    ledger.commitments.send_again(due[0], seconds=7, reason="no such object instance")
    assert ledger.commitments.due("PACS") == []
    assert ledger.deliveries.next_due("PACS") == clock() + 7
    clock.advance(7)
    (sent,) = ledger.deliveries.claim("PACS", lease_seconds=60)
    assert (sent.object, sent.attempts, sent.queued_at) == (due[0].object, 1, due[0].queued_at)
    ledger.deliveries.mark_delivered(sent, commitment=True)
    (fresh,) = ledger.commitments.due("PACS")
    assert (fresh.asks, fresh.delivered_at, fresh.attempts) == (0, clock(), 2)


@pytest.mark.parametrize("answered", [True, False])
def test_a_late_answer_counts_for_what_was_only_never_answered(
    ledger: Ledger, deliver: Deliver, answered: bool
) -> None:
    due = deliver()
    ask(ledger, due)
    ledger.commitments.abandon(due[0], "never committed", answered=answered)
    assert ledger.queries.parked() == [(STUDY, "delivery to PACS", "never committed")]
    ledger.commitments.record_answer(answer("2.25.1", due), "ORTHANC")
    for sent, _ in ledger.commitments.answered("PACS"):
        ledger.commitments.commit(sent)
    assert states(ledger) == [PARKED if answered else COMMITTED]


def test_what_is_abandoned_can_be_requeued_and_is_sent_again(ledger: Ledger, deliver: Deliver) -> None:
    due = deliver()
    ledger.commitments.abandon(due[0], "never committed", answered=False)
    assert ledger.queries.requeue()["deliveries"] == 1
    assert [delivery.object for delivery in ledger.deliveries.claim("PACS", lease_seconds=60)] == [due[0].object]


def test_a_destination_that_has_committed_has_delivered(ledger: Ledger, deliver: Deliver) -> None:
    (sent,) = deliver()
    ledger.commitments.commit(sent)
    assert ledger.deliveries.has_delivered("PACS")


# Asked by senders.


def request(clock: Clock, *uids: str, transaction: str = "2.25.5", calling: str = "CT1") -> CommitmentRequest:
    return CommitmentRequest(
        transaction_uid=transaction,
        calling=calling,
        references=tuple(Reference(CT, uid) for uid in uids or ("1.2.1.9.1",)),
        received_at=clock(),
        attempts=0,
    )


def all_committed(request: CommitmentRequest) -> CommitmentResult:
    return CommitmentResult(transaction_uid=request.transaction_uid, committed=request.references, failed=())


def test_a_request_is_due_until_it_is_reported(ledger: Ledger, clock: Clock, arrival: Callable[..., Arrival]) -> None:
    ledger.instances.record([arrival(1)])
    asked = request(clock)
    ledger.requests.add(asked, seconds=5)
    assert ledger.requests.claim_due(seconds=60) is None
    assert ledger.requests.next_due() == clock() + 5
    clock.advance(5)
    assert ledger.requests.claim_due(seconds=60) == asked
    assert ledger.requests.claim_due(seconds=60) is None, "another process has it"
    ledger.requests.postpone(asked, seconds=10, reason="nobody listens")
    clock.advance(10)
    again = ledger.requests.claim_due(seconds=60)
    assert again == replace(asked, attempts=1)
    ledger.requests.mark_reported(asked, all_committed(asked))
    assert ledger.requests.next_due() is None
    assert [event.detail for _, event in ledger.events.read(STUDY)][-1] == (
        "to CT1, transaction 2.25.5: 1 committed, 0 not"
    )


def test_a_process_that_dies_while_it_reports_leaves_the_request_to_the_next(ledger: Ledger, clock: Clock) -> None:
    asked = request(clock)
    ledger.requests.add(asked, seconds=0)
    ledger.requests.claim_due(seconds=60)
    clock.advance(60)
    assert ledger.requests.claim_due(seconds=60) == replace(asked, attempts=1)


def test_the_process_that_holds_the_association_takes_its_request_first_and_once(ledger: Ledger, clock: Clock) -> None:
    asked = request(clock)
    ledger.requests.add(asked, seconds=5)
    assert ledger.requests.claim("2.25.5", "OTHER", seconds=60) is None
    assert ledger.requests.claim("2.25.5", "CT1", seconds=60) == asked
    assert ledger.requests.claim("2.25.5", "CT1", seconds=60) is None
    clock.advance(5)
    assert ledger.requests.claim_due(seconds=60) is None


def test_the_same_request_again_is_reported_again_and_another_under_its_uid_is_refused(
    ledger: Ledger, clock: Clock
) -> None:
    asked = request(clock)
    ledger.requests.add(asked, seconds=0)
    ledger.requests.mark_reported(asked, all_committed(asked))
    ledger.requests.add(asked, seconds=0)
    assert ledger.requests.claim_due(seconds=60) == asked
    with pytest.raises(UnknownTransaction, match="again, for other instances"):
        ledger.requests.add(request(clock, "1.2.1.9.2"), seconds=0)
    ledger.requests.add(request(clock, "1.2.1.9.2", calling="CT2"), seconds=0)
    assert ledger.requests.claim_due(seconds=60) == request(clock, "1.2.1.9.2", calling="CT2")


def test_only_instances_with_a_row_are_committed(ledger: Ledger, arrival: Callable[..., Arrival]) -> None:
    arrivals = [arrival(number) for number in range(1, 1202)]
    ledger.instances.record(arrivals)
    asked = [Reference(CT, f"{STUDY}.9.{number}") for number in range(1, 1301)]
    found = ledger.instances.find(asked)
    assert len(found) == 1201
    assert found[f"{STUDY}.9.1201"] == [(CT, arrivals[-1].place)]
