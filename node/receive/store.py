"""From a received data set to durable bytes: the one place between the association and the spool.

A faster way to read P-DATA calls `StoreScp.take` as `on_store` does, and nothing else changes.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from weakref import WeakKeyDictionary

import structlog
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from node.errors import LedgerUnavailable, NotUnderstood, SpoolFull
from node.faults import fault
from node.note import note_of
from node.part10 import file_header, parse, understood
from node.receive.arrivals import Arrivals
from node.receive.urgency import urgency
from node.records import Instance, Refusal
from node.spool import PACK_LIMIT, Pack, Spool

log = structlog.get_logger()

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
"""Status codes of C-STORE (PS3.4 table B.2-1)."""

UID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")
"""What is taken as a UID: PS3.5 section 9.1 allows digits and dots only, but objects with letters in them are about.

It names folders too: none can be ".." or hidden.
"""

REQUIRED = ("SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID")
"""Without these nothing can be filed (Type 1 in PS3.3 C.12.1, C.7.2.1, C.7.3.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One C-STORE request: the data set as it came, and who sent it."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    body: bytes
    association: Association
    calling: str
    peer: str

    @classmethod
    def of(cls, event: evt.Event) -> "Received":
        """Read pynetdicom's event."""
        request = event.request
        if not isinstance(request, C_STORE):
            raise TypeError("this handler is bound to C-STORE alone")
        return cls(
            sop_class_uid=str(request.AffectedSOPClassUID or ""),
            sop_instance_uid=str(request.AffectedSOPInstanceUID or ""),
            transfer_syntax_uid=str(event.context.transfer_syntax),
            body=request.DataSet.getvalue() if request.DataSet else b"",
            association=event.assoc,
            calling=event.assoc.requestor.ae_title,
            peer=str(event.assoc.requestor.address),
        )

    @property
    def head(self) -> bytes:
        """What stands before the data set in its Part 10 file."""
        return file_header(
            sop_class_uid=self.sop_class_uid,
            sop_instance_uid=self.sop_instance_uid,
            transfer_syntax_uid=self.transfer_syntax_uid,
        )

    def header(self) -> Dataset:
        """Return the data set up to its pixel data; NotUnderstood where it, or what we ask of it, cannot be read."""
        with understood():
            header = parse(BytesIO(self.head + self.body), pixels=False)
            for keyword in (*REQUIRED, "Modality"):
                header.get(keyword)  # pydicom decodes a value when it is first asked for
            return header


@dataclass(slots=True)
class OpenPack:
    """The pack an association writes to, and the study in it."""

    pack: Pack
    study_uid: str


class StoreScp:
    """Answers C-STORE requests: Success only for what is durable.

    One instance serves all associations; each of them has a pack of its own.
    """

    def __init__(
        self,
        spool: Spool,
        arrivals: Arrivals,
        *,
        closed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._spool = spool
        self._arrivals = arrivals
        self._closed = closed
        self._clock = clock
        self._packs: WeakKeyDictionary[Association, OpenPack] = WeakKeyDictionary()

    def on_store(self, event: evt.Event) -> int:
        """Return the status of one C-STORE request, when its instance is durable or refused with a reason."""
        return self.take(Received.of(event))

    def take(self, received: Received) -> int:
        """Return the status of one instance, when it is durable or refused with a reason."""
        try:
            self._arrivals.check_ledger()
            self._spool.check_space()
            return self._store(received)
        except (SpoolFull, LedgerUnavailable) as error:
            return self._refuse(received, OUT_OF_RESOURCES, str(error))
        except Mismatch as error:
            return self._refuse(received, MISMATCH, str(error))
        except NotUnderstood as error:
            return self._refuse(received, CANNOT_UNDERSTAND, str(error))
        except Exception as error:  # noqa: BLE001 (one of three: the association lives on, the sender keeps the data)
            log.error("instance.failed", reason=f"{type(error).__name__}: {error}")
            return self._refuse(received, OUT_OF_RESOURCES, f"the node failed on it: {type(error).__name__}")

    def close(self, association: Association) -> None:
        """End the pack of an association that is over."""
        held = self._packs.pop(association, None)
        if held is not None:
            held.pack.close()
            self._closed()

    def _store(self, received: Received) -> int:
        if not (UID.fullmatch(received.sop_instance_uid) and UID.fullmatch(received.sop_class_uid)):
            raise NotUnderstood("the request does not say which instance of which SOP class it brings")
        header = received.header()
        check_identity(header, received)
        instance = Instance(
            sop_instance_uid=received.sop_instance_uid,
            sop_class_uid=received.sop_class_uid,
            study_uid=str(header.StudyInstanceUID),
            series_uid=str(header.SeriesInstanceUID),
            modality=str(header.get("Modality") or "")[:16],
            transfer_syntax_uid=received.transfer_syntax_uid,
            calling=received.calling,
            peer=received.peer,
            received_at=self._clock(),
            checksum=0,
            urgency=urgency(header),
            note=note_of(received.body, received.transfer_syntax_uid, before=len(received.head)),
        )
        pack = self._pack(received.association, instance.study_uid)
        self._arrivals.put(pack.append(instance, received.head, received.body))
        fault("receive.answer")
        return SUCCESS

    def _pack(self, association: Association, study_uid: str) -> Pack:
        """Return the pack to append to: a new one for another study, when the old one is large, or broken."""
        held = self._packs.get(association)
        if held is None or held.study_uid != study_uid or held.pack.size >= PACK_LIMIT or held.pack.broken:
            self.close(association)
            held = self._packs[association] = OpenPack(self._spool.open_pack(), study_uid)
        return held.pack

    def _refuse(self, received: Received, status: int, reason: str) -> int:
        uid = received.sop_instance_uid
        log.warning("instance.refused", instance=uid, calling=received.calling, reason=reason)
        self._arrivals.put(
            Refusal(
                at=self._clock(),
                sop_instance_uid=uid,
                sop_class_uid=received.sop_class_uid,
                study_uid=_study_of(received),
                calling=received.calling,
                peer=received.peer,
                reason=reason,
            )
        )
        return status


class Mismatch(NotUnderstood):
    """The data set is of another SOP class than the request says."""


def check_identity(header: Dataset, received: Received) -> None:
    """Raise NotUnderstood where the data set does not say what it is, or says something else than the request."""
    for keyword in REQUIRED:
        value = header.get(keyword)
        if not value:
            raise NotUnderstood(f"the data set has no {keyword}")
        if not UID.fullmatch(str(value)):
            raise NotUnderstood(f"the data set's {keyword} is no UID")
    if header.SOPClassUID != received.sop_class_uid:
        raise Mismatch(f"the data set is of SOP class {header.SOPClassUID}, the request of {received.sop_class_uid}")
    if header.SOPInstanceUID != received.sop_instance_uid:
        raise NotUnderstood(f"the data set is instance {header.SOPInstanceUID}, the request another")


def _study_of(received: Received) -> str:
    """Return the study of a refused data set where it can be read, so that the study's story tells of it."""
    try:
        uid = str(received.header().get("StudyInstanceUID") or "")
    except NotUnderstood:
        return ""
    return uid if UID.fullmatch(uid) else ""
