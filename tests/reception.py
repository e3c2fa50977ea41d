"""A receiver with all that is behind it, and a modality that sends to it."""

import sqlite3
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    MRImageStorage,
)
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import Verification

from node.ledger import Ledger
from node.receive import Arrivals, Receiver
from node.spool import Spool
from node.testing import ct_series

WAIT_SECONDS = 20


def wait_for(true: Callable[[], bool], what: str = "it") -> None:
    until = time.monotonic() + WAIT_SECONDS
    while not true():
        assert time.monotonic() < until, f"{what} did not happen"
        time.sleep(0.01)


def encoded(image: Dataset) -> bytes:
    """Return a data set as a C-STORE carries it: its file without preamble and File Meta Information."""
    out = BytesIO()
    image.save_as(out, enforce_file_format=True)
    content = out.getvalue()
    (length,) = struct.unpack("<I", content[140:144])  # the group length is the first element of the meta information
    return content[144 + length :]


def images(syntax: str, slices: int = 1) -> list[Dataset]:
    """Return a small CT series in a transfer syntax; the encoders need images of some size."""
    if (UID(syntax).is_compressed and not UID(syntax).is_deflated) or syntax == ExplicitVRBigEndian:
        return ct_series(slices=slices, transfer_syntax=syntax)
    plain = ct_series(slices=slices)
    for image in plain:
        image.file_meta.TransferSyntaxUID = UID(syntax)
    return plain


@dataclass
class Reception:
    """A receiver with its store, rows and ledger, and the calls of a modality that sends to it."""

    spool: Spool
    ledger: Ledger
    arrivals: Arrivals
    receiver: Receiver
    closed: list[bool] = field(default_factory=list)

    @contextmanager
    def association(
        self, *, syntax: str = ExplicitVRLittleEndian, called: str = "ISOCENTER", calling: str = "CT1"
    ) -> Iterator[Association]:
        modality = AE(calling)
        modality.add_requested_context(Verification)
        modality.add_requested_context(CTImageStorage, syntax)
        modality.add_requested_context(MRImageStorage, syntax)
        modality.dimse_timeout = modality.acse_timeout = modality.network_timeout = WAIT_SECONDS
        association = modality.associate("127.0.0.1", self.receiver.port, ae_title=called)
        yield association
        if association.is_established:
            association.release()

    def send(self, *sent: Dataset, syntax: str = ExplicitVRLittleEndian) -> list[int]:
        """Send over one association, have the rows written, and return the statuses."""
        with self.association(syntax=syntax) as association:
            statuses = [store_in(association, image) for image in sent]
        self.all_closed()
        self.arrivals.record()
        return statuses

    def all_closed(self) -> None:
        wait_for(lambda: not self.open_packs(), "the end of the association")

    def open_packs(self) -> list[str]:
        return [path.name for path in self.spool.packs.iterdir() if self.spool.is_open(path.name)]

    def rows(self) -> list[str]:
        with sqlite3.connect(self.ledger.db._engine.url.database or "") as connection:
            return [row[0] for row in connection.execute("SELECT sop_instance_uid FROM instance")]

    def reasons(self) -> list[str]:
        return [refusal.reason for refusal in self.ledger.queries.refusals()]


def store_in(association: Association, image: Dataset) -> int:
    return store_bytes(
        association, encoded(image), sop_class=str(image.SOPClassUID), instance=str(image.SOPInstanceUID)
    )


def request(body: bytes, *, sop_class: str, instance: str) -> C_STORE:
    message = C_STORE()
    message.MessageID, message.Priority = 1, 2
    message.AffectedSOPClassUID, message.AffectedSOPInstanceUID = sop_class, instance
    message.DataSet = BytesIO(body) if body else None
    return message


def context_of(association: Association, sop_class: str) -> int:
    (accepted,) = [context for context in association.accepted_contexts if context.abstract_syntax == sop_class]
    assert accepted.context_id is not None
    return accepted.context_id


def store_bytes(
    association: Association, body: bytes, *, sop_class: str = CTImageStorage, instance: str = "1.2.3.4"
) -> int:
    """Send exactly these bytes; pynetdicom's own SCU would decode them first."""
    association._reactor_checkpoint.clear()
    while not association._is_paused:
        time.sleep(0.001)
    association.dimse.send_msg(
        request(body, sop_class=sop_class, instance=instance), context_of(association, sop_class)
    )
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    assert isinstance(answer, C_STORE)
    assert answer.Status is not None
    return int(answer.Status)


OpenReception = Callable[..., Reception]
