"""The Storage SCU: objects are sent to one destination over one association, and each has its own result."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import _config, build_context
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import from a table
from pynetdicom.status import code_to_category

from node.deliver.association import OpenAssociation
from node.errors import DestinationUnavailable
from node.plain_text import plain
from node.records import Address

_config.STORE_SEND_CHUNKED_DATASET = True
"""Send the bytes of the file as they are; by default pynetdicom decodes the data set and encodes it again."""

MOST_CONTEXTS = 128
"""Presentation context IDs are the odd numbers in one byte (PS3.8 section 9.3.2.2)."""
SYNTAX_REFUSED = 4
"""Result of a presentation context whose transfer syntaxes are not supported (PS3.8 table 9-18)."""
UNCOMPRESSED = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)


class StoreOutcome(StrEnum):
    """What follows for an object from the response of the destination."""

    STORED = "stored"
    LATER = "later"
    UNSUPPORTED = "unsupported"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class StoreResult:
    """The outcome for one object, and the reason or the warning that the destination gave."""

    outcome: StoreOutcome
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingObject:
    """A DICOM file to send."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


STATUS = {
    0x0105: (StoreOutcome.REFUSED, "no such attribute"),
    0x0106: (StoreOutcome.REFUSED, "invalid attribute value"),
    0x0110: (StoreOutcome.LATER, "processing failure"),
    0x0111: (StoreOutcome.STORED, "the destination has it already"),
    0x0112: (StoreOutcome.REFUSED, "no such SOP instance"),
    0x0113: (StoreOutcome.REFUSED, "no such event type"),
    0x0114: (StoreOutcome.REFUSED, "no such argument"),
    0x0115: (StoreOutcome.REFUSED, "invalid argument value"),
    0x0117: (StoreOutcome.REFUSED, "invalid SOP instance"),
    0x0118: (StoreOutcome.UNSUPPORTED, "no such SOP class"),
    0x0119: (StoreOutcome.REFUSED, "class and instance conflict"),
    0x0120: (StoreOutcome.REFUSED, "missing attribute"),
    0x0121: (StoreOutcome.REFUSED, "missing attribute value"),
    0x0122: (StoreOutcome.UNSUPPORTED, "SOP class not supported"),
    0x0123: (StoreOutcome.REFUSED, "no such action type"),
    0x0124: (StoreOutcome.REFUSED, "not authorised"),
    0x0210: (StoreOutcome.LATER, "duplicate invocation"),
    0x0211: (StoreOutcome.REFUSED, "unrecognised operation"),
    0x0212: (StoreOutcome.REFUSED, "mistyped argument"),
    0x0213: (StoreOutcome.LATER, "resource limitation"),
}
STATUS_RANGE = {
    0xA7: (StoreOutcome.LATER, "out of resources"),
    0xA9: (StoreOutcome.REFUSED, "data set does not match the SOP class"),
    0xC: (StoreOutcome.REFUSED, "cannot understand"),
}
"""Status codes of C-STORE that are no success and no warning, or their first digits, and what follows (PS3.4 table
B.2-1, PS3.7 annex C). A destination says "duplicate" where the response to an earlier
attempt was lost on its way: it has the object."""


def result_of(status: int, comment: str = "") -> StoreResult:
    """Return the result that a C-STORE status means; a status that the standard does not name is a refusal.

    `comment` is the Error Comment of the destination.
    """
    comment = f": {plain(comment)}" if comment else ""
    if code_to_category(status) in ("Success", "Warning"):
        return StoreResult(StoreOutcome.STORED, "" if status == 0 else f"stored with warning 0x{status:04X}{comment}")
    unknown = (StoreOutcome.REFUSED, "failure")
    outcome, meaning = STATUS.get(status) or STATUS_RANGE.get(status >> 8) or STATUS_RANGE.get(status >> 12) or unknown
    return StoreResult(outcome, f"{meaning} (0x{status:04X}){comment}")


