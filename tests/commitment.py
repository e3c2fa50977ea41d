"""Both ends of Storage Commitment for tests: a node, a PACS that commits, and a modality that asks."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import StorageCommitmentPushModel

from node import testing
from node.commitment import (
    PUSH_MODEL_INSTANCE,
)
from node.deliver import CommitmentScu, Outbox
from node.ledger import Ledger
from node.receive import Arrivals, CommitmentScp, Receiver
from node.receive.commitment_scp import ROW_SECONDS
from node.records import Address, Delivery, DeliveryState
from node.spool import Spool
from tests.conftest import Clock

STUDY = "1.2.1"
DAY = 86400.0
WAITING, DELIVERED, COMMITTED, _, _, PARKED, _ = DeliveryState
Pair = tuple[str, str]


def information(transaction: str, committed: Sequence[Pair] = (), failed: Sequence[tuple[Pair, int]] = ()) -> Dataset:
    """Return Event or Action Information, made here and not by the code that is tested."""

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
    return [(item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) for item in dataset.get(keyword) or []]


@dataclass
class CommittingPacs:
    """A Storage and Storage Commitment SCP.

    `answers` says where it reports: "same" or "new" association, or "late" and "never", where a test calls `answer`.
    """

    node: Address
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
        """Report on a request: on the given association once the request is answered, or on a new one to the node."""
        transaction, asked = self.asked[number]
        kept = [pair for pair in asked if pair[1] not in self.failing]
        lost = [(pair, 0x0112) for pair in asked if pair[1] in self.failing]
        dataset = information(other.get("transaction", transaction), kept, lost)
        if association is not None:
            time.sleep(0.1)
            return self._say(association, dataset, 2 if lost else 1)
        entity = AE(calling)
        entity.add_requested_context(StorageCommitmentPushModel)
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        called = entity.associate(self.node.host, self.node.port, ae_title=self.node.ae_title, ext_neg=[role])
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
class NodeEnds:
    """The receiving and the delivering end of a node, with nothing between them."""

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
            commitments=self.ledger.commitments,
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
            deliveries=self.ledger.deliveries,
            spool=self.spool,
            commitment=True,
            clock=self.clock,
        )

    def rows(self) -> list[Delivery]:
        found = self.ledger.deliveries.of(STUDY)
        return sorted(found, key=lambda delivery: delivery.object.kind)

    def states(self) -> list[DeliveryState]:
        return [delivery.state for delivery in self.rows()]

    def event_names(self) -> list[str]:
        return [event.name for _, event in self.ledger.events.read(STUDY)]


@dataclass
class CommitmentSender:
    """Sends images, asks for commitment, and takes reports on its association and at an address of its own."""

    node: NodeEnds
    port: int = 0
    reports: list[tuple[int, Dataset]] = field(default_factory=list)
    where: list[str] = field(default_factory=list)
    status: int = 0x0000
    pause: float = 0.0

    @property
    def address(self) -> Address:
        return Address("CT1", "127.0.0.1", self.port)

    def on_report(self, event: evt.Event) -> tuple[int, None]:
        time.sleep(self.pause)
        assert event.request.AffectedSOPInstanceUID == PUSH_MODEL_INSTANCE
        self.reports.append((event.event_type, event.event_information))
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
        event, dataset = self.reports[number]
        reasons = [int(item.FailureReason) for item in dataset.get("FailedSOPSequence") or []]
        return event, pairs(dataset, "ReferencedSOPSequence"), pairs(dataset, "FailedSOPSequence"), reasons


QueueObjects = Callable[..., list[Pair]]
StartPacs = Callable[..., CommittingPacs]


def stored(association: Association, count: int = 2, seed: str = "a") -> list[Pair]:
    images = testing.ct_series(slices=count, rows=8, columns=8, seed=seed)
    assert [association.send_c_store(image).Status for image in images] == [0x0000] * count
    return [(str(image.SOPClassUID), str(image.SOPInstanceUID)) for image in images]


def report(node: NodeEnds, seconds: float = ROW_SECONDS) -> float | None:
    node.clock.advance(seconds)
    return node.scp.report()
