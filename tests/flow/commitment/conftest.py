"""Nodes, PACSs and modalities for the tests of Storage Commitment."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel

from node.ledger import Ledger
from node.receive import Arrivals, CommitmentScp, KnownPeers, Receiver, StoreScp
from node.records import Address, Plan
from node.spool import Spool
from tests.commitment import CommitmentSender, CommittingPacs, NodeEnds, Pair
from tests.conftest import Clock
from tests.delivering import record_images
from tests.scp import start_scp


@pytest.fixture
def open_node(ledger: Ledger, spool: Spool, clock: Clock) -> Iterator[Callable[..., NodeEnds]]:
    running: list[Receiver] = []

    def make(*, addresses: Sequence[Address] = (), accept_from: Sequence[str] = ()) -> NodeEnds:
        woken: list[bool] = []
        waiting = Arrivals(
            ledger.studies, ledger.instances, spool, wake=lambda: None, clock=clock, steady=clock, group_seconds=0.0
        )
        scp = CommitmentScp(
            commitments=ledger.commitments,
            requests=ledger.requests,
            instances=ledger.instances,
            spool=spool,
            arrivals=waiting,
            ae_title="ISOCENTER",
            addresses={address.ae_title: address for address in addresses},
            wake=lambda: woken.append(True),
            clock=clock,
            steady=clock,
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
        return NodeEnds(ledger, spool, clock, scp, receiver, waiting, woken)

    yield make
    for receiver in running:
        receiver.stop()


@pytest.fixture
def node(open_node: Callable[..., NodeEnds]) -> NodeEnds:
    return open_node()


@pytest.fixture
def start_pacs(node: NodeEnds) -> Iterator[Callable[..., CommittingPacs]]:
    running: list[tuple[AE, CommittingPacs]] = []

    def make(answers: str = "same", *, commits: bool = True, status: int = 0x0000) -> CommittingPacs:
        pacs = CommittingPacs(node.address, answers, status=status)
        entity = AE("ARCHIVE1")
        entity.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
        if commits:
            entity.add_supported_context(StorageCommitmentPushModel)
        handlers: list[Any] = [(evt.EVT_C_STORE, pacs.on_store), (evt.EVT_N_ACTION, pacs.on_action)]
        pacs.port = start_scp(entity, handlers)
        running.append((entity, pacs))
        return pacs

    yield make
    for entity, pacs in running:
        for thread in pacs.threads:
            thread.join(10)
        entity.shutdown()


@pytest.fixture
def queue_objects(
    ledger: Ledger, spool: Spool, routed: Callable[..., int], wanted: Callable[..., Plan]
) -> Callable[..., list[Pair]]:
    """Finish a job with so many objects, CT images here, for PACS; return class and instance as they will be sent."""

    def make(count: int = 1) -> list[Pair]:
        routed(wanted())
        return [(result.sop_class_uid, result.sop_instance_uid) for result in record_images(ledger, spool, count)]

    return make


@pytest.fixture
def listening() -> Iterator[Callable[[CommitmentSender], None]]:
    running: list[AE] = []

    def make(modality: CommitmentSender, port: int = 0) -> None:
        entity = AE("CT1")
        entity.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
        handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, modality.on_report)]
        modality.port = start_scp(entity, handlers, port=port or modality.port)
        running.append(entity)

    yield make
    for entity in running:
        entity.shutdown()