def store(
    address: Address,
    calling: str,
    objects: Sequence[OutgoingObject],
    *,
    seconds: float,
    convert_to: str | None = None,
    go_on: Callable[[], bool] = lambda: True,
) -> Iterator[StoreResult]:
    """Send objects over one association and yield the result of each, in order.

    An object is unsupported where the destination accepts no presentation context for it.

    Parameters
    ----------
    objects
        They have at most `MOST_CONTEXTS` different pairs of SOP class and transfer syntax.
    seconds
        Limit of each wait for the destination.
    convert_to
        Transfer syntax to encode uncompressed objects in. Where the destination does not accept it, an object is sent
        as it is, or else in Implicit VR Little Endian, which all must accept (PS3.5 section 10.1). Without
        `convert_to`, the bytes of the file are sent.
    go_on
        Asked before each object is sent: at False, that one and the rest are not.

    Raises
    ------
    DestinationUnavailable
        No association could be opened, or it was lost; objects without a result have to be sent again.
    """
    contexts = _contexts(objects, convert_to)
    with OpenAssociation(address, calling, contexts, seconds) as association:
        accepted = {
            (context.abstract_syntax, syntax)
            for context in association.accepted_contexts
            for syntax in context.transfer_syntax
        }
        for message_id, outgoing in enumerate(objects, 1):
            if not go_on():
                return
            syntaxes = _transfer_syntaxes(outgoing, convert_to)
            chosen = next((syntax for syntax in syntaxes if (outgoing.sop_class_uid, syntax) in accepted), None)
            if chosen is not None:
                yield _send(association, address, outgoing, message_id, chosen)
            else:
                yield StoreResult(StoreOutcome.UNSUPPORTED, _refused_context(association, outgoing))


def _refused_context(association: Association, outgoing: OutgoingObject) -> str:
    """Say which presentation context was refused: for its SOP class, or for its transfer syntax (PS3.8 table 9-18)."""
    name = UID(outgoing.sop_class_uid).name
    syntaxes = [
        context
        for context in association.rejected_contexts
        if context.abstract_syntax == outgoing.sop_class_uid and context.result == SYNTAX_REFUSED
    ]
    where = f" in {UID(outgoing.transfer_syntax_uid).name}" if syntaxes else ""
    return f"SOP class {name} is not accepted{where}"


def echo(address: Address, calling: str, *, seconds: float) -> None:
    """Verify by C-ECHO that a peer answers; DestinationUnavailable says why it does not."""
    with OpenAssociation(address, calling, [build_context(Verification)], seconds) as association:
        if not association.is_established:
            raise DestinationUnavailable(f"{address} does not accept C-ECHO")
        status = association.send_c_echo()
        if "Status" not in status or status.Status != 0:
            raise DestinationUnavailable(f"{address} gave no answer to C-ECHO")


def _send(
    association: Association, address: Address, outgoing: OutgoingObject, message_id: int, syntax: str
) -> StoreResult:
    if not outgoing.path.is_file():
        return StoreResult(StoreOutcome.REFUSED, "its file is gone from the spool; requeue the study's job")
    try:
        as_is = syntax == outgoing.transfer_syntax_uid and _named_alike(outgoing)
        status = association.send_c_store(
            outgoing.path if as_is else _converted(outgoing.path, syntax), msg_id=message_id % 65536
        )
    except RuntimeError as error:
        raise DestinationUnavailable(f"{address} ended the association") from error
    except (AttributeError, EOFError, InvalidDicomError, OSError, ValueError) as error:
        return StoreResult(StoreOutcome.REFUSED, f"it cannot be sent: {error}")
    if "Status" not in status:
        raise DestinationUnavailable(f"{address} gave no answer to instance {outgoing.sop_instance_uid}")
    return result_of(int(status.Status), str(status.get("ErrorComment") or ""))


def _named_alike(outgoing: OutgoingObject) -> bool:
    """Return whether the File Meta Information has the UIDs of the data set: pynetdicom sends those that it has."""
    meta = read_file_meta_info(outgoing.path)
    return (meta.get("MediaStorageSOPClassUID"), meta.get("MediaStorageSOPInstanceUID")) == (
        outgoing.sop_class_uid,
        outgoing.sop_instance_uid,
    )


def _contexts(objects: Sequence[OutgoingObject], convert_to: str | None) -> list[PresentationContext]:
    """Return a context for each SOP class and transfer syntax, the first choice of every object before the others.

    Where they are more than `MOST_CONTEXTS`, the last are left out.
    """
    choices = [
        [(outgoing.sop_class_uid, syntax) for syntax in _transfer_syntaxes(outgoing, convert_to)]
        for outgoing in objects
    ]
    pairs = dict.fromkeys(pair for rank in zip_longest(*choices) for pair in rank if pair is not None)
    return [build_context(sop_class, syntax) for sop_class, syntax in [*pairs][:MOST_CONTEXTS]]


def _transfer_syntaxes(outgoing: OutgoingObject, convert_to: str | None) -> list[str]:
    """Return the transfer syntaxes that an object may be sent in, the first choice first."""
    stored = outgoing.transfer_syntax_uid
    if convert_to is None or stored not in UNCOMPRESSED:
        return [stored]
    return list(dict.fromkeys((convert_to, stored, str(ImplicitVRLittleEndian))))


def _converted(path: Path, syntax: str) -> Dataset:
    """Return an object that pynetdicom encodes in another transfer syntax.

    It is a copy without what pydicom has noted of the old encoding: pynetdicom would refuse the object for it.
    """
    dataset = Dataset(dcmread(path))
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    return dataset
