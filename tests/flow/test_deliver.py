"""Objects to a peer that answers in every way a PACS can: each ends in a row, and nothing is sent twice."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SegmentationStorage,
)
from pynetdicom import AE, build_context, evt
from pynetdicom.sop_class import Verification

from node.deliver import Outbox, StoreOutcome, echo, readable, send
from node.deliver.association import OpenAssociation, QuickAckSocket, ReactorCheckpoint
from node.deliver.outbox import FIRST_DELAY, JITTER, LONGEST_DELAY, delay
from node.deliver.storescu import STATUS, result_of
from node.engine import Engine, Step
from node.errors import ConfigError, DestinationUnavailable
from node.ledger import Ledger
from node.records import Address, Delivery, DeliveryState, Plan, ResultObject
from node.spool import Spool
from node.testing import ct_series, write
from tests.scp import start_scp

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom", "ignore::UserWarning:pynetdicom")

STUDY = "1.2.1"
DAY = 86400.0


@dataclass
class Peer:
    """A Storage SCP that answers each instance as it was told to, and success else."""

    port: int
    answers: dict[str, int | str] = field(default_factory=dict)
    stored: list[str] = field(default_factory=list)
    datasets: list[Dataset] = field(default_factory=list)
    calling: list[str] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)

    @property
    def address(self) -> Address:
        return Address("PEER", "127.0.0.1", self.port)

    def answer(self, event: evt.Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        answer = self.answers.get(uid, 0x0000)
        if answer == "abort":
            event.assoc.abort()
            return 0x0000
        if answer == "hang":
            self.release.wait(30)
            return 0x0000
        assert isinstance(answer, int)
        if answer in (0x0000, 0xB000):
            self.stored.append(uid)
            self.datasets.append(event.dataset)
            self.datasets[-1].file_meta = event.file_meta
        return answer


Start = Callable[..., Peer]


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[tuple[AE, Peer]] = []

    def made(
        *,
        classes: tuple[str, ...] = (CTImageStorage, Verification),
        syntaxes: tuple[str, ...] = (ExplicitVRLittleEndian, ImplicitVRLittleEndian),
        answers: Mapping[str, int | str] | None = None,
        port: int = 0,
        rejects: bool = False,
    ) -> Peer:
        entity = AE("PEER")
        for sop_class in classes:
            entity.add_supported_context(sop_class, list(syntaxes))
        if rejects:
            entity.require_calling_aet = ["SOMEBODY_ELSE"]
        peer = Peer(0, dict(answers or {}))
        handlers: list[Any] = [
            (evt.EVT_C_STORE, peer.answer),
            (evt.EVT_ACCEPTED, lambda event: peer.calling.append(event.assoc.requestor.ae_title)),
        ]
        peer.port = start_scp(entity, handlers, port=port)
        running.append((entity, peer))
        return peer

    yield made
    for entity, peer in running:
        peer.release.set()
        entity.shutdown()


@pytest.fixture
def queue(
    ledger: Ledger, spool: Spool, routed: Callable[..., int], wanted: Callable[..., Plan]
) -> Callable[..., list[str]]:
    """Finish a job with so many objects, CT images here, for destinations; return their UIDs as they will be sent."""

    def made(count: int = 1, *, to: tuple[str, ...] = ("PACS",)) -> list[str]:
        routed(wanted(to=to))
        job = ledger.claim(lease_seconds=60)
        assert job is not None
        objects = []
        for number, image in enumerate(ct_series(slices=count, rows=8, columns=8)):
            out = BytesIO()
            image.save_as(out, enforce_file_format=True)
            objects.append(
                ResultObject(
                    sop_instance_uid=str(image.SOPInstanceUID),
                    sop_class_uid=str(image.SOPClassUID),
                    series_uid=str(image.SeriesInstanceUID),
                    kind=f"CT{number}",
                    transfer_syntax_uid=str(ExplicitVRLittleEndian),
                    path=spool.keep(STUDY, f"{number}.dcm", out.getvalue()),
                )
            )
        assert ledger.finish(job, objects)
        return [made.sop_instance_uid for made in objects]

    return made


@pytest.fixture
def outbox(ledger: Ledger, spool: Spool, clock: Callable[[], float]) -> Callable[..., Outbox]:
    def made(address: Address, *, destination: str = "PACS", seconds: float = 10, give_up: float = 7 * DAY) -> Outbox:
        return Outbox(
            destination=destination,
            address=address,
            calling="ISOCENTER",
            seconds=seconds,
            give_up_seconds=give_up,
            ledger=ledger,
            spool=spool,
            clock=clock,
        )

    return made


Queue = Callable[..., list[str]]
Make = Callable[..., Outbox]


def rows(ledger: Ledger, destination: str = "PACS") -> dict[str, Delivery]:
    return {one.object.sop_instance_uid: one for one in ledger.deliveries(STUDY) if one.destination == destination}


def states(ledger: Ledger, destination: str = "PACS") -> list[DeliveryState]:
    found = sorted(rows(ledger, destination).values(), key=lambda one: one.object.kind)
    return [one.state for one in found]


WAITING, DELIVERED, PARKED = DeliveryState.WAITING, DeliveryState.DELIVERED, DeliveryState.PARKED
UNSUPPORTED = DeliveryState.UNSUPPORTED


def test_what_is_due_is_stored_over_one_association_and_never_again(
    ledger: Ledger, start: Start, queue: Queue, outbox: Make
) -> None:
    peer, uids = start(), queue(3)
    assert outbox(peer.address).deliver() is None
    assert peer.stored == uids
    assert peer.calling == ["ISOCENTER"]
    assert states(ledger) == [DELIVERED] * 3
    outbox(peer.address).deliver()
    assert peer.stored == uids
    assert peer.calling == ["ISOCENTER"], "nobody is called again"


def test_without_anything_due_nobody_is_called(start: Start, outbox: Make) -> None:
    peer = start()
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
    ledger: Ledger, start: Start, queue: Queue, outbox: Make, status: int, state: DeliveryState, reason: str
) -> None:
    one, two = queue(2)
    peer = start(answers={one: status})
    while (wait := outbox(peer.address).deliver()) is not None and wait <= 0:
        assert state is UNSUPPORTED, "only what is declined ends a pass, for the sake of what follows from it"
    assert (rows(ledger)[one].state, rows(ledger)[one].reason) == (state, reason)
    assert rows(ledger)[two].state is DELIVERED, "the answer to one is not the answer to the next"


def test_every_failure_of_the_standard_is_later_or_refused() -> None:
    for status in (*STATUS, *range(0xA700, 0xA800), *range(0xA900, 0xAA00), *range(0xC000, 0xD000)):
        result = result_of(status)
        assert result.outcome in (StoreOutcome.LATER, StoreOutcome.REFUSED, StoreOutcome.UNSUPPORTED)
        assert f"(0x{status:04X})" in result.reason
    assert result_of(0xFFFF).outcome is StoreOutcome.REFUSED


def test_what_is_out_of_resources_is_sent_again_when_it_is_due(
    ledger: Ledger, start: Start, queue: Queue, outbox: Make, clock: Any
) -> None:
    (uid,) = queue()
    peer = start(answers={uid: 0xA700})
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
    ledger: Ledger, start: Start, queue: Queue, outbox: Make, clock: Any
) -> None:
    one, two, three = queue(3)
    peer = start(answers={two: "abort"})
    wait = outbox(peer.address).deliver()
    assert states(ledger) == [DELIVERED, WAITING, WAITING]
    assert f"gave no answer to instance {two}" in rows(ledger)[two].reason
    peer.answers.clear()
    assert wait is not None
    clock.advance(wait * 2)
    outbox(peer.address).deliver()
    assert states(ledger) == [DELIVERED] * 3
    assert sorted(peer.stored) == sorted([one, two, three]), "each once"


def test_a_peer_that_hangs_is_left_after_the_time_out(ledger: Ledger, start: Start, queue: Queue, outbox: Make) -> None:
    one, _ = queue(2)
    peer = start(answers={one: "hang"})
    wait = outbox(peer.address, seconds=0.5).deliver()
    assert wait is not None
    assert states(ledger) == [WAITING, WAITING]
    assert peer.stored == []


def test_a_peer_that_rejects_is_tried_again(ledger: Ledger, start: Start, queue: Queue, outbox: Make) -> None:
    queue(2)
    peer = start(rejects=True)
    assert outbox(peer.address).deliver() is not None
    assert states(ledger) == [WAITING, WAITING]
    (reason,) = {one.reason for one in rows(ledger).values()}
    assert reason == f"{peer.address}: the association was rejected: Calling AE title not recognised"


def test_a_peer_that_is_down_is_tried_again(ledger: Ledger, queue: Queue, outbox: Make, free_port: int) -> None:
    queue()
    address = Address("PEER", "127.0.0.1", free_port)
    assert outbox(address, seconds=2).deliver() is not None
    assert states(ledger) == [WAITING]
    (row,) = rows(ledger).values()
    assert row.reason == f"{address}: the association was aborted, or nothing listens there"
    assert row.attempts == 1


def test_a_host_that_nobody_knows_is_tried_again(ledger: Ledger, queue: Queue, outbox: Make) -> None:
    queue()
    assert outbox(Address("PEER", "no.such.host.invalid", 104), seconds=2).deliver() is not None
    assert states(ledger) == [WAITING]


def test_a_sop_class_that_is_not_taken_is_unsupported(ledger: Ledger, start: Start, queue: Queue, outbox: Make) -> None:
    (uid,) = queue()
    peer = start(classes=(Verification,))
    assert outbox(peer.address).deliver() is None
    assert states(ledger) == [UNSUPPORTED]
    assert rows(ledger)[uid].reason == "PACS does not take it: SOP class CT Image Storage is not accepted"


def test_a_class_that_is_not_accepted_stops_the_others_only_until_it_is_seen_to(
    ledger: Ledger, start: Start, queue: Queue, outbox: Make
) -> None:
    one, _ = queue(2)
    with ledger._writing() as connection:
        connection.exec_driver_sql(
            "UPDATE object SET sop_class_uid = ? WHERE sop_instance_uid = ?", (str(SegmentationStorage), one)
        )
    peer = start()
    assert outbox(peer.address).deliver() <= 0
    assert states(ledger) == [UNSUPPORTED, WAITING]
    assert outbox(peer.address).deliver() is None
    assert states(ledger) == [UNSUPPORTED, DELIVERED]


@pytest.mark.parametrize(
    ("taken", "asked", "sent"),
    [
        ((ExplicitVRLittleEndian, ImplicitVRLittleEndian), ExplicitVRLittleEndian, ExplicitVRLittleEndian),
        ((ExplicitVRLittleEndian, ImplicitVRLittleEndian), ImplicitVRLittleEndian, ImplicitVRLittleEndian),
        ((ImplicitVRLittleEndian,), ExplicitVRLittleEndian, ImplicitVRLittleEndian),
        ((DeflatedExplicitVRLittleEndian,), DeflatedExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian),
        ((ExplicitVRLittleEndian,), DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian),
    ],
)
def test_objects_go_in_the_transfer_syntax_that_is_wanted_and_taken(
    ledger: Ledger, start: Start, queue: Queue, outbox: Make, taken: tuple[UID, ...], asked: UID, sent: UID
) -> None:
    (uid,) = queue()
    peer = start(syntaxes=taken)
    replace(outbox(peer.address), transfer_syntax=asked).deliver()
    assert states(ledger) == [DELIVERED], rows(ledger)[uid].reason
    (dataset,) = peer.datasets
    assert (dataset.SOPInstanceUID, dataset.file_meta.TransferSyntaxUID) == (uid, sent)
    assert dataset.PixelData == ct_series(slices=1, rows=8, columns=8)[0].PixelData


def test_bytes_stay_as_they_are_where_nothing_else_is_asked_for(
    ledger: Ledger, start: Start, queue: Queue, outbox: Make
) -> None:
    queue()
    outbox(start(syntaxes=(ImplicitVRLittleEndian,)).address).deliver()
    assert states(ledger) == [UNSUPPORTED]


def test_a_file_that_is_gone_is_parked_and_the_others_go(
    ledger: Ledger, spool: Spool, start: Start, queue: Queue, outbox: Make
) -> None:
    one, two = queue(2)
    (spool.path / rows(ledger)[one].object.path).unlink()
    peer = start()
    outbox(peer.address).deliver()
    assert peer.stored == [two]
    assert rows(ledger)[one].state is PARKED
    assert "its file is gone from the spool" in rows(ledger)[one].reason


def test_a_file_that_is_damaged_is_parked_and_the_others_go(
    ledger: Ledger, spool: Spool, start: Start, queue: Queue, outbox: Make
) -> None:
    one, two = queue(2)
    (spool.path / rows(ledger)[one].object.path).write_bytes(b"no DICOM at all")
    peer = start()
    outbox(peer.address).deliver()
    assert peer.stored == [two]
    assert states(ledger) == [PARKED, DELIVERED]


def test_what_could_not_be_stored_for_days_is_parked_and_can_be_put_back(
    ledger: Ledger, start: Start, queue: Queue, outbox: Make, clock: Any, free_port: int
) -> None:
    (uid,) = queue()
    address = Address("PEER", "127.0.0.1", free_port)
    tries = 0
    while states(ledger) == [WAITING]:
        wait = outbox(address, seconds=2, give_up=DAY / 2).deliver()
        clock.advance(wait or 0.0)
        tries += 1
        assert tries < 100
    assert 10 < tries < 40, "growing delays: a day has few of them"
    assert ledger.parked() == [
        (
            STUDY,
            "delivery to PACS",
            f"not stored in 0.5 days of trying: {address}: the association was aborted, or nothing listens there",
        )
    ]
    peer = start(port=free_port)
    ledger.requeue(STUDY)
    outbox(peer.address).deliver()
    assert peer.stored == [uid]


def test_one_dead_destination_does_not_touch_anothers_rows(
    ledger: Ledger, start: Start, queue: Queue, outbox: Make, free_port: int
) -> None:
    uids = queue(2, to=("PACS", "ARCHIVE"))
    outbox(Address("PEER", "127.0.0.1", free_port), seconds=2).deliver()
    assert [one.attempts for one in rows(ledger, "ARCHIVE").values()] == [0, 0]
    peer = start()
    assert outbox(peer.address, destination="ARCHIVE").deliver() is None
    assert peer.stored == uids
    assert states(ledger, "ARCHIVE") == [DELIVERED] * 2
    assert states(ledger) == [WAITING] * 2


def test_more_than_one_batch_is_sent(ledger: Ledger, start: Start, queue: Queue, outbox: Make) -> None:
    uids = queue(105)
    peer = start()
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


# Trying things.


def test_an_echo_that_is_answered_says_nothing(start: Start) -> None:
    echo(start().address, "ISOCENTER", seconds=5)


def test_an_echo_that_is_not_answered_says_why(start: Start, free_port: int) -> None:
    with pytest.raises(DestinationUnavailable, match="nothing listens there"):
        echo(Address("PEER", "127.0.0.1", free_port), "ISOCENTER", seconds=2)
    with pytest.raises(DestinationUnavailable, match="the association was rejected"):
        echo(start(rejects=True).address, "ISOCENTER", seconds=5)
    with pytest.raises(DestinationUnavailable):
        echo(start(classes=(CTImageStorage,)).address, "ISOCENTER", seconds=5)


def test_no_request_goes_out_before_the_association_pauses() -> None:
    """A thread that has passed the checkpoint is still to look for messages: it would find the answer."""
    checkpoint, passed, late = ReactorCheckpoint(pause_seconds=20), threading.Event(), threading.Event()
    done: list[str] = []

    def reactor() -> None:
        checkpoint.wait()
        passed.set()
        late.wait(20)
        done.append("looked")
        checkpoint.wait()

    def request() -> None:
        checkpoint.clear()
        done.append("sent")

    threads = [threading.Thread(target=work) for work in (reactor, request)]
    threads[0].start()
    assert passed.wait(20)
    threads[1].start()
    threads[1].join(0.1)
    late.set()
    threads[1].join(20)
    checkpoint.set()
    threads[0].join(20)
    assert done == ["looked", "sent"]


def test_neither_side_waits_for_an_acknowledgement(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []
    plainly = QuickAckSocket.setsockopt
    monkeypatch.setattr(
        QuickAckSocket, "setsockopt", lambda self, *option: (asked.append(option), plainly(self, *option))
    )
    peer = Address("PEER", "127.0.0.1", start().port)
    with OpenAssociation(peer, "ISOCENTER", [build_context(Verification)], 10) as association:
        assert association.dul.socket is not None
        assert isinstance(association.dul.socket.socket, QuickAckSocket)
        assert type(association._reactor_checkpoint) is ReactorCheckpoint
        assert association.dul.socket.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        asked.clear()
        assert association.send_c_echo().Status == 0
        assert len(asked) >= 2, "before each read: of a head, and of the rest"
        assert set(asked) == {(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)}


def test_a_folder_is_sent_in_its_order_with_an_answer_for_each(start: Start, tmp_path: Any) -> None:
    paths = sorted(write(ct_series(slices=4, rows=8, columns=8), tmp_path))
    objects, others = readable(tmp_path)
    assert others == []
    peer = start(answers={objects[1].sop_instance_uid: 0xC000})
    answers = list(send(objects, peer.address, "CT1", seconds=5))
    assert [one.path for one, _ in answers] == paths
    assert [answer.outcome for _, answer in answers] == [
        StoreOutcome.STORED,
        StoreOutcome.REFUSED,
        StoreOutcome.STORED,
        StoreOutcome.STORED,
    ]
    assert list(send([], peer.address, "CT1")) == []


@pytest.mark.parametrize("content", [b"", b"text", b"\0" * 128 + b"DICM", b"\0" * 128 + b"DICM\2\0\0\0UL\4"])
def test_what_is_no_dicom_file_is_told_beside_those_that_are(tmp_path: Any, content: bytes) -> None:
    write(ct_series(slices=1), tmp_path / "images")
    (tmp_path / "notes.txt").write_bytes(content)
    objects, others = readable(tmp_path)
    assert len(objects) == 1
    (told,) = others
    assert told.startswith(f"{tmp_path / 'notes.txt'} ")


def test_a_folder_without_dicom_files_is_told(tmp_path: Any) -> None:
    (tmp_path / "notes.txt").write_bytes(b"text")
    with pytest.raises(ConfigError, match="holds no DICOM files"):
        readable(tmp_path)


def test_the_peer_of_these_tests_is_gone_afterwards() -> None:
    """Its threads do not outlive the test that asked for it."""
    until = time.monotonic() + 20
    while any(thread.name.startswith("AcceptorThread") for thread in threading.enumerate()):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_hanging_and_a_dead_destination_delay_a_healthy_one_by_nothing(
    ledger: Ledger, start: Start, queue: Queue, outbox: Make, free_port: int
) -> None:
    """The healthy one has everything while the hanging one still holds its first object, and the dead one is away."""
    uids = queue(3, to=("HANGING", "DEAD", "PACS"))
    hanging, healthy = start(answers={uids[0]: "hang"}), start()
    outboxes = [
        outbox(hanging.address, destination="HANGING", seconds=60),
        outbox(Address("DEAD", "127.0.0.1", free_port), destination="DEAD"),
        outbox(healthy.address),
    ]
    engine = Engine([Step(name=one.destination, work=one.deliver) for one in outboxes])
    engine.start()
    try:
        until = time.monotonic() + 20
        while states(ledger) != [DELIVERED] * 3 or not all(one.reason for one in rows(ledger, "DEAD").values()):
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
