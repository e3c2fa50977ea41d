"""Destinations are asked to commit to what was delivered, until they do."""

from collections.abc import Callable
from typing import Any

import pytest

from node.commands.check import check_caller
from node.commitment import (
    INVALID_ARGUMENT,
    NO_SUCH_EVENT_TYPE,
    NO_SUCH_INSTANCE,
)
from node.deliver.commitment_scu import FIRST_PATIENCE, LONGEST_PATIENCE, patience
from node.ledger.commitments import Commitments
from node.records import Address
from node.settings import Settings
from tests.commitment import COMMITTED, DAY, DELIVERED, PARKED, STUDY, WAITING, NodeEnds, QueueObjects, StartPacs

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom", "ignore::UserWarning:pynetdicom")


@pytest.mark.parametrize("answers", ["same", "new"])
def test_an_answer_on_the_same_or_on_a_new_association_commits(
    node: NodeEnds, start_pacs: StartPacs, queue_objects: QueueObjects, answers: str
) -> None:
    wanted, pacs = queue_objects(3), start_pacs(answers)
    node.outbox(pacs.address).deliver()
    assert node.states() == [DELIVERED] * 3
    assert node.scu(pacs.address).commit() is None
    assert [sorted(asked) for _, asked in pacs.asked] == [sorted(wanted)], "all in one transaction, with their classes"
    assert node.states() == [COMMITTED] * 3
    assert pacs.statuses == [0x0000]
    assert node.event_names().count("object.committed") == 3
    node.scu(pacs.address).commit()
    assert len(pacs.asked) == 1, "what is committed is not asked about again"
    assert bool(node.woken) is (answers == "new")


def test_a_late_answer_commits_when_it_comes_even_to_a_node_that_was_started_again(
    node: NodeEnds, start_pacs: StartPacs, queue_objects: QueueObjects, open_node: Callable[..., NodeEnds]
) -> None:
    queue_objects()
    pacs = start_pacs("late")
    node.outbox(pacs.address).deliver()
    assert node.scu(pacs.address, linger=0).commit() == pytest.approx(FIRST_PATIENCE)
    assert node.states() == [DELIVERED]
    node.receiver.stop()
    node.ledger.close()
    again = open_node()
    pacs.node = again.address
    assert pacs.answer() == 0x0000
    again.scu(pacs.address).commit()
    assert again.states() == [COMMITTED]
    assert len(pacs.asked) == 1


def test_a_node_that_dies_between_answer_and_row_moves_the_delivery_when_it_starts(
    node: NodeEnds, start_pacs: StartPacs, queue_objects: QueueObjects
) -> None:
    queue_objects()
    pacs = start_pacs("late")
    node.outbox(pacs.address).deliver()
    node.scu(pacs.address, linger=0).commit()
    pacs.answer()
    assert node.states() == [DELIVERED], "the answer is in the ledger, nothing has acted on it"
    node.scu(Address("ARCHIVE1", "127.0.0.1", 1)).commit()
    assert node.states() == [COMMITTED]


def test_objects_that_are_not_committed_are_sent_again_byte_for_byte(
    node: NodeEnds, start_pacs: StartPacs, queue_objects: QueueObjects
) -> None:
    (_, kept), (_, lost) = queue_objects(2)
    pacs = start_pacs()
    pacs.failing = {lost}
    node.outbox(pacs.address).deliver()
    node.scu(pacs.address).commit()
    assert node.states() == [COMMITTED, WAITING]
    assert node.rows()[1].reason == "PACS did not commit to it: no such object instance (0x0112)"
    pacs.failing.clear()
    assert node.outbox(pacs.address).deliver() is not None, "not at once"
    node.clock.advance(60)
    node.outbox(pacs.address).deliver()
    assert [uid for uid, _ in pacs.stored] == [kept, lost, lost]
    assert pacs.stored[1] == pacs.stored[2]
    node.scu(pacs.address).commit()
    assert [len(asked) for _, asked in pacs.asked] == [2, 1]
    assert node.states() == [COMMITTED, COMMITTED]


def test_an_object_that_is_never_committed_is_sent_for_days_and_then_parked_with_a_sentence(
    node: NodeEnds, start_pacs: StartPacs, queue_objects: QueueObjects
) -> None:
    ((_, lost),) = queue_objects()
    pacs = start_pacs()
    pacs.failing = {lost}
    rounds = 0
    while node.states() != [PARKED]:
        wait = node.outbox(pacs.address).deliver()
        node.scu(pacs.address, give_up=DAY / 8).commit()
        node.clock.advance(max(wait or 0.0, 1.0))
        rounds += 1
        assert rounds < 100
    assert 5 < len(pacs.stored) < 30, "growing delays"
    assert node.ledger.queries.parked() == [
        (
            STUDY,
            "delivery to PACS",
            "PACS did not commit to it in 0.125 days of sending it: no such object instance (0x0112)",
        )
    ]


def test_a_destination_that_never_answers_is_asked_at_growing_intervals_and_then_parked(
    node: NodeEnds, start_pacs: StartPacs, queue_objects: QueueObjects
) -> None:
    queue_objects()
    pacs = start_pacs("never")
    node.outbox(pacs.address).deliver()
    while (wait := node.scu(pacs.address, linger=0).commit()) is not None:
        node.clock.advance(wait)
    assert 10 < len(pacs.asked) < 50
    assert len({transaction for transaction, _ in pacs.asked}) == len(pacs.asked)
    assert len(pacs.stored) == 1
    assert node.states() == [PARKED]
    assert node.rows()[0].reason == (
        f"stored, but never committed: PACS was asked {len(pacs.asked)} times in 7 days; it gave no answer"
    )
    assert pacs.answer(number=0) == 0x0000
    node.scu(pacs.address).commit()
    assert node.states() == [COMMITTED], "a late answer to the first question counts"


