"""The Storage SCU: objects to one destination over one association, each with its own answer."""

import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config, build_context, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import from a table
from pynetdicom.status import code_to_category

from node.errors import DestinationUnavailable
from node.images.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.records import Address

_config.STORE_SEND_CHUNKED_DATASET = True
"""Send the bytes of the file as they are; pynetdicom would otherwise decode the data set and encode it anew."""

PAUSE_SECONDS = 0.5
"""How long an association's thread may take to pause; one that is about to end never does."""
CONTEXTS = 128
"""An association has no more presentation contexts than there are odd numbers in a byte (PS3.8 section 9.3.2.2)."""


UNCOMPRESSED = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)


class Outcome(StrEnum):
    """What became of one object."""

    STORED = "stored"
    LATER = "later"
    UNSUPPORTED = "unsupported"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a destination said to one object, in words."""

    outcome: Outcome
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A DICOM file to send."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


STATUS = {
    0x0105: (Outcome.REFUSED, "no such attribute"),
    0x0106: (Outcome.REFUSED, "invalid attribute value"),
    0x0110: (Outcome.LATER, "processing failure"),
    0x0117: (Outcome.REFUSED, "invalid SOP instance"),
    0x0122: (Outcome.UNSUPPORTED, "SOP class not supported"),
    0x0124: (Outcome.REFUSED, "not authorised"),
    0x0210: (Outcome.LATER, "duplicate invocation"),
    0x0211: (Outcome.REFUSED, "unrecognised operation"),
    0x0212: (Outcome.REFUSED, "mistyped argument"),
}
STATUS_RANGE = {
    0xA7: (Outcome.LATER, "out of resources"),
    0xA9: (Outcome.REFUSED, "data set does not match the SOP class"),
    0xC: (Outcome.REFUSED, "cannot understand"),
}
"""Failures of C-STORE and what follows from them (PS3.4 B.2.3, PS3.7 annex C)."""


def judge(status: int) -> Answer:
    """Say what a C-STORE status means for the object: stored, try later, or refused for good."""
    if code_to_category(status) in ("Success", "Warning"):
        return Answer(Outcome.STORED, "" if status == 0 else f"stored with warning 0x{status:04X}")
    unknown = (Outcome.REFUSED, "failure")
    outcome, words = STATUS.get(status) or STATUS_RANGE.get(status >> 8) or STATUS_RANGE.get(status >> 12) or unknown
    return Answer(outcome, f"{words} (0x{status:04X})")


def store(
    address: Address, calling: str, parcels: Sequence[Parcel], *, seconds: float, convert_to: str | None = None
) -> Iterator[Answer]:
    """Send objects over one association and yield the answer to each, in their order.

    An object whose presentation context is not accepted is unsupported: the destination does not take its SOP class.
    There are at most `CONTEXTS` different pairs of SOP class and transfer syntax among them.

    Parameters
    ----------
    convert_to
        Transfer syntax to encode uncompressed objects in; where it is not accepted they go as they are, else in
        Implicit VR Little Endian, which everybody takes (PS3.5 section 10.1). Without it the bytes stay as they are.

    Raises
    ------
    DestinationUnavailable
        No association could be had, or it was lost; what had no answer by then has to be sent again.
    """
    contexts = _contexts(parcels, convert_to)
    with Associated(address, calling, contexts, seconds) as association:
        accepted = {
            (cx.abstract_syntax, syntax) for cx in association.accepted_contexts for syntax in cx.transfer_syntax
        }
        for message_id, parcel in enumerate(parcels, 1):
            offered = _syntaxes(parcel, convert_to)
            chosen = next((one for one in offered if (parcel.sop_class_uid, one) in accepted), None)
            if chosen is not None:
                yield _send(association, address, parcel, message_id, chosen)
            else:
                yield Answer(Outcome.UNSUPPORTED, f"SOP class {UID(parcel.sop_class_uid).name} is not accepted")


def echo(address: Address, calling: str, *, seconds: float) -> None:
    """Verify by C-ECHO that a destination answers; DestinationUnavailable says why it does not."""
    with Associated(address, calling, [build_context(Verification)], seconds) as association:
        if not association.is_established:
            raise DestinationUnavailable(f"{address} does not accept C-ECHO")
        status = association.send_c_echo()
        if "Status" not in status or status.Status != 0:
            raise DestinationUnavailable(f"{address} gave no answer to C-ECHO")


def _send(association: Association, address: Address, parcel: Parcel, message_id: int, syntax: str) -> Answer:
    if not parcel.path.is_file():
        return Answer(Outcome.REFUSED, "its file is gone from the spool; requeue the study's job")
    try:
        what = parcel.path if syntax == parcel.transfer_syntax_uid else _converted(parcel.path, syntax)
        status = association.send_c_store(what, msg_id=message_id % 65536)
    except RuntimeError as error:
        raise DestinationUnavailable(f"{address} ended the association") from error
    except (AttributeError, EOFError, InvalidDicomError, OSError, ValueError) as error:
        return Answer(Outcome.REFUSED, f"it cannot be sent: {error}")
    if "Status" not in status:
        raise DestinationUnavailable(f"{address} gave no answer to instance {parcel.sop_instance_uid}")
    return judge(int(status.Status))


def _contexts(parcels: Sequence[Parcel], convert_to: str | None) -> list[PresentationContext]:
    """Return a context for each SOP class and transfer syntax, conversions last: there may be no room for all."""
    ways = [[(parcel.sop_class_uid, syntax) for syntax in _syntaxes(parcel, convert_to)] for parcel in parcels]
    wanted = dict.fromkeys(way[place] for place in range(3) for way in ways if place < len(way))
    return [build_context(sop_class, syntax) for sop_class, syntax in [*wanted][:CONTEXTS]]


def _syntaxes(parcel: Parcel, convert_to: str | None) -> list[str]:
    """Return the transfer syntaxes an object may go in, the best first."""
    stored = parcel.transfer_syntax_uid
    if convert_to is None or stored not in UNCOMPRESSED:
        return [stored]
    return list(dict.fromkeys((convert_to, stored, str(ImplicitVRLittleEndian))))


def _converted(path: Path, syntax: str) -> Dataset:
    """Return an object to be encoded anew; what pydicom noted of its old encoding would have it refused."""
    dataset = Dataset(dcmread(path))
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    return dataset


class Associated:
    """An association that is released at the end, or aborted when something went wrong."""

    def __init__(
        self,
        address: Address,
        calling: str,
        contexts: list[PresentationContext],
        seconds: float,
        handlers: Sequence[evt.EventHandlerType] = (),
    ) -> None:
        self._address = address
        self._contexts = contexts
        self._handlers = [(evt.EVT_CONN_OPEN, _hurry), *handlers]
        entity = AE(calling)
        entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = seconds
        self._entity = entity

    def __enter__(self) -> Association:
        address = self._address
        try:
            association = self._entity.associate(
                address.host,
                address.port,
                contexts=self._contexts,
                ae_title=address.ae_title,
                max_pdu=0,
                evt_handlers=self._handlers,
            )
        except (OSError, UnicodeError) as error:
            raise DestinationUnavailable(f"{address}: the host is not known here: {error}") from error
        self._association = association
        if association.is_established or association.rejected_contexts:
            return association
        raise DestinationUnavailable(f"{address}: {_why(association)}")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not self._association.is_established:
            return
        if kind in (None, GeneratorExit):  # all was answered that was asked
            self._association.release()
        else:
            self._association.abort()


class Prompt(socket.socket):
    """A connection on which neither side waits 40 ms for an acknowledgement that the other is late with (RFC 896).

    What is sent goes at once, and what has come is acknowledged before more is waited for: dcmtk, in Orthanc too,
    answers in two short writes.
    """

    @classmethod
    def of(cls, plain: socket.socket) -> "Prompt":
        """Return a connection that takes the place of another."""
        seconds = plain.gettimeout()
        prompt = cls(fileno=plain.detach())
        prompt.settimeout(seconds)
        prompt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return prompt

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Receive as a socket does."""
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return super().recv(bufsize, flags)


