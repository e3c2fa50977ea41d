"""From a received data set to durable bytes: the one place between the association and the spool.

`fast.py` calls `StoreScp.take` as `on_store` does; what is too large to be held until then it hands to `begin` first.
"""

import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from io import BytesIO
from weakref import WeakKeyDictionary

import structlog
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from node.errors import LedgerUnavailable, NodeError, NotUnderstood, SpoolFull
from node.faults import fault
from node.images.header_summary import summarize
from node.images.part10 import file_header, parse, understood
from node.receive.arrivals import Arrivals
from node.receive.header_fields import ENOUGH, UID, is_deflated, pick, walked
from node.receive.priority import urgency
from node.records import Instance, Refusal
from node.spool import PACK_LIMIT, Buffer, Pack, Spool

log = structlog.get_logger()

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
"""Status codes of C-STORE (PS3.4 table B.2-1)."""

REQUIRED = ("SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID")
"""Without these nothing can be filed (Type 1 in PS3.3 C.12.1, C.7.2.1, C.7.3.1)."""


LARGEST_HEADER = 8 * 2**20
"""No more than this is inflated, or read of what lies in a pack already, in search of the header of a data set."""
BEGINNING = 64 * 1024
"""As much of a data set as is walked over in search of its header, before all of it is."""

Header = Mapping[str, str] | Dataset
"""What a data set says before its pixel data, by keyword."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a data set says of itself, and what is noted of it: empty where it is no ordinary image."""

    header: Header
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Received:
    """One C-STORE request: the data set as it came, in `parts`, and who sent it.

    Of a data set that was too large to be held, `parts` is what follows the draft. `originator` is who asked for it by
    C-MOVE, where the sender tells.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    parts: tuple[Buffer, ...]
    association: Association
    calling: str
    peer: str
    draft: "Draft | None" = None
    originator: str = ""

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
            parts=(request.DataSet.getvalue() if request.DataSet else b"",),
            association=event.assoc,
            calling=event.assoc.requestor.ae_title,
            peer=str(event.assoc.requestor.address),
            originator=str(request.MoveOriginatorApplicationEntityTitle or "").strip(),
        )

    @cached_property
    def head(self) -> bytes:
        """What stands before the data set in its Part 10 file."""
        return file_header(
            sop_class_uid=self.sop_class_uid,
            sop_instance_uid=self.sop_instance_uid,
            transfer_syntax_uid=self.transfer_syntax_uid,
        )

    @property
    def body(self) -> bytes:
        """The data set in one piece."""
        return b"".join(self.parts)

    @property
    def beginning(self) -> bytes:
        """As much of the data set as is walked over at first."""
        first = self.parts[0] if self.parts else b""
        return bytes((first if len(first) >= BEGINNING else self.body)[:BEGINNING])

    def told(self) -> Told:
        """Return what the data set says up to its pixel data; NotUnderstood where what we ask of it cannot be read."""
        if self.draft is not None:
            return self.draft.told()
        syntax = self.transfer_syntax_uid
        if is_deflated(syntax):
            return Told(header_of(inflated(self.body, whole=True), str(ExplicitVRLittleEndian)))
        beginning = self.beginning
        walk = walked(beginning, syntax)
        picked = pick(walk, whole=len(beginning) == sum(map(len, self.parts)))
        header = picked if picked is not None else header_of(self.body, syntax)
        return Told(header, summarize(walk, syntax, before=len(self.head)))


def header_of(body: bytes, transfer_syntax_uid: str) -> Header:
    """Return the header of a whole data set; NotUnderstood where it cannot be read."""
    picked = pick(walked(body, transfer_syntax_uid), whole=True)
    return picked if picked is not None else read(body, transfer_syntax_uid, stop_at=None)


def read(body: bytes, transfer_syntax_uid: str, *, stop_at: int | None) -> Header:
    """Have pydicom read a data set up to its pixel data, or to a tag; NotUnderstood where it cannot."""
    head = file_header(sop_class_uid="", sop_instance_uid="", transfer_syntax_uid=transfer_syntax_uid)
    with understood():
        header = parse(BytesIO(head + body), pixels=False, stop_at=stop_at)
        for keyword in (*REQUIRED, "Modality"):
            header.get(keyword)  # pydicom decodes a value when it is first asked for
        return header


def inflated(body: bytes, *, whole: bool) -> bytes:
    """Return the beginning of a deflated data set, as far as a header may go; NotUnderstood where it is none."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    with understood():
        content = inflate.decompress(body, LARGEST_HEADER)
        if whole and not inflate.eof and len(content) < LARGEST_HEADER:
            raise zlib.error("incomplete or truncated stream")
    return content


@dataclass(slots=True)
class OpenPack:
    """The pack an association writes to, and the study in it."""

    pack: Pack
    study_uid: str


