"""A Storage SCP that answers as a test wants, and the rows of deliveries."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import evt

from node.deliver import Outbox
from node.ledger import Ledger
from node.records import Address, Delivery, DeliveryState, ResultObject
from node.spool import Spool
from node.testing import ct_series

STUDY = "1.2.1"
DAY = 86400.0


@dataclass
class StoringPeer:
    """A Storage SCP that answers each instance as `answers` says, and otherwise by Success."""

    port: int
    answers: dict[str, int | str] = field(default_factory=dict)
    stored: list[str] = field(default_factory=list)
    datasets: list[Dataset] = field(default_factory=list)
    calling: list[str] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)
    meanwhile: Callable[[], object] = lambda: None

    @property
    def address(self) -> Address:
        return Address("PEER", "127.0.0.1", self.port)

    def answer(self, event: evt.Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        self.meanwhile()
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


StartPeer = Callable[..., StoringPeer]


QueueObjects = Callable[..., list[str]]
MakeOutbox = Callable[..., Outbox]


def rows(ledger: Ledger, destination: str = "PACS") -> dict[str, Delivery]:
    return {
        delivery.object.sop_instance_uid: delivery
        for delivery in ledger.deliveries.of(STUDY)
        if delivery.destination == destination
    }


def states(ledger: Ledger, destination: str = "PACS") -> list[DeliveryState]:
    found = sorted(rows(ledger, destination).values(), key=lambda delivery: delivery.object.kind)
    return [delivery.state for delivery in found]


WAITING, DELIVERED, PARKED = DeliveryState.WAITING, DeliveryState.DELIVERED, DeliveryState.PARKED
UNSUPPORTED = DeliveryState.UNSUPPORTED


def record_images(ledger: Ledger, spool: Spool, count: int) -> list[ResultObject]:
    """Finish the job that is due with so many objects, CT images here, and return them."""
    job = ledger.jobs.claim(lease_seconds=60)
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
    assert ledger.jobs.finish(job, objects)
    return objects
