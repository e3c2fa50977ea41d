"""A receiver that is watched, and C-STORE messages that are divided in any way: for tests of the upper layer."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
)

from node.completeness import PackEnd
from node.receive import Receiver
from node.receive.p_data import ReceiveLimits
from node.records import Arrival, Refusal
from node.spool import Spool
from node.testing import ct_series
from tests.peers import wait_until
from tests.wire import COMMAND, LAST, RELEASE, Peer, associate, command, p_data, pdv, split, store_rq

VERIFICATION = "1.2.840.10008.1.1"
CT, MR = str(CTImageStorage), str(MRImageStorage)
CONTEXTS = {
    1: (CT, str(ExplicitVRLittleEndian)),
    3: (MR, str(ExplicitVRLittleEndian)),
    5: (VERIFICATION, str(ImplicitVRLittleEndian)),
    7: (CT, str(ImplicitVRLittleEndian)),
    9: (CT, str(DeflatedExplicitVRLittleEndian)),
    11: (CT, str(ExplicitVRBigEndian)),
}
REQUEST = associate(CONTEXTS)
P_DATA_TYPE, ABORT_TYPE, RELEASE_RP_TYPE = 4, 7, 6
HELD = ReceiveLimits().held_bytes


@dataclass
class ObservedReceiver:
    """A receiver, and what it kept or refused."""

    spool: Spool
    scp: Receiver
    rows: list[Arrival | Refusal] = field(default_factory=list)

    def put(self, row: Arrival | Refusal | PackEnd) -> None:
        if not isinstance(row, PackEnd):
            self.rows.append(row)

    def check_ledger(self) -> None: ...

    def kept(self) -> list[tuple[Any, ...]]:
        """What has a row, without what differs from run to run."""
        return [self._values(row) for row in self.rows]

    def _values(self, row: Arrival | Refusal) -> tuple[Any, ...]:
        if isinstance(row, Refusal):
            return row.sop_instance_uid, row.sop_class_uid, row.study_uid, row.calling, row.peer, row.reason
        instance = row.instance
        return (
            instance.sop_instance_uid, instance.study_uid, instance.series_uid, instance.modality,
            instance.transfer_syntax_uid, instance.calling, instance.peer, instance.urgency, instance.checksum,
            self.spool.part10(row.place).read(),
        )  # fmt: skip

    def exchange(self, *turns: Sequence[bytes], seconds: float = 20) -> list[bytes]:
        """Send each turn and wait for its response, release, and return all responses."""
        peer = Peer(self.scp.port, REQUEST, seconds=seconds)
        responses = []
        for turn in turns:
            peer.send(*turn)
            responses.append(peer.pdu())
        peer.send(RELEASE)
        responses += peer.rest()
        peer.close()
        self.wait_for_end()
        return responses

    def send_all(self, content: Sequence[bytes], seconds: float) -> list[bytes]:
        """Send everything, and return the responses; each may take so many seconds."""
        peer = Peer(self.scp.port, REQUEST)
        peer.socket.settimeout(seconds)
        with suppress(OSError):
            peer.send(*content)
        responses = peer.rest()
        peer.close()
        self.wait_for_end()
        return responses

    def wait_for_end(self) -> None:
        """Wait until no association has an open pack."""
        wait_until(lambda: not any(self.spool.is_open(path.name) for path in self.packs()), what="the end")

    def packs(self) -> list[Path]:
        return list(self.spool.packs.iterdir())


def encoded(image: Dataset, syntax: str = str(ExplicitVRLittleEndian)) -> bytes:
    """Return a data set as a C-STORE carries it, without preamble and File Meta Information."""
    image.file_meta.TransferSyntaxUID = syntax
    out = BytesIO()
    image.save_as(out, enforce_file_format=True)
    content = out.getvalue()
    return content[144 + int.from_bytes(content[140:144], "little") :]


(IMAGE,) = ct_series(slices=1, rows=24, columns=24)
INSTANCE = str(IMAGE.SOPInstanceUID)
BODIES = {number: encoded(IMAGE, syntax) for number, (_, syntax) in CONTEXTS.items() if number not in (3, 5, 11)}
BODIES[11] = encoded(ct_series(slices=1, rows=24, columns=24, transfer_syntax=ExplicitVRBigEndian)[0], CONTEXTS[11][1])


@dataclass(frozen=True)
class Message:
    """One message, and how it is divided: into values, values into PDUs, and all of it into writes."""

    context: int
    elements: dict[int, bytes]
    body: bytes
    fragments: tuple[int, ...] = ()
    per_pdu: int = 1
    writes: tuple[int, ...] = ()

    def values(self) -> list[bytes]:
        """Its presentation data values."""
        found = []
        for kind, content in ((COMMAND, command(self.elements)), (0, self.body)):
            pieces = split(content, self.fragments)
            found += [
                pdv(self.context, kind | (LAST if number == len(pieces) - 1 else 0), piece)
                for number, piece in enumerate(pieces)
            ]
        return found

    def pdus(self) -> list[bytes]:
        values = self.values()
        return [p_data(*values[start : start + self.per_pdu]) for start in range(0, len(values), self.per_pdu)]

    def sent(self) -> list[bytes]:
        return split(b"".join(self.pdus()), self.writes)


def store_message(context: int = 1, **how: Any) -> Message:
    return Message(context, store_rq(CT, INSTANCE, message=7), BODIES[context], **how)


def status(response: bytes) -> int:
    """Return the Status (0000,0900) in a response."""
    start = response.index(b"\0\0\0\x09\x02\0\0\0") + 8
    return int.from_bytes(response[start : start + 2], "little")