@dataclass(slots=True)
class Draft:
    """An instance too large to be held, whose bytes go to a pack as they come; none other writes there meanwhile.

    A beginning that is refused is not written, and what follows is passed over: the answer comes at the end.
    """

    received: Received
    held: OpenPack | None = None
    failure: NodeError | None = None
    early: Told | None = None

    def write(self, *parts: Buffer) -> None:
        """Take what comes next."""
        if self.held is None or self.failure is not None:
            return
        try:
            self.held.pack.write(*parts)
        except SpoolFull as error:
            self.failure = error

    def told(self) -> Told:
        """Return what the data set says of itself; NotUnderstood where it cannot be read."""
        if self.early is None:
            written = self.held.pack.beginning(LARGEST_HEADER) if self.held else self.received.body
            whole = self.held is not None and len(written) < LARGEST_HEADER
            self.early = self.told_by(written[len(self.received.head) if self.held else 0 :], whole=whole)
        return self.early

    def told_by(self, body: bytes, *, whole: bool) -> Told:
        """Return what a data set that begins so says of itself; NotUnderstood where it cannot be read."""
        syntax = self.received.transfer_syntax_uid
        if is_deflated(syntax):
            syntax, body = str(ExplicitVRLittleEndian), inflated(body, whole=whole)
        walk = walked(body, syntax)
        picked = pick(walk, whole=False, enough=ENOUGH)
        header = picked if picked is not None else read(body, syntax, stop_at=ENOUGH + 1)
        return Told(header, summarize(walk, self.received.transfer_syntax_uid, before=len(self.received.head)))

    def drop(self) -> OpenPack | None:
        """Forget the instance; return the pack, where anything else is in it."""
        held, self.held = self.held, None
        if held is None:
            return None
        held.pack.drop()
        if held.pack.size:
            return held
        held.pack.remove()
        return None


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

    def begin(self, received: Received) -> Draft:
        """Begin to write an instance that is too large to be held; `received` has the first of it.

        `take` finishes it, with this draft and the rest; `drop` forgets it.
        """
        draft = Draft(received)
        try:
            self._arrivals.check_ledger()
            self._spool.check_space()
            check_request(received)
            study_uid = self._study_of_beginning(draft)
            self._pack(received.association, study_uid)
            draft.held = self._packs.pop(received.association)
        except (SpoolFull, LedgerUnavailable, NotUnderstood) as error:
            draft.failure = error
            draft.received = replace(received, parts=(received.beginning,))  # where it lies is used again
        draft.write(received.head, *received.parts)
        return draft

    def drop(self, draft: Draft) -> None:
        """Forget an instance whose end will never come."""
        held = draft.drop()
        if held is not None:
            self._packs[draft.received.association] = held

    def close(self, association: Association) -> None:
        """End the pack of an association that is over."""
        held = self._packs.pop(association, None)
        if held is not None:
            held.pack.close()
            self._closed()

    def _store(self, received: Received) -> int:
        check_request(received)
        if (draft := received.draft) is not None:
            draft.write(*received.parts)
            if draft.failure is not None:
                raise draft.failure
        told = received.told()
        header = told.header
        check_identity(header, received)
        instance = Instance(
            sop_instance_uid=received.sop_instance_uid,
            sop_class_uid=received.sop_class_uid,
            study_uid=str(header.get("StudyInstanceUID")),
            series_uid=str(header.get("SeriesInstanceUID")),
            modality=str(header.get("Modality") or "")[:16],
            transfer_syntax_uid=received.transfer_syntax_uid,
            calling=received.calling,
            peer=received.peer,
            received_at=self._clock(),
            checksum=0,
            urgency=urgency(header),
            note=told.note,
            originator=received.originator,
        )
        if draft is not None and draft.held is not None:
            arrival = draft.held.pack.append(instance)
            self._packs[received.association], draft.held = OpenPack(draft.held.pack, instance.study_uid), None
        else:
            pack = self._pack(received.association, instance.study_uid)
            arrival = pack.append(instance, received.head, *received.parts)
        self._arrivals.put(arrival)
        fault("receive.answer")
        return SUCCESS

    def _study_of_beginning(self, draft: Draft) -> str:
        """Return the study by what has come, empty where that does not tell; NotUnderstood for what will be refused."""
        received = draft.received
        syntax = received.transfer_syntax_uid
        if is_deflated(syntax):
            return ""
        walk = walked(received.beginning, syntax)
        picked = pick(walk, whole=False, enough=ENOUGH)
        if picked is None:
            return ""
        check_identity(picked, received)
        draft.early = Told(picked, summarize(walk, syntax, before=len(received.head)))
        return picked["StudyInstanceUID"]

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
        study_uid = _study_of(received)
        if received.draft is not None:
            self.drop(received.draft)
        self._arrivals.put(
            Refusal(
                at=self._clock(),
                sop_instance_uid=uid,
                sop_class_uid=received.sop_class_uid,
                study_uid=study_uid,
                calling=received.calling,
                peer=received.peer,
                reason=reason,
            )
        )
        return status


class Mismatch(NotUnderstood):
    """The data set is of another SOP class than the request says."""


def check_request(received: Received) -> None:
    """Raise NotUnderstood where a request does not name what it brings."""
    if not (UID.fullmatch(received.sop_instance_uid) and UID.fullmatch(received.sop_class_uid)):
        raise NotUnderstood("the request does not say which instance of which SOP class it brings")


def check_identity(header: Header, received: Received) -> None:
    """Raise NotUnderstood where the data set does not say what it is, or says something else than the request."""
    for keyword in REQUIRED:
        value = header.get(keyword)
        if not value:
            raise NotUnderstood(f"the data set has no {keyword}")
        if not UID.fullmatch(str(value)):
            raise NotUnderstood(f"the data set's {keyword} is no UID")
    sop_class_uid, sop_instance_uid = header.get("SOPClassUID"), header.get("SOPInstanceUID")
    if sop_class_uid != received.sop_class_uid:
        raise Mismatch(f"the data set is of SOP class {sop_class_uid}, the request of {received.sop_class_uid}")
    if sop_instance_uid != received.sop_instance_uid:
        raise NotUnderstood(f"the data set is instance {sop_instance_uid}, the request another")


def _study_of(received: Received) -> str:
    """Return the study of a refused data set where it can be read, so that the study's story tells of it."""
    try:
        uid = str(received.told().header.get("StudyInstanceUID") or "")
    except NotUnderstood:
        return ""
    return uid if UID.fullmatch(uid) else ""
