"""Storage Commitment over real associations: what destinations promise us, and what we promise senders."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import StorageCommitmentPushModel

from node import testing
from node.commands.check import check_caller
from node.commitment import (
    INVALID_ARGUMENT,
    NO_SUCH_ACTION_TYPE,
    NO_SUCH_EVENT_TYPE,
    NO_SUCH_INSTANCE,
    PUSH_MODEL_INSTANCE,
)
from node.deliver import CommitmentScu, Outbox
from node.deliver.commitment_scu import FIRST_PATIENCE, LONGEST_PATIENCE, patience
from node.ledger import Ledger
from node.receive import Arrivals, CommitmentScp, KnownPeers, Receiver, StoreScp
from node.receive.commitment_scp import GIVE_UP_SECONDS, OTHER_PROCESS_SECONDS, ROW_SECONDS
from node.records import Address, Delivery, DeliveryState, Plan, ResultObject
from node.settings import Settings
from node.spool import Spool
from tests.conftest import Clock
from tests.peers import Orthanc, free_port, missing, orthanc, serve, storescu, wait_until
from tests.scp import start_scp

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom", "ignore::UserWarning:pynetdicom")

STUDY = "1.2.1"
DAY = 86400.0
WAITING, DELIVERED, COMMITTED, _, _, PARKED = DeliveryState
Pair = tuple[str, str]


def information(transaction: str, committed: Sequence[Pair] = (), failed: Sequence[tuple[Pair, int]] = ()) -> Dataset:
    """Event or Action Information, written here by hand and not by what is tested."""

    def item(pair: Pair, reason: int | None = None) -> Dataset:
        made = Dataset()
        made.ReferencedSOPClassUID, made.ReferencedSOPInstanceUID = pair
        if reason is not None:
            made.FailureReason = reason
        return made

    dataset = Dataset()
    dataset.TransactionUID = transaction
    if committed:
        dataset.ReferencedSOPSequence = [item(pair) for pair in committed]
    if failed:
        dataset.FailedSOPSequence = [item(pair, reason) for pair, reason in failed]
    return dataset


def pairs(dataset: Dataset, keyword: str) -> list[Pair]:
    return [(one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID) for one in dataset.get(keyword) or []]


# What destinations promise us.


@dataclass
class Pacs:
    """A Storage and Storage Commitment SCP that answers as it was told to."""

    ours: Address
    answers: str = "same"
    failing: set[str] = field(default_factory=set)
    port: int = 0
    status: int = 0x0000
    stored: list[tuple[str, bytes]] = field(default_factory=list)
    asked: list[tuple[str, list[Pair]]] = field(default_factory=list)
    statuses: list[int | None] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    @property
    def address(self) -> Address:
        return Address("ARCHIVE1", "127.0.0.1", self.port)

    def on_store(self, event: evt.Event) -> int:
        self.stored.append((str(event.request.AffectedSOPInstanceUID), event.request.DataSet.getvalue()))
        return 0x0000

    def on_action(self, event: evt.Event) -> tuple[int, None]:
        assert event.request.RequestedSOPInstanceUID == PUSH_MODEL_INSTANCE
        assert event.action_type == 1
        self.asked.append(
            (str(event.action_information.TransactionUID), pairs(event.action_information, "ReferencedSOPSequence"))
        )
        if self.answers in ("same", "new"):
            association = event.assoc if self.answers == "same" else None
            thread = threading.Thread(target=self.answer, args=(association,))
            self.threads.append(thread)
            thread.start()
        return self.status, None

    def answer(
        self, association: Association | None = None, *, number: int = -1, calling: str = "ARCHIVE1", **other: Any
    ) -> int | None:
        """Report what was asked: on that association once the request is answered, or on a new one to the node."""
        transaction, asked = self.asked[number]
        kept = [one for one in asked if one[1] not in self.failing]
        lost = [(one, 0x0112) for one in asked if one[1] in self.failing]
        dataset = information(other.get("transaction", transaction), kept, lost)
        if association is not None:
            time.sleep(0.1)
            return self._say(association, dataset, 2 if lost else 1)
        entity = AE(calling)
        entity.add_requested_context(StorageCommitmentPushModel)
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        called = entity.associate(self.ours.host, self.ours.port, ae_title=self.ours.ae_title, ext_neg=[role])
        if not called.is_established:
            self.statuses.append(None)
            return None
        status = self._say(
            called, dataset, other.get("event", 2 if lost else 1), other.get("instance", PUSH_MODEL_INSTANCE)
        )
        called.release()
        return status

    def _say(
        self, association: Association, dataset: Dataset, event: int, instance: str = PUSH_MODEL_INSTANCE
    ) -> int | None:
        answer, _ = association.send_n_event_report(dataset, event, StorageCommitmentPushModel, instance)
        self.statuses.append(answer.get("Status"))
        return self.statuses[-1]


@dataclass
class Node:
    """Both ends of a node, with nothing between them."""

    ledger: Ledger
    spool: Spool
    clock: Clock
    scp: CommitmentScp
    receiver: Receiver
    arrivals: Arrivals
    woken: list[bool]

    @property
    def address(self) -> Address:
        return Address("ISOCENTER", "127.0.0.1", self.receiver.port)

    def scu(self, pacs: Address, *, linger: float = 5.0, give_up: float = 7 * DAY) -> CommitmentScu:
        return CommitmentScu(
            destination="PACS",
            address=pacs,
            calling="ISOCENTER",
            seconds=5,
            give_up_seconds=give_up,
            ledger=self.ledger,
            linger_seconds=linger,
            clock=self.clock,
        )

    def outbox(self, pacs: Address) -> Outbox:
        return Outbox(
            destination="PACS",
            address=pacs,
            calling="ISOCENTER",
            seconds=5,
            give_up_seconds=7 * DAY,
            ledger=self.ledger,
            spool=self.spool,
            commitment=True,
            clock=self.clock,
        )

    def rows(self) -> list[Delivery]:
        found = self.ledger.deliveries(STUDY)
        return sorted(found, key=lambda one: one.object.kind)

    def states(self) -> list[DeliveryState]:
        return [one.state for one in self.rows()]

    def told(self) -> list[str]:
        return [event.name for _, event in self.ledger.events(STUDY)]


@pytest.fixture
def opened(ledger: Ledger, spool: Spool, clock: Clock) -> Iterator[Callable[..., Node]]:
    running: list[Receiver] = []

    def made(*, addresses: Sequence[Address] = (), accept_from: Sequence[str] = ()) -> Node:
        woken: list[bool] = []
        waiting = Arrivals(ledger, spool, wake=lambda: None, clock=clock, group_seconds=0.0)
        scp = CommitmentScp(
            ledger=ledger,
            spool=spool,
            arrivals=waiting,
            ae_title="ISOCENTER",
            addresses={one.ae_title: one for one in addresses},
            wake=lambda: woken.append(True),
            clock=clock,
        )
        receiver = Receiver(
            address=Address("ISOCENTER", "127.0.0.1", 0),
            peers=KnownPeers.parse("ISOCENTER", accept_from),
            store=StoreScp(spool, waiting, clock=clock),
            associations=10,
            idle_seconds=20,
            commitment=scp,
            poll_seconds=0.02,
        )
        receiver.start()
        running.append(receiver)
        return Node(ledger, spool, clock, scp, receiver, waiting, woken)

    yield made
    for receiver in running:
        receiver.stop()


@pytest.fixture
def node(opened: Callable[..., Node]) -> Node:
    return opened()


@pytest.fixture
def start(node: Node) -> Iterator[Callable[..., Pacs]]:
    running: list[tuple[AE, Pacs]] = []

    def made(answers: str = "same", *, commits: bool = True, status: int = 0x0000) -> Pacs:
        pacs = Pacs(node.address, answers, status=status)
        entity = AE("ARCHIVE1")
        entity.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
        if commits:
            entity.add_supported_context(StorageCommitmentPushModel)
        handlers: list[Any] = [(evt.EVT_C_STORE, pacs.on_store), (evt.EVT_N_ACTION, pacs.on_action)]
        pacs.port = start_scp(entity, handlers)
        running.append((entity, pacs))
        return pacs

    yield made
    for entity, pacs in running:
        for thread in pacs.threads:
            thread.join(10)
        entity.shutdown()


@pytest.fixture
def queue(
    ledger: Ledger, spool: Spool, routed: Callable[..., int], wanted: Callable[..., Plan]
) -> Callable[..., list[Pair]]:
    """Finish a job with so many objects, CT images here, for PACS; return class and instance as they will be sent."""

    def made(count: int = 1) -> list[Pair]:
        routed(wanted())
        job = ledger.claim(lease_seconds=60)
        assert job is not None
        objects = []
        for number, image in enumerate(testing.ct_series(slices=count, rows=8, columns=8)):
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
        return [(one.sop_class_uid, one.sop_instance_uid) for one in objects]

    return made


Queue = Callable[..., list[Pair]]
Start = Callable[..., Pacs]


@pytest.mark.parametrize("answers", ["same", "new"])
def test_an_answer_on_the_same_or_on_a_new_association_commits(
    node: Node, start: Start, queue: Queue, answers: str
) -> None:
    wanted, pacs = queue(3), start(answers)
    node.outbox(pacs.address).deliver()
    assert node.states() == [DELIVERED] * 3
    assert node.scu(pacs.address).commit() is None
    assert [sorted(asked) for _, asked in pacs.asked] == [sorted(wanted)], "all in one transaction, with their classes"
    assert node.states() == [COMMITTED] * 3
    assert pacs.statuses == [0x0000]
    assert node.told().count("object.committed") == 3
    node.scu(pacs.address).commit()
    assert len(pacs.asked) == 1, "what is committed is not asked about again"
    assert bool(node.woken) is (answers == "new")


def test_a_late_answer_commits_when_it_comes_even_to_a_node_that_was_started_again(
    node: Node, start: Start, queue: Queue, opened: Callable[..., Node]
) -> None:
    queue()
    pacs = start("late")
    node.outbox(pacs.address).deliver()
    assert node.scu(pacs.address, linger=0).commit() == pytest.approx(FIRST_PATIENCE)
    assert node.states() == [DELIVERED]
    node.receiver.stop()
    node.ledger.close()
    again = opened()
    pacs.ours = again.address
    assert pacs.answer() == 0x0000
    again.scu(pacs.address).commit()
    assert again.states() == [COMMITTED]
    assert len(pacs.asked) == 1


def test_a_node_that_dies_between_answer_and_row_moves_the_delivery_when_it_starts(
    node: Node, start: Start, queue: Queue
) -> None:
    queue()
    pacs = start("late")
    node.outbox(pacs.address).deliver()
    node.scu(pacs.address, linger=0).commit()
    pacs.answer()
    assert node.states() == [DELIVERED], "the answer is in the ledger, nothing has acted on it"
    node.scu(Address("ARCHIVE1", "127.0.0.1", 1)).commit()
    assert node.states() == [COMMITTED]


def test_what_is_not_committed_is_sent_again_byte_for_byte(node: Node, start: Start, queue: Queue) -> None:
    (_, kept), (_, lost) = queue(2)
    pacs = start()
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


def test_what_is_never_committed_to_is_sent_for_days_and_then_parked_in_words(
    node: Node, start: Start, queue: Queue
) -> None:
    ((_, lost),) = queue()
    pacs = start()
    pacs.failing = {lost}
    rounds = 0
    while node.states() != [PARKED]:
        wait = node.outbox(pacs.address).deliver()
        node.scu(pacs.address, give_up=DAY / 8).commit()
        node.clock.advance(max(wait or 0.0, 1.0))
        rounds += 1
        assert rounds < 100
    assert 5 < len(pacs.stored) < 30, "growing delays"
    assert node.ledger.parked() == [
        (
            STUDY,
            "delivery to PACS",
            "PACS did not commit to it in 0.125 days of sending it: no such object instance (0x0112)",
        )
    ]


def test_a_destination_that_never_answers_is_asked_more_and_more_seldom_and_then_parked(
    node: Node, start: Start, queue: Queue
) -> None:
    queue()
    pacs = start("never")
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


def test_answers_wait_longer_and_longer_but_not_for_ever() -> None:
    waits = [patience(asks) for asks in range(100)]
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
    node: Node, start: Start, queue: Queue, options: dict[str, Any], reason: str
) -> None:
    queue()
    pacs = start(**options)
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


def test_a_destination_that_is_down_is_asked_again(node: Node, start: Start, queue: Queue) -> None:
    queue()
    pacs = start()
    node.outbox(pacs.address).deliver()
    wait = node.scu(Address("ARCHIVE1", "127.0.0.1", 1), linger=0).commit()
    assert wait is not None
    assert node.states() == [DELIVERED]
    node.clock.advance(wait)
    node.scu(pacs.address).commit()
    assert node.states() == [COMMITTED]


def test_a_repeated_answer_is_harmless(node: Node, start: Start, queue: Queue) -> None:
    queue()
    pacs = start("new")
    node.outbox(pacs.address).deliver()
    node.scu(pacs.address).commit()
    before = node.told()
    pacs.failing = {pacs.asked[0][1][0][1]}
    assert [pacs.answer(), pacs.answer()] == [0x0000, 0x0000]
    node.scu(pacs.address).commit()
    assert (node.states(), node.told()) == ([COMMITTED], before)


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
    node: Node, start: Start, queue: Queue, other: dict[str, Any], status: int
) -> None:
    queue()
    pacs = start("late")
    node.outbox(pacs.address).deliver()
    node.scu(pacs.address, linger=0).commit()
    assert pacs.answer(**other) == status
    node.scu(pacs.address, linger=0).commit()
    assert node.states() == [DELIVERED]


def test_an_answer_while_the_ledger_cannot_be_written_is_to_be_repeated(
    node: Node, start: Start, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    from node.errors import LedgerUnavailable

    queue()
    pacs = start("late")
    node.outbox(pacs.address).deliver()
    node.scu(pacs.address, linger=0).commit()

    def fail(*_: object) -> None:
        raise LedgerUnavailable("it is locked")

    with monkeypatch.context() as broken:
        broken.setattr(Ledger, "note_result", fail)
        assert pacs.answer() == 0x0110
    assert pacs.answer() == 0x0000
    node.scu(pacs.address).commit()
    assert node.states() == [COMMITTED]


def test_who_is_not_let_in_cannot_answer(opened: Callable[..., Node], start: Start, queue: Queue) -> None:
    closed = opened(accept_from=["SOMEBODY@127.0.0.1"])
    queue()
    pacs = start("late")
    closed.outbox(pacs.address).deliver()
    closed.scu(pacs.address, linger=0).commit()
    pacs.ours = closed.address
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
def test_a_destination_whose_answers_would_be_rejected_is_told_by_check(
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


# What we promise senders.


@dataclass
class Modality:
    """Sends images, asks for commitment, and hears reports on its association and at an address of its own."""

    node: Node
    port: int = 0
    heard: list[tuple[int, Dataset]] = field(default_factory=list)
    where: list[str] = field(default_factory=list)
    status: int = 0x0000
    pause: float = 0.0

    @property
    def address(self) -> Address:
        return Address("CT1", "127.0.0.1", self.port)

    def on_report(self, event: evt.Event) -> tuple[int, None]:
        time.sleep(self.pause)
        assert event.request.AffectedSOPInstanceUID == PUSH_MODEL_INSTANCE
        self.heard.append((event.event_type, event.event_information))
        self.where.append("new" if event.assoc.is_acceptor else "same")
        return self.status, None

    def associate(self) -> Association:
        entity = AE("CT1")
        for sop_class in (CTImageStorage, StorageCommitmentPushModel):
            entity.add_requested_context(sop_class, ExplicitVRLittleEndian)
        handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, self.on_report)]
        made = entity.associate("127.0.0.1", self.node.receiver.port, ae_title="ISOCENTER", evt_handlers=handlers)
        assert made.is_established
        return made

    def ask(self, association: Association, wanted: Sequence[Pair], transaction: str = "", **other: Any) -> int:
        dataset = information(transaction or str(generate_uid()), wanted)
        answer, _ = association.send_n_action(
            dataset, other.get("action", 1), StorageCommitmentPushModel, other.get("instance", PUSH_MODEL_INSTANCE)
        )
        return int(answer.Status)

    def result(self, number: int = -1) -> tuple[int, list[Pair], list[Pair], list[int]]:
        event, dataset = self.heard[number]
        reasons = [int(one.FailureReason) for one in dataset.get("FailedSOPSequence") or []]
        return event, pairs(dataset, "ReferencedSOPSequence"), pairs(dataset, "FailedSOPSequence"), reasons


@pytest.fixture
def listening() -> Iterator[Callable[[Modality], None]]:
    running: list[AE] = []

    def made(modality: Modality, port: int = 0) -> None:
        entity = AE("CT1")
        entity.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
        handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, modality.on_report)]
        modality.port = start_scp(entity, handlers, port=port or modality.port)
        running.append(entity)

    yield made
    for entity in running:
        entity.shutdown()


def stored(association: Association, count: int = 2, seed: str = "a") -> list[Pair]:
    images = testing.ct_series(slices=count, rows=8, columns=8, seed=seed)
    assert [association.send_c_store(image).Status for image in images] == [0x0000] * count
    return [(str(image.SOPClassUID), str(image.SOPInstanceUID)) for image in images]


def report(node: Node, seconds: float = ROW_SECONDS) -> float | None:
    node.clock.advance(seconds)
    return node.scp.report()


def test_what_was_stored_is_committed_on_the_same_association(node: Node) -> None:
    modality = Modality(node)
    association = modality.associate()
    wanted = stored(association)
    assert modality.ask(association, wanted) == 0x0000
    assert node.woken
    assert node.scp.report() == pytest.approx(ROW_SECONDS), "no row is judged before it can be there"
    assert modality.heard == []
    assert report(node) is None
    assert modality.result() == (1, wanted, [], [])
    assert modality.where == ["same"]
    assert association.send_c_store(testing.ct_series(slices=1, seed="b")[0]).Status == 0x0000, "it lives on"
    association.release()
    assert report(node, DAY) is None
    assert len(modality.heard) == 1


def test_rows_are_written_before_they_are_judged(node: Node) -> None:
    modality = Modality(node)
    association = modality.associate()
    wanted = stored(association)
    assert not node.ledger.instances(str(testing.ct_series(slices=1, seed="a")[0].StudyInstanceUID))
    modality.ask(association, wanted)
    report(node)
    assert modality.result() == (1, wanted, [], [])
    association.release()


def test_what_is_not_here_and_what_is_of_another_class_is_told_with_the_reason(node: Node) -> None:
    modality = Modality(node)
    association = modality.associate()
    (one, two) = stored(association)
    other = (str(MRImageStorage), two[1])
    absent = (str(CTImageStorage), "1.2.3.404")
    modality.ask(association, [one, other, absent])
    assert report(node) is not None
    assert modality.heard == [], "what is missing is looked for once more"
    assert report(node, 2.0) is None
    assert modality.result() == (2, [one], [other, absent], [0x0119, 0x0112])
    assert modality.where == ["same"]
    association.release()


def test_an_instance_whose_pack_is_gone_is_not_committed(node: Node) -> None:
    modality = Modality(node)
    association = modality.associate()
    (wanted,) = stored(association, 1)
    for pack in node.spool.packs.iterdir():
        pack.unlink()
    modality.ask(association, [wanted])
    report(node, 3.0)
    assert modality.result() == (2, [], [wanted], [0x0112])
    association.release()


def test_a_sender_that_goes_on_storing_while_it_is_told_keeps_its_association(node: Node) -> None:
    modality = Modality(node, pause=0.5)
    association = modality.associate()
    wanted = stored(association)
    modality.ask(association, wanted)
    reporting = threading.Thread(target=report, args=(node,))
    reporting.start()
    more = stored(association, 3, seed="b")
    reporting.join(20)
    assert modality.result() == (1, wanted, [], [])
    assert association.is_established
    modality.pause = 0.0
    modality.ask(association, more)
    report(node)
    assert modality.result() == (1, more, [], [])
    association.release()


def test_a_sender_whose_association_is_over_is_called_at_its_address(
    opened: Callable[..., Node], listening: Callable[[Modality], None], free_port: int
) -> None:
    node = opened(addresses=[Address("CT1", "127.0.0.1", free_port)])
    modality = Modality(node, free_port)
    association = modality.associate()
    wanted = stored(association)
    modality.ask(association, wanted)
    association.release()
    wait = report(node)
    assert wait is not None, "nobody listens there yet"
    listening(modality)
    assert report(node, wait) is None
    assert modality.result() == (1, wanted, [], [])
    assert modality.where == ["new"]
    (told,) = [event for _, event in node.ledger.events() if event.name == "commitment.reported"]
    assert told.detail.endswith("2 committed, 0 not")


def test_a_node_that_is_started_again_reports_what_it_was_asked(
    opened: Callable[..., Node], listening: Callable[[Modality], None]
) -> None:
    first = opened()
    modality = Modality(first)
    listening(modality)
    association = modality.associate()
    wanted = stored(association)
    modality.ask(association, wanted)
    first.receiver.stop()
    again = opened(addresses=[modality.address])
    again.arrivals.recover()
    assert again.scp.report() is not None, "left to the process that holds the association, if there is one"
    assert report(again, OTHER_PROCESS_SECONDS) is None
    assert modality.result() == (1, wanted, [], [])
    assert modality.where == ["new"]


def test_a_sender_that_refuses_the_report_is_told_again_later_and_later_until_it_is_given_up(
    opened: Callable[..., Node], listening: Callable[[Modality], None]
) -> None:
    node = opened()
    modality = Modality(node, status=0x0110)
    listening(modality)
    node.scp.addresses = {"CT1": modality.address}
    association = modality.associate()
    modality.ask(association, stored(association))
    association.release()
    wait = report(node)
    waits = []
    while wait is not None:
        waits.append(wait)
        wait = report(node, max(wait, 20000.0))
    assert waits == sorted(waits)
    assert len(waits) > GIVE_UP_SECONDS / DAY
    (told,) = [event for _, event in node.ledger.events() if event.name == "commitment.unreported"]
    assert "given up after 7 days" in told.detail


def test_a_sender_without_an_address_is_told_on_its_association_or_not_at_all(node: Node) -> None:
    modality = Modality(node)
    association = modality.associate()
    modality.ask(association, stored(association))
    association.release()
    assert report(node) is not None
    with node.ledger._reading() as connection:
        (reason,) = connection.exec_driver_sql("SELECT reason FROM commitment_request").scalars()
    assert reason == (
        "the association of CT1 is over and its address is not known; name CT1@host:port in receive.commitment_to"
    )


@pytest.mark.parametrize(
    ("wanted", "other", "status"),
    [
        ([], {}, INVALID_ARGUMENT),
        ([("1.2", "1.3")], {"action": 2}, NO_SUCH_ACTION_TYPE),
        ([("1.2", "1.3")], {"instance": "1.2.3"}, NO_SUCH_INSTANCE),
    ],
)
def test_a_request_that_asks_for_nothing_or_something_else_is_refused(
    node: Node, wanted: list[Pair], other: dict[str, Any], status: int
) -> None:
    modality = Modality(node)
    association = modality.associate()
    assert modality.ask(association, wanted, **other) == status
    association.release()
    assert report(node) is None


def test_the_same_request_twice_is_reported_twice(node: Node) -> None:
    modality = Modality(node)
    association = modality.associate()
    wanted = stored(association)
    for _ in range(2):
        assert modality.ask(association, wanted, "2.25.77") == 0x0000
        report(node)
    assert len(modality.heard) == 2
    assert modality.ask(association, wanted[:1], "2.25.77") == INVALID_ARGUMENT
    association.release()


# Orthanc.


def referenced(image: Dataset) -> Pair:
    return str(image.SOPClassUID), str(image.SOPInstanceUID)


@pytest.fixture
def archive(tmp_path: Path, opened: Callable[..., Node]) -> Iterator[tuple[Node, Orthanc]]:
    """Both ends of a node and an Orthanc that know each other."""
    if reason := missing("Orthanc"):
        pytest.skip(reason)
    node = opened()
    with orthanc(tmp_path / "orthanc", modalities={"isocenter": node.address}) as peer:
        node.scp.addresses = {"ORTHANC": Address.parse(peer.address)}
        yield node, peer


def test_orthanc_commits_to_what_it_stored_and_gets_again_what_it_lost(
    archive: tuple[Node, Orthanc], queue: Queue
) -> None:
    node, peer = archive
    (_, kept), (_, lost) = queue(2)
    address = Address.parse(peer.address)
    node.outbox(address).deliver()
    for name in peer.instances():
        if dcmread(BytesIO(peer.get(f"/instances/{name}/file"))).SOPInstanceUID == lost:
            peer.send("DELETE", f"/instances/{name}")
    node.scu(address, linger=20).commit()
    assert node.states() == [COMMITTED, WAITING]
    assert "no such object instance (0x0112)" in node.rows()[1].reason
    node.clock.advance(60)
    node.outbox(address).deliver()
    node.scu(address, linger=20).commit()
    assert node.states() == [COMMITTED, COMMITTED]
    assert sorted(one.SOPInstanceUID for one in peer.objects()) == sorted([kept, lost])


def test_orthanc_is_told_what_we_keep(archive: tuple[Node, Orthanc]) -> None:
    node, peer = archive
    association = Modality(node).associate()
    wanted = stored(association)
    association.release()
    stopped = threading.Event()

    def steps() -> None:
        while not stopped.wait(0.1):
            report(node)

    running = threading.Thread(target=steps)
    running.start()
    try:
        assert peer.asks("isocenter", wanted)["Status"] == "Success"
        told = peer.asks("isocenter", [*wanted, (str(CTImageStorage), "1.2.3.404")])
    finally:
        stopped.set()
        running.join()
    assert told["Status"] == "Failure"
    assert [one["SOPInstanceUID"] for one in told["Failures"]] == ["1.2.3.404"]
    assert sorted(one["SOPInstanceUID"] for one in told["Success"]) == sorted(uid for _, uid in wanted)


def test_a_served_node_ends_committed_and_says_so_also_when_it_was_killed_before_the_answer(tmp_path: Path) -> None:
    if reason := missing("Orthanc", "storescu"):
        pytest.skip(reason)
    port = free_port()
    images = testing.write(testing.ct_series(slices=2, rows=64, columns=64), tmp_path / "images")
    study_uid = str(dcmread(images[0]).StudyInstanceUID)
    with orthanc(tmp_path / "orthanc") as peer:  # it does not know the node yet: its answer has nowhere to go
        killed = pytest.raises(AssertionError, match="ended with -9")
        with killed, serve(tmp_path / "node", pacs=peer.address, port=port, commitment=True) as node:
            assert storescu(node.port, images).returncode == 0
            wait_until(lambda: len(peer.instances()) == 1, what="the report in Orthanc")
            wait_until(lambda: ": delivered" in node.explain(study_uid), what="the delivery")
            node.process.kill()
    known = {"isocenter": Address("ISOCENTER", "127.0.0.1", port)}
    with (
        orthanc(tmp_path / "orthanc", modalities=known, again=peer) as peer,
        serve(tmp_path / "node", pacs=peer.address, port=port, commitment=True) as node,
    ):
        ledger = node.ledger()
        with ledger._writing() as connection:  # its patience ends here
            connection.exec_driver_sql("UPDATE delivery SET ask_at = 0 WHERE state = 'delivered'")
        wait_until(lambda: ": committed" in node.explain(study_uid), what="the commitment")
        assert "object.committed" in node.explain(study_uid)
        ledger.close()
