"""Storage Commitment as SCP: senders ask this node to commit, and destinations report on the node's own requests.

A request is in the ledger before it is answered. The report follows on the same association while that is open, and
otherwise on a new one to the address in `receive.commitment_to`; it is repeated with growing delay for days.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from threading import Lock
from weakref import WeakValueDictionary

import structlog
from pydicom.uid import UID
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.dsutils import encode
from pynetdicom.pdu_primitives import A_RELEASE
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import from a table
    StorageCommitmentPushModel,
)

from node.commitment import (
    CLASS_INSTANCE_CONFLICT,
    INVALID_ARGUMENT,
    NO_SUCH_ACTION_TYPE,
    NO_SUCH_INSTANCE,
    PROCESSING_FAILURE,
    PUSH_MODEL_INSTANCE,
    REQUEST_COMMITMENT,
    SUCCESS,
    event_report,
    handle_event_report,
    read_action_information,
)
from node.errors import DestinationUnavailable, LedgerUnavailable, NotUnderstood, UnknownTransaction
from node.images.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, understood
from node.ledger.commitment_requests import CommitmentRequests
from node.ledger.commitments import Commitments
from node.ledger.instances import Instances
from node.receive.arrivals import Arrivals
from node.records import Address, CommitmentRequest, CommitmentResult, Reference
from node.spool import Spool

log = structlog.get_logger()

ROW_SECONDS = 0.5
"""How far rows may lag behind the response to C-STORE; no request is answered by a report sooner."""
MISSING_SECONDS = 2.0
"""So long after the request, missing instances are looked for once more: another process may write their rows."""
RESPONSE_SECONDS = 10.0
"""How long a report waits for its response, and each other wait for a sender."""
CLAIM_SECONDS = 60.0
"""How long a process has for one report before another process may try."""
OTHER_PROCESS_SECONDS = 5.0
"""How long a request is left to the process that holds its association."""
PAUSE_POLL_SECONDS = 0.001
RESPONSE_POLL_SECONDS = 0.005
FIRST_DELAY = 5.0
LONGEST_DELAY = 3600.0
GIVE_UP_SECONDS = 7 * 86400.0
MESSAGE_ID = 1

RequestKey = tuple[str, str]
"""Transaction UID and calling AE title."""


@dataclass(slots=True, kw_only=True)
class CommitmentScp:
    """Answers N-ACTION and N-EVENT-REPORT requests, and reports what this node commits to.

    Parameters
    ----------
    ae_title
        AE title that the node calls with.
    addresses
        Where to send reports, by the AE title of the sender; `receive.commitment_to`.
    wake
        Called after each message.
    """

    commitments: Commitments
    requests: CommitmentRequests
    instances: Instances
    spool: Spool
    arrivals: Arrivals
    ae_title: str
    addresses: Mapping[str, Address]
    wake: Callable[[], None] = lambda: None
    clock: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic
    _lock: Lock = field(default_factory=Lock)
    _requested_at: dict[RequestKey, float] = field(default_factory=dict)
    _associations: WeakValueDictionary[RequestKey, Association] = field(default_factory=WeakValueDictionary)

    def on_action(self, event: evt.Event) -> tuple[int, None]:
        """Record what a sender asks the node to commit to, and return the status of N-ACTION."""
        status = self._record(event)
        self.wake()
        return status, None

    def on_report(self, event: evt.Event) -> tuple[int, None]:
        """Record a report that a destination brings on a new association; return the status of N-EVENT-REPORT."""
        status = handle_event_report(
            instance_uid=str(getattr(event.request, "AffectedSOPInstanceUID", None) or ""),
            event_type=event.event_type,
            information=lambda: event.event_information,
            ae_title=event.assoc.requestor.ae_title,
            record=self.commitments.record_answer,
        )
        self.wake()
        return status, None

    def report(self) -> float | None:
        """Report all that is due, and return in how many seconds more will be due."""
        waits = [wait for key in list(self._requested_at) if (wait := self._report_here(key)) is not None]
        while (request := self.requests.claim_due(seconds=CLAIM_SECONDS)) is not None:
            self._report(request)
        later = self.requests.next_due()
        if later is not None:
            waits.append(later - self.clock())
        return min(waits, default=None)

    def _record(self, event: evt.Event) -> int:
        calling = event.assoc.requestor.ae_title
        if str(getattr(event.request, "RequestedSOPInstanceUID", None) or "") != PUSH_MODEL_INSTANCE:
            return NO_SUCH_INSTANCE
        if event.action_type != REQUEST_COMMITMENT:
            return NO_SUCH_ACTION_TYPE
        try:
            with understood():
                dataset = event.action_information
            transaction_uid, references = read_action_information(dataset)
            request = CommitmentRequest(
                transaction_uid=transaction_uid,
                calling=calling,
                references=references,
                received_at=self.clock(),
                attempts=0,
            )
            self.requests.add(request, seconds=OTHER_PROCESS_SECONDS)
        except (NotUnderstood, UnknownTransaction) as error:
            log.warning("commitment.refused", calling=calling, reason=str(error))
            return INVALID_ARGUMENT
        except LedgerUnavailable as error:
            log.warning("ledger.unavailable", reason=str(error))
            return PROCESSING_FAILURE
        key = (transaction_uid, calling)
        with self._lock:
            self._associations[key] = event.assoc
            self._requested_at[key] = self.steady()
        return SUCCESS

    def _report_here(self, key: RequestKey) -> float | None:
        """Report on a request that came to this process, or return in how many seconds to do so."""
        wait = self._requested_at[key] + ROW_SECONDS - self.steady()
        if wait > 0:
            return wait
        with self._lock:
            del self._requested_at[key]
        request = self.requests.claim(*key, seconds=CLAIM_SECONDS)
        if request is not None:
            self._report(request)
        return None

    def _report(self, request: CommitmentRequest) -> None:
        """Report on one request; where that is not possible now, the request is due again later."""
        if (wait := self.arrivals.record()) is not None:
            self.requests.postpone(request, seconds=wait, reason="not all that arrived has its row yet")
            return
        result = self._result(request)
        age = self.clock() - request.received_at
        if result.failed and age < MISSING_SECONDS:
            self.requests.postpone(request, seconds=MISSING_SECONDS - age, reason="not all are here yet")
            return
        try:
            self._send(request, result)
        except DestinationUnavailable as error:
            log.warning("commitment.unreported", calling=request.calling, reason=str(error))
            if age > GIVE_UP_SECONDS:
                self.requests.mark_reported(
                    request, result, f"given up after {GIVE_UP_SECONDS / 86400:g} days: {error}"
                )
            else:
                seconds = min(FIRST_DELAY * 2.0 ** min(request.attempts, 32), LONGEST_DELAY)
                self.requests.postpone(request, seconds=seconds, reason=str(error))
        else:
            self.requests.mark_reported(request, result)

    def _result(self, request: CommitmentRequest) -> CommitmentResult:
        """Return the result: committed is what has a row of the same SOP class and lies in a synced pack.

        A reference names no study: where several have an instance with its UID, all of them must be kept.
        """
        kept = self.instances.find(request.references)
        packs = {place.pack for found in kept.values() for _, place in found}
        synced = {pack: self.spool.sync(pack) for pack in packs}
        reasons: dict[Reference, int] = {}
        for reference in request.references:
            found = kept.get(reference.sop_instance_uid)
            if not found or not all(synced[place.pack] for _, place in found):
                reasons[reference] = NO_SUCH_INSTANCE
            elif any(sop_class_uid != reference.sop_class_uid for sop_class_uid, _ in found):
                reasons[reference] = CLASS_INSTANCE_CONFLICT
        return CommitmentResult(
            transaction_uid=request.transaction_uid,
            committed=tuple(reference for reference in request.references if reference not in reasons),
            failed=tuple((reference, reasons[reference]) for reference in request.references if reference in reasons),
        )

    def _send(self, request: CommitmentRequest, result: CommitmentResult) -> None:
        """Report on the association of the request, or on a new one; DestinationUnavailable where neither works."""
        association = self._associations.pop((request.transaction_uid, request.calling), None)
        if association is not None and association.is_established and report_on(association, result):
            return
        address = self.addresses.get(request.calling)
        if address is None:
            raise DestinationUnavailable(
                f"the association of {request.calling} is over and its address is not known;"
                f" name {request.calling}@host:port in receive.commitment_to"
            )
        report_to(address, self.ae_title, result)


def report_to(address: Address, calling: str, result: CommitmentResult) -> None:
    """Report on a new association, as the SCP that calls; DestinationUnavailable where the report was not accepted."""
    entity = AE(calling)
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = RESPONSE_SECONDS
    entity.add_requested_context(StorageCommitmentPushModel)
    try:
        association = entity.associate(
            address.host,
            address.port,
            ae_title=address.ae_title,
            ext_neg=[build_role(StorageCommitmentPushModel, scp_role=True)],
        )
    except (OSError, UnicodeError) as error:
        raise DestinationUnavailable(f"{address}: the host is not known here: {error}") from error
    if not association.is_established:
        raise DestinationUnavailable(f"{address} accepts no association for Storage Commitment")
    accepted = report_on(association, result)
    if association.is_established:
        association.release()
    if not accepted:
        raise DestinationUnavailable(f"{address} did not take the report of transaction {result.transaction_uid}")


def report_on(association: Association, result: CommitmentResult) -> bool:
    """Send one N-EVENT-REPORT over an open association, and return whether its response is Success.

    pynetdicom's own `send_n_event_report` takes the next message for the response, and aborts when it is another. A
    sender that stores more meanwhile would lose its association; here its requests are served.
    """
    accepted = (cx for cx in association.accepted_contexts if cx.abstract_syntax == StorageCommitmentPushModel)
    context = next(accepted, None)
    if context is None or context.context_id is None:
        return False
    event_type, dataset = event_report(result)
    syntax = context.transfer_syntax[0]
    request = N_EVENT_REPORT()
    request.MessageID = MESSAGE_ID
    request.AffectedSOPClassUID = UID(StorageCommitmentPushModel)
    request.AffectedSOPInstanceUID = UID(PUSH_MODEL_INSTANCE)
    request.EventTypeID = event_type
    request.EventInformation = BytesIO(encode(dataset, syntax.is_implicit_VR, syntax.is_little_endian) or b"")
    reactor = association._reactor_checkpoint  # noqa: SLF001 (as its own send_… methods do)
    reactor.clear()
    try:
        while not association._is_paused and association.is_established:  # noqa: SLF001
            time.sleep(PAUSE_POLL_SECONDS)
        association.dimse.send_msg(request, context.context_id)
        return _await_success(association)
    finally:
        reactor.set()


def _await_success(association: Association) -> bool:
    """Serve the peer's requests until the response comes, and return whether it is Success."""
    until = time.monotonic() + RESPONSE_SECONDS
    while time.monotonic() < until and association.is_established and association.dul.is_alive():
        context_id, message = association.dimse.get_msg(block=False)
        if isinstance(message, N_EVENT_REPORT) and message.MessageIDBeingRespondedTo == MESSAGE_ID:
            return message.Status == SUCCESS
        if message is not None and context_id is not None and message.is_valid_request:
            association._serve_request(message, context_id)  # noqa: SLF001
        elif isinstance(association.dul.peek_next_pdu(), A_RELEASE):
            return False
        else:
            time.sleep(RESPONSE_POLL_SECONDS)
    return False