class Checkpoint(threading.Event):
    """Where pynetdicom's association pauses while it is used, made to wait until it really does.

    pynetdicom looks at a flag that is up for a moment in each round of the association's thread, paused or not. In such
    a moment a request goes out while that thread is on its way to look for messages, and an answer that comes at once
    is taken for one that nobody awaits, and lost.
    """

    def __init__(self) -> None:
        super().__init__()
        self._here = threading.Event()
        self.set()

    def clear(self) -> None:
        """Have the association's thread pause, and return when it has; soon, where it is none any more."""
        self._here.clear()
        super().clear()
        self._here.wait(PAUSE_SECONDS)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, as an event does."""
        if not self.is_set():
            self._here.set()
        return super().wait(timeout)


def _hurry(event: evt.Event) -> None:
    event.assoc._reactor_checkpoint = Checkpoint()  # noqa: SLF001
    connection = event.assoc.dul.socket
    if connection is not None and connection.socket is not None:
        connection.socket = Prompt.of(connection.socket)


def _why(association: Association) -> str:
    if association.is_rejected:
        answer = association.acceptor.primitive
        return f"the association was rejected: {answer.reason_str if answer else 'no reason given'}"
    if association.is_aborted:
        return "the association was aborted, or nothing listens there"
    return "no association could be had"
