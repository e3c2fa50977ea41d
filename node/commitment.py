"""Storage Commitment Push Model as data sets (PS3.4 annex J): what both ends of the river say and read."""

from collections.abc import Callable, Sequence

import structlog
from pydicom.dataset import Dataset

from node.errors import LedgerUnavailable, NotUnderstood, UnknownTransaction
from node.images.part10 import understood
from node.records import CommitmentResult, Reference

log = structlog.get_logger()

WELL_KNOWN = "1.2.840.10008.1.20.1.1"
"""The one instance that every request and report names (PS3.4 J.3.5)."""
REQUEST = 1
ALL_COMMITTED, SOME_FAILED = 1, 2
"""Action Type ID (PS3.4 J.3.2.1) and Event Type IDs (J.3.3.1)."""

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
NO_SUCH_INSTANCE = 0x0112
NO_SUCH_EVENT = 0x0113
INVALID_ARGUMENT = 0x0115
CONFLICT = 0x0119
NO_SUCH_ACTION = 0x0123
"""Status codes (PS3.7 annex C); two of them are failure reasons as well."""

REASONS = {
    0x0110: "processing failure",
    0x0112: "no such object instance",
    0x0119: "class and instance conflict",
    0x0122: "referenced SOP class not supported",
    0x0131: "duplicate transaction UID",
    0x0213: "resource limitation",
}
"""Failure Reason (0008,1197) in words (PS3.3 C.14.1.1)."""


def reason_in_words(reason: int) -> str:
    """Return a failure reason as people read it, with its code."""
    return f"{REASONS.get(reason, 'failure')} (0x{reason:04X})"


def request_dataset(transaction_uid: str, references: Sequence[Reference]) -> Dataset:
    """Return the Action Information of a request (PS3.4 table J.3-1)."""
    dataset = Dataset()
    dataset.TransactionUID = transaction_uid
    dataset.ReferencedSOPSequence = [_item(one) for one in references]
    return dataset


def read_request(dataset: Dataset) -> tuple[str, tuple[Reference, ...]]:
    """Return transaction UID and instances of a request; NotUnderstood where it lacks either."""
    with understood():
        transaction_uid = str(dataset.get("TransactionUID") or "")
        references = tuple(_reference(item) for item in dataset.get("ReferencedSOPSequence") or [])
    if not transaction_uid or len(transaction_uid) > 64 or not references:
        raise NotUnderstood("the request has no Transaction UID or names no instance")
    return transaction_uid, references


def result_dataset(result: CommitmentResult) -> tuple[int, Dataset]:
    """Return Event Type ID and Event Information of a report (PS3.4 table J.3-2)."""
    dataset = Dataset()
    dataset.TransactionUID = result.transaction_uid
    if result.committed:
        dataset.ReferencedSOPSequence = [_item(one) for one in result.committed]
    if result.failed:
        dataset.FailedSOPSequence = [_item(one, reason) for one, reason in result.failed]
    return (SOME_FAILED if result.failed else ALL_COMMITTED), dataset


def read_result(dataset: Dataset) -> CommitmentResult:
    """Return what a report says; NotUnderstood where it has no transaction UID, or an item lacks what it must have."""
    with understood():
        transaction_uid = str(dataset.get("TransactionUID") or "")
        committed = tuple(_reference(item) for item in dataset.get("ReferencedSOPSequence") or [])
        failed = tuple(
            (_reference(item), int(item.get("FailureReason") or PROCESSING_FAILURE))
            for item in dataset.get("FailedSOPSequence") or []
        )
    if not transaction_uid:
        raise NotUnderstood("the report has no Transaction UID")
    return CommitmentResult(transaction_uid=transaction_uid, committed=committed, failed=failed)


def take_report(
    *,
    instance_uid: str,
    event_type: int | None,
    information: Callable[[], Dataset],
    ae_title: str,
    note: Callable[[CommitmentResult, str], None],
) -> int:
    """Note what a report says and return the status of N-EVENT-REPORT, the same on an old and a new association.

    A transaction that is not ours, or not this peer's, is an invalid argument (0x0115), and told in the log. While the
    ledger cannot be written it is a processing failure (0x0110): the peer should report again.
    """
    if instance_uid != WELL_KNOWN:
        return NO_SUCH_INSTANCE
    if event_type not in (ALL_COMMITTED, SOME_FAILED):
        return NO_SUCH_EVENT
    try:
        with understood():
            dataset = information()
        note(read_result(dataset), ae_title)
    except (NotUnderstood, UnknownTransaction) as error:
        log.warning("commitment.refused", calling=ae_title, reason=str(error))
        return INVALID_ARGUMENT
    except LedgerUnavailable as error:
        log.warning("ledger.unavailable", reason=str(error))
        return PROCESSING_FAILURE
    return SUCCESS


def _item(one: Reference, reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = one.sop_class_uid
    item.ReferencedSOPInstanceUID = one.sop_instance_uid
    if reason is not None:
        item.FailureReason = reason
    return item


def _reference(item: Dataset) -> Reference:
    return Reference(str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
