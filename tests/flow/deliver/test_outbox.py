"""Objects to a peer that answers in every way a PACS can: each ends in a row, and nothing is sent twice."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from pydicom.uid import (
    SegmentationStorage,
)
from pynetdicom.sop_class import Verification

from node.deliver.outbox import FIRST_DELAY, JITTER, LONGEST_DELAY, delay
from node.engine import Engine, Step
from node.ledger import Ledger
from node.records import Address, Arrival, DeliveryState
from node.spool import Spool
from tests.delivering import (
    DAY,
    DELIVERED,
    PARKED,
    STUDY,
    UNSUPPORTED,
    WAITING,
    MakeOutbox,
    QueueObjects,
    StartPeer,
    rows,
    states,
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom", "ignore::UserWarning:pynetdicom")


def test_due_objects_are_stored_once_over_one_association(
    ledger: Ledger, start_peer: StartPeer, queue_objects: QueueObjects, outbox: MakeOutbox
) -> None:
    peer, uids = start_peer(), queue_objects(3)
    assert outbox(peer.address).deliver() is None
    assert peer.stored == uids
    assert peer.calling == ["ISOCENTER"]
    assert states(ledger) == [DELIVERED] * 3
    outbox(peer.address).deliver()
    assert peer.stored == uids
    assert peer.calling == ["ISOCENTER"], "nobody is called again"


def test_no_association_is_opened_when_nothing_is_due(start_peer: StartPeer, outbox: MakeOutbox) -> None:
    peer = start_peer()
    assert outbox(peer.address).deliver() is None
    assert peer.calling == []


@pytest.mark.parametrize(
    ("status", "state", "reason"),
    [
        (0x0000, DELIVERED, ""),
        (0xB000, DELIVERED, "stored with warning 0xB000"),
        (0xB007, DELIVERED, "stored with warning 0xB007"),
        (0xA700, WAITING, "out of resources (0xA700)"),
        (0x0110, WAITING, "processing failure (0x0110)"),
        (0xA900, PARKED, "PACS refused it: data set does not match the SOP class (0xA900)"),
        (0xC000, PARKED, "PACS refused it: cannot understand (0xC000)"),
        (0xC123, PARKED, "PACS refused it: cannot understand (0xC123)"),
        (0x0122, UNSUPPORTED, "PACS does not take it: SOP class not supported (0x0122)"),
        (0x0124, PARKED, "PACS refused it: not authorised (0x0124)"),
    ],
)
def test_each_status_leads_to_its_row(
    ledger: Ledger,
    start_peer: StartPeer,
    queue_objects: QueueObjects,
    outbox: MakeOutbox,
    status: int,
    state: DeliveryState,
    reason: str,
) -> None:
    first, second = queue_objects(2)
    peer = start_peer(answers={first: status})
    while (wait := outbox(peer.address).deliver()) is not None and wait <= 0:
        assert state is UNSUPPORTED, "only what is declined ends a pass, for the sake of what follows from it"
    assert (rows(ledger)[first].state, rows(ledger)[first].reason) == (state, reason)
    assert rows(ledger)[second].state is DELIVERED, "the answer to one is not the answer to the next"


def test_an_object_superseded_during_a_delivery_is_not_sent(
    ledger: Ledger,
    start_peer: StartPeer,
    queue_objects: QueueObjects,
    outbox: MakeOutbox,
    arrival: Callable[..., Arrival],
) -> None:
    """The first object is on its way when the study grows; the second has not left, though it was claimed with it."""
    first, second = queue_objects(2)
    peer = start_peer()
    peer.meanwhile = lambda: ledger.instances.record([arrival(2)])
    assert outbox(peer.address).deliver() is None
    assert peer.stored == [first]
    assert (rows(ledger)[first].state, rows(ledger)[second].state) == (DELIVERED, DeliveryState.SUPERSEDED)
    assert peer.calling == ["ISOCENTER"]


def test_an_object_refused_for_lack_of_resources_is_sent_again_when_it_is_due(
    ledger: Ledger, start_peer: StartPeer, queue_objects: QueueObjects, outbox: MakeOutbox, clock: Any
) -> None:
    (uid,) = queue_objects()
    peer = start_peer(answers={uid: 0xA700})
    wait = outbox(peer.address).deliver()
    assert wait is not None
    assert FIRST_DELAY * (1 - JITTER) <= wait <= FIRST_DELAY * (1 + JITTER)
    peer.answers.clear()
    assert outbox(peer.address).deliver() == pytest.approx(wait), "it is not due yet"
    assert peer.stored == []
    clock.advance(wait)
    assert outbox(peer.address).deliver() is None
    assert peer.stored == [uid]


def test_an_association_lost_in_the_middle_keeps_what_was_stored(
    ledger: Ledger, start_peer: StartPeer, queue_objects: QueueObjects, outbox: MakeOutbox, clock: Any
) -> None:
    first, second, third = queue_objects(3)
    peer = start_peer(answers={second: "abort"})
    wait = outbox(peer.address).deliver()
    assert states(ledger) == [DELIVERED, WAITING, WAITING]
    assert f"gave no answer to instance {second}" in rows(ledger)[second].reason
    peer.answers.clear()
    assert wait is not None
    clock.advance(wait * 2)
    outbox(peer.address).deliver()
    assert states(ledger) == [DELIVERED] * 3
    assert sorted(peer.stored) == sorted([first, second, third]), "each once"


def test_a_peer_that_hangs_is_left_after_the_time_out(
    ledger: Ledger, start_peer: StartPeer, queue_objects: QueueObjects, outbox: MakeOutbox
) -> None:
    first, _ = queue_objects(2)
    peer = start_peer(answers={first: "hang"})
    wait = outbox(peer.address, seconds=0.5).deliver()
    assert wait is not None
    assert states(ledger) == [WAITING, WAITING]
    assert peer.stored == []


def test_a_peer_that_rejects_is_tried_again(
    ledger: Ledger, start_peer: StartPeer, queue_objects: QueueObjects, outbox: MakeOutbox
) -> None:
    queue_objects(2)
    peer = start_peer(rejects=True)
    assert outbox(peer.address).deliver() is not None
    assert states(ledger) == [WAITING, WAITING]
    (reason,) = {delivery.reason for delivery in rows(ledger).values()}
    assert reason == f"{peer.address}: the association was rejected: Calling AE title not recognised"


def test_a_peer_that_is_down_is_tried_again(
    ledger: Ledger, queue_objects: QueueObjects, outbox: MakeOutbox, free_port: int
) -> None:
    queue_objects()
    address = Address("PEER", "127.0.0.1", free_port)
    assert outbox(address, seconds=2).deliver() is not None
    assert states(ledger) == [WAITING]
    (row,) = rows(ledger).values()
    assert row.reason == f"{address}: nothing listens there"
    assert row.attempts == 1


def test_a_host_that_nobody_knows_is_tried_again(
    ledger: Ledger, queue_objects: QueueObjects, outbox: MakeOutbox
) -> None:
    queue_objects()
    assert outbox(Address("PEER", "no.such.host.invalid", 104), seconds=2).deliver() is not None
    assert states(ledger) == [WAITING]


def test_a_sop_class_that_is_not_taken_is_unsupported(
    ledger: Ledger, start_peer: StartPeer, queue_objects: QueueObjects, outbox: MakeOutbox
) -> None:
    (uid,) = queue_objects()
    peer = start_peer(classes=(Verification,))
    assert outbox(peer.address).deliver() is None
    assert states(ledger) == [UNSUPPORTED]
    assert rows(ledger)[uid].reason == "PACS does not take it: SOP class CT Image Storage is not accepted"


def test_a_class_that_is_not_accepted_delays_other_classes_only_until_it_is_handled(
    ledger: Ledger, start_peer: StartPeer, queue_objects: QueueObjects, outbox: MakeOutbox
) -> None:
    first, _ = queue_objects(2)
    with ledger.db.writing() as connection:
        connection.exec_driver_sql(
            "UPDATE object SET sop_class_uid = ? WHERE sop_instance_uid = ?", (str(SegmentationStorage), first)
        )
    peer = start_peer()
    assert outbox(peer.address).deliver() <= 0
    assert states(ledger) == [UNSUPPORTED, WAITING]
    assert outbox(peer.address).deliver() is None
    assert states(ledger) == [UNSUPPORTED, DELIVERED]


def test_a_file_that_is_gone_is_parked_and_the_others_go(
    ledger: Ledger, spool: Spool, start_peer: StartPeer, queue_objects: QueueObjects, outbox: MakeOutbox
) -> None:
    first, second = queue_objects(2)
    (spool.path / rows(ledger)[first].object.path).unlink()
    peer = start_peer()
    outbox(peer.address).deliver()
    assert peer.stored == [second]
    assert rows(ledger)[first].state is PARKED
    assert "its file is gone from the spool" in rows(ledger)[first].reason


def test_a_file_that_is_damaged_is_parked_and_the_others_go(
    ledger: Ledger, spool: Spool, start_peer: StartPeer, queue_objects: QueueObjects, outbox: MakeOutbox
) -> None:
    first, second = queue_objects(2)
    (spool.path / rows(ledger)[first].object.path).write_bytes(b"no DICOM at all")
    peer = start_peer()
    outbox(peer.address).deliver()
    assert peer.stored == [second]
    assert states(ledger) == [PARKED, DELIVERED]


def test_a_delivery_that_fails_for_days_is_parked_and_can_be_requeued(
    ledger: Ledger, start_peer: StartPeer, queue_objects: QueueObjects, outbox: MakeOutbox, clock: Any, free_port: int
) -> None:
    (uid,) = queue_objects()
    address = Address("PEER", "127.0.0.1", free_port)
    tries = 0
    while states(ledger) == [WAITING]:
        wait = outbox(address, seconds=2, give_up=DAY / 2).deliver()
        clock.advance(wait or 0.0)
        tries += 1
        assert tries < 100
    assert 10 < tries < 40, "growing delays: a day has few of them"
    assert ledger.queries.parked() == [
        (
            STUDY,
            "delivery to PACS",
            f"not stored in 0.5 days of trying: {address}: nothing listens there",
        )
    ]
    peer = start_peer(port=free_port)
    ledger.queries.requeue(STUDY)
    outbox(peer.address).deliver()
    assert peer.stored == [uid]


def test_a_dead_destination_changes_no_row_of_another(
    ledger: Ledger, start_peer: StartPeer, queue_objects: QueueObjects, outbox: MakeOutbox, free_port: int
) -> None:
    uids = queue_objects(2, to=("PACS", "ARCHIVE"))
    outbox(Address("PEER", "127.0.0.1", free_port), seconds=2).deliver()
    assert [delivery.attempts for delivery in rows(ledger, "ARCHIVE").values()] == [0, 0]
    peer = start_peer()
    assert outbox(peer.address, destination="ARCHIVE").deliver() is None
    assert peer.stored == uids
    assert states(ledger, "ARCHIVE") == [DELIVERED] * 2
    assert states(ledger) == [WAITING] * 2


def test_more_than_one_batch_is_sent(
    ledger: Ledger, start_peer: StartPeer, queue_objects: QueueObjects, outbox: MakeOutbox
) -> None:
    uids = queue_objects(105)
    peer = start_peer()
    assert outbox(peer.address).deliver() is None
    assert sorted(peer.stored) == sorted(uids)
    assert len(peer.calling) == 2


def test_delays_grow_to_an_hour_and_vary_by_a_fifth() -> None:
    middle = [delay(attempts, chance=lambda: 0.5) for attempts in range(2000)]
    assert middle[:4] == [FIRST_DELAY, 2 * FIRST_DELAY, 4 * FIRST_DELAY, 8 * FIRST_DELAY]
    assert middle == sorted(middle)
    assert middle[-1] == LONGEST_DELAY
    for attempts in (0, 5, 1000):
        low, high = (delay(attempts, chance=lambda chance=chance: chance) for chance in (0.0, 1.0))  # type: ignore[misc]
        assert (low, high) == pytest.approx((middle[attempts] * (1 - JITTER), middle[attempts] * (1 + JITTER)))
    assert len({delay(3) for _ in range(20)}) > 1


def test_a_hanging_and_a_dead_destination_delay_a_healthy_one_by_nothing(
    ledger: Ledger, start_peer: StartPeer, queue_objects: QueueObjects, outbox: MakeOutbox, free_port: int
) -> None:
    """The healthy destination has all objects while the hanging one still holds its first and the dead one is away."""
    uids = queue_objects(3, to=("HANGING", "DEAD", "PACS"))
    hanging, healthy = start_peer(answers={uids[0]: "hang"}), start_peer()
    outboxes = [
        outbox(hanging.address, destination="HANGING", seconds=60),
        outbox(Address("DEAD", "127.0.0.1", free_port), destination="DEAD"),
        outbox(healthy.address),
    ]
    engine = Engine([Step(name=each.destination, work=each.deliver) for each in outboxes])
    engine.start()
    try:
        until = time.monotonic() + 20
        while states(ledger) != [DELIVERED] * 3 or not all(
            delivery.reason for delivery in rows(ledger, "DEAD").values()
        ):
            assert time.monotonic() < until, "the healthy destination waited"
            time.sleep(0.02)
        assert not hanging.release.is_set(), "it still hangs"
        assert states(ledger, "HANGING") == [WAITING] * 3
        assert states(ledger, "DEAD") == [WAITING] * 3
        assert healthy.stored == uids
    finally:
        hanging.release.set()
        engine.stop()
    assert states(ledger, "HANGING") == [DELIVERED] * 3
