"""Peers, queued objects and outboxes for the tests of deliver."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from node.deliver import Outbox
from node.ledger import Ledger
from node.records import Address, Plan
from node.spool import Spool
from tests.delivering import DAY, StartPeer, StoringPeer, record_images
from tests.scp import start_scp


@pytest.fixture
def start_peer() -> Iterator[StartPeer]:
    running: list[tuple[AE, StoringPeer]] = []

    def make(
        *,
        classes: tuple[str, ...] = (CTImageStorage, Verification),
        syntaxes: tuple[str, ...] = (ExplicitVRLittleEndian, ImplicitVRLittleEndian),
        answers: Mapping[str, int | str] | None = None,
        port: int = 0,
        rejects: bool = False,
    ) -> StoringPeer:
        entity = AE("PEER")
        for sop_class in classes:
            entity.add_supported_context(sop_class, list(syntaxes))
        if rejects:
            entity.require_calling_aet = ["SOMEBODY_ELSE"]
        peer = StoringPeer(0, dict(answers or {}))
        handlers: list[Any] = [
            (evt.EVT_C_STORE, peer.answer),
            (evt.EVT_ACCEPTED, lambda event: peer.calling.append(event.assoc.requestor.ae_title)),
        ]
        peer.port = start_scp(entity, handlers, port=port)
        running.append((entity, peer))
        return peer

    yield make
    for entity, peer in running:
        peer.release.set()
        entity.shutdown()


@pytest.fixture
def queue_objects(
    ledger: Ledger, spool: Spool, routed: Callable[..., int], wanted: Callable[..., Plan]
) -> Callable[..., list[str]]:
    """Finish a job with so many objects, CT images here, for destinations; return their UIDs as they will be sent."""

    def make(count: int = 1, *, to: tuple[str, ...] = ("PACS",)) -> list[str]:
        routed(wanted(to=to))
        return [result.sop_instance_uid for result in record_images(ledger, spool, count)]

    return make


@pytest.fixture
def outbox(ledger: Ledger, spool: Spool, clock: Callable[[], float]) -> Callable[..., Outbox]:
    def make(address: Address, *, destination: str = "PACS", seconds: float = 10, give_up: float = 7 * DAY) -> Outbox:
        return Outbox(
            destination=destination,
            address=address,
            calling="ISOCENTER",
            seconds=seconds,
            give_up_seconds=give_up,
            deliveries=ledger.deliveries,
            spool=spool,
            clock=clock,
        )

    return make