def test_the_wait_for_an_answer_grows_up_to_a_limit() -> None:
    waits = [patience(requests) for requests in range(100)]
    assert waits[:3] == [FIRST_PATIENCE, 2 * FIRST_PATIENCE, 4 * FIRST_PATIENCE]
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_PATIENCE


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"commits": False}, "does not accept Storage Commitment"),
        ({"status": 0x0213, "answers": "never"}, "refused the request for commitment: resource limitation (0x0213)"),
    ],
)
def test_a_destination_that_does_not_take_the_question_is_asked_again(
    node: NodeEnds, start_pacs: StartPacs, queue_objects: QueueObjects, options: dict[str, Any], reason: str
) -> None:
    queue_objects()
    pacs = start_pacs(**options)
    node.outbox(pacs.address).deliver()
    wait = node.scu(pacs.address, linger=0).commit()
    assert wait is not None
    assert 0 < wait < 10
    assert node.states() == [DELIVERED]
    assert reason in node.rows()[0].reason
    node.clock.advance(8 * DAY)
    node.scu(pacs.address, linger=0).commit()
    assert node.states() == [PARKED]
    assert reason in node.rows()[0].reason


def test_a_destination_that_is_down_is_asked_again(
    node: NodeEnds, start_pacs: StartPacs, queue_objects: QueueObjects
) -> None:
    queue_objects()
    pacs = start_pacs()
    node.outbox(pacs.address).deliver()
    wait = node.scu(Address("ARCHIVE1", "127.0.0.1", 1), linger=0).commit()
    assert wait is not None
    assert node.states() == [DELIVERED]
    node.clock.advance(wait)
    node.scu(pacs.address).commit()
    assert node.states() == [COMMITTED]


def test_a_repeated_answer_is_harmless(node: NodeEnds, start_pacs: StartPacs, queue_objects: QueueObjects) -> None:
    queue_objects()
    pacs = start_pacs("new")
    node.outbox(pacs.address).deliver()
    node.scu(pacs.address).commit()
    before = node.event_names()
    pacs.failing = {pacs.asked[0][1][0][1]}
    assert [pacs.answer(), pacs.answer()] == [0x0000, 0x0000]
    node.scu(pacs.address).commit()
    assert (node.states(), node.event_names()) == ([COMMITTED], before)


@pytest.mark.parametrize(
    ("other", "status"),
    [
        ({"transaction": "2.25.404"}, INVALID_ARGUMENT),
        ({"transaction": ""}, INVALID_ARGUMENT),
        ({"calling": "STRANGER"}, INVALID_ARGUMENT),
        ({"event": 3}, NO_SUCH_EVENT_TYPE),
        ({"instance": "1.2.3"}, NO_SUCH_INSTANCE),
    ],
)
def test_an_answer_that_is_not_the_destinations_to_give_is_refused(
    node: NodeEnds, start_pacs: StartPacs, queue_objects: QueueObjects, other: dict[str, Any], status: int
) -> None:
    queue_objects()
    pacs = start_pacs("late")
    node.outbox(pacs.address).deliver()
    node.scu(pacs.address, linger=0).commit()
    assert pacs.answer(**other) == status
    node.scu(pacs.address, linger=0).commit()
    assert node.states() == [DELIVERED]


def test_an_answer_while_the_ledger_cannot_be_written_is_to_be_repeated(
    node: NodeEnds, start_pacs: StartPacs, queue_objects: QueueObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    from node.errors import LedgerUnavailable

    queue_objects()
    pacs = start_pacs("late")
    node.outbox(pacs.address).deliver()
    node.scu(pacs.address, linger=0).commit()

    def fail(*_: object) -> None:
        raise LedgerUnavailable("it is locked")

    with monkeypatch.context() as broken:
        broken.setattr(Commitments, "record_answer", fail)
        assert pacs.answer() == 0x0110
    assert pacs.answer() == 0x0000
    node.scu(pacs.address).commit()
    assert node.states() == [COMMITTED]


def test_a_peer_that_may_not_call_cannot_answer(
    open_node: Callable[..., NodeEnds], start_pacs: StartPacs, queue_objects: QueueObjects
) -> None:
    closed = open_node(accept_from=["SOMEBODY@127.0.0.1"])
    queue_objects()
    pacs = start_pacs("late")
    closed.outbox(pacs.address).deliver()
    closed.scu(pacs.address, linger=0).commit()
    pacs.node = closed.address
    assert pacs.answer() is None
    assert closed.states() == [DELIVERED]


@pytest.mark.parametrize(
    ("accept_from", "sentence"),
    [
        ((), None),
        (("ARCHIVE1@127.0.0.1",), None),
        (("CT1@10.0.0.11",), "address 127.0.0.1 is not in receive.accept_from; add ARCHIVE1@127.0.0.1 to it"),
        (
            ("CT1@127.0.0.1",),
            "calling AE title 'ARCHIVE1' at 127.0.0.1 is not in receive.accept_from; add ARCHIVE1@127.0.0.1 to it",
        ),
    ],
)
def test_check_reports_a_destination_whose_commitment_answers_would_be_rejected(
    accept_from: tuple[str, ...], sentence: str | None
) -> None:
    settings = Settings.model_validate(
        {
            "receive": {"accept_from": accept_from},
            "destinations": {"PACS": {"address": "ARCHIVE1@127.0.0.1:104", "commitment": True}},
        }
    )
    said = check_caller(settings, "PACS", "its Storage Commitment answers")
    assert said == (
        sentence and f"destination PACS: its Storage Commitment answers would be rejected, since {sentence}"
    )
