"""The Storage Commitment Push Model (PS3.4 annex J): data sets and status codes, for both the SCU and the SCP."""

from collections.abc import Callable, Sequence

import structlog
from pydicom.dataset import Dataset

from node.errors import LedgerUnavailable, NotUnderstood, UnknownTransaction
from node.images.part10 import understood
from node.records import CommitmentResult, Reference

log = structlog.get_logger()

PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1.1"
"""The well-known SOP Instance UID that every request and report names (PS3.4 J.3.5)."""
REQUEST_COMMITMENT = 1
"""Action Type ID of a request (PS3.4 J.3.2)."""
REQUEST_SUCCESSFUL, FAILURES_EXIST = 1, 2
"""Event Type IDs of a report: all instances are committed, or some are not (PS3.4 J.3.3)."""

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
NO_SUCH_INSTANCE = 0x0112
NO_SUCH_EVENT_TYPE = 0x0113
INVALID_ARGUMENT = 0x0115
CLASS_INSTANCE_CONFLICT = 0x0119
NO_SUCH_ACTION_TYPE = 0x0123
"""Status codes of N-ACTION and N-EVENT-REPORT (PS3.7 annex C)."""

FAILURE_REASONS = {
    0x0110: "processing failure",
    0x0112: "no such object instance",
    0x0119: "class and instance conflict",
    0x0122: "referenced SOP class not supported",
    0x0131: "duplicate transaction UID",
    0x0213: "resource limitation",
}
"""Meanings of Failure Reason (0008,1197) (PS3.3 C.14.1.1)."""


def describe_failure(reason: int) -> str:
    """Return the meaning of a failure reason, with its code."""
    return f"{FAILURE_REASONS.get(reason, 'failure')} (0x{reason:04X})"


def action_information(transaction_uid: str, references: Sequence[Reference]) -> Dataset:
    """Return the Action Information of a request (PS3.4 table J.3-1)."""
    dataset = Dataset()
    dataset.TransactionUID = transaction_uid
    dataset.ReferencedSOPSequence = [_item(reference) for reference in references]
    return dataset


def read_action_information(dataset: Dataset) -> tuple[str, tuple[Reference, ...]]:
    """Return the Transaction UID and the instances of a request; NotUnderstood where either is missing."""
    with understood():
        transaction_uid = str(dataset.get("TransactionUID") or "")
        references = tuple(_reference(item) for item in dataset.get("ReferencedSOPSequence") or [])
    if not transaction_uid or len(transaction_uid) > 64 or not references:
        raise NotUnderstood("the request has no Transaction UID or names no instance")
    return transaction_uid, references


def event_report(result: CommitmentResult) -> tuple[int, Dataset]:
    """Return the Event Type ID and the Event Information of a report (PS3.4 table J.3-2)."""
    dataset = Dataset()
    dataset.TransactionUID = result.transaction_uid
    if result.committed:
        dataset.ReferencedSOPSequence = [_item(reference) for reference in result.committed]
    if result.failed:
        dataset.FailedSOPSequence = [_item(reference, reason) for reference, reason in result.failed]
    return (FAILURES_EXIST if result.failed else REQUEST_SUCCESSFUL), dataset


def read_event_information(dataset: Dataset) -> CommitmentResult:
    """Return the result that a report brings; NotUnderstood where it, or an item, lacks a required attribute."""
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


def handle_event_report(
    *,
    instance_uid: str,
    event_type: int | None,
    information: Callable[[], Dataset],
    ae_title: str,
    record: Callable[[CommitmentResult, str], None],
) -> int:
    """Record the result that a report brings, and return the status of N-EVENT-REPORT.

    The report may come on the association of the request or on a new one. An unknown transaction, or that of another
    peer, is an invalid argument (0x0115). While the ledger cannot be written the status is processing failure (0x0110),
    and the peer should report again.
    """
    if instance_uid != PUSH_MODEL_INSTANCE:
        return NO_SUCH_INSTANCE
    if event_type not in (REQUEST_SUCCESSFUL, FAILURES_EXIST):
        return NO_SUCH_EVENT_TYPE
    try:
        with understood():
            dataset = information()
        record(read_event_information(dataset), ae_title)
    except (NotUnderstood, UnknownTransaction) as error:
        log.warning("commitment.refused", calling=ae_title, reason=str(error))
        return INVALID_ARGUMENT
    except LedgerUnavailable as error:
        log.warning("ledger.unavailable", reason=str(error))
        return PROCESSING_FAILURE
    return SUCCESS


def _item(reference: Reference, failure_reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.sop_instance_uid
    if failure_reason is not None:
        item.FailureReason = failure_reason
    return item


def _reference(item: Dataset) -> Reference:
    return Reference(str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
