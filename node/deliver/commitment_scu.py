"""Storage Commitment as SCU: a destination is asked to commit to the objects that it stored.

    delivered ── committed ──▶ committed
        │ ▲                       no report: asked again with growing delay; parked after give_up_days
        ▼ │ not committed: sent again, unchanged; parked after give_up_days
      waiting

The report is an N-EVENT-REPORT. It comes on the association of the request or, any time later, on a new association to
the SCP of this node (PS3.4 J.3.3). In both cases it is recorded in the ledger first; `commit` acts on it from there.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from pydicom.uid import generate_uid
from pynetdicom import build_context, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import from a table
    StorageCommitmentPushModel,
)

from node.commitment import (
    PUSH_MODEL_INSTANCE,
    REQUEST_COMMITMENT,
    action_information,
    describe_failure,
    handle_event_report,
)
from node.deliver.association import OpenAssociation
from node.deliver.outbox import delay
from node.errors import DestinationUnavailable
from node.ledger.commitments import Commitments
from node.records import Address, Delivery, Reference

log = structlog.get_logger()

FIRST_PATIENCE = 600.0
LONGEST_PATIENCE = 6 * 3600.0
"""How long a report is awaited before the next request: an archive that writes to tape takes its time."""
LINGER_SECONDS = 5.0
"""How long the association is kept open for a report on it."""
POLL_SECONDS = 0.25
"""How often the ledger is read for that report."""


def commitment_step(destination: str) -> str:
    """Return the name of the step that asks a destination for Storage Commitment."""
    return f"commit at {destination}"


def patience(requests: int) -> float:
    """Return the seconds to wait for a report after a number of earlier requests: doubling, six hours at most."""
    return min(FIRST_PATIENCE * 2.0 ** min(requests, 32), LONGEST_PATIENCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentScu:
    """Asks one destination to commit to what was delivered to it, and acts on its reports.

    Parameters
    ----------
    calling
        AE title that the node calls with.
    seconds
        Limit of each wait for the destination.
    give_up_seconds
        What is not committed so long after its delivery is parked.
    """

    destination: str
    address: Address
    calling: str
    seconds: float
    give_up_seconds: float
    commitments: Commitments
    linger_seconds: float = LINGER_SECONDS
    clock: Callable[[], float] = time.time

    def commit(self) -> float | None:
        """Act on all reports, ask for all that is due, and return in how many seconds more will be due."""
        self._settle()
        while due := self.commitments.due(self.destination):
            self._ask([delivery for delivery in due if not self._park_late(delivery)])
            self._settle()
        later = self.commitments.next_due(self.destination)
        return None if later is None else later - self.clock()

    def _settle(self) -> None:
        while answers := self.commitments.answered(self.destination):
            for delivery, failure_reason in answers:
                self._act(delivery, failure_reason)

    def _act(self, sent: Delivery, failure_reason: int) -> None:
        """Record what a report says of one object: committed (0), or why not."""
        failure = describe_failure(failure_reason)
        if failure_reason == 0:
            self.commitments.commit(sent)
        elif self.clock() - sent.queued_at > self.give_up_seconds:
            days = self.give_up_seconds / 86400
            reason = f"{self.destination} did not commit to it in {days:g} days of sending it: {failure}"
            self.commitments.abandon(sent, reason, answered=True)
        else:
            reason = f"{self.destination} did not commit to it: {failure}"
            self.commitments.send_again(sent, seconds=delay(sent.attempts), reason=reason)

    def _park_late(self, sent: Delivery) -> bool:
        """Park a delivery that was asked for too long, and return whether it was; a late report still counts."""
        if self.clock() - (sent.delivered_at or sent.queued_at) <= self.give_up_seconds:
            return False
        reason = f"stored, but never committed: {self.destination} was asked {sent.asks} times in"
        reason += f" {self.give_up_seconds / 86400:g} days; {sent.reason or 'it gave no answer'}"
        self.commitments.abandon(sent, reason, answered=False)
        return True

    def _ask(self, due: Sequence[Delivery]) -> None:
        """Ask for commitment to objects in one transaction, which is recorded before the destination is called."""
        transaction_uid = str(generate_uid(prefix=None))
        taken = self.commitments.ask(transaction_uid, self.address.ae_title, due, wait=patience) if due else []
        if not taken:
            return
        references = [Reference(delivery.object.sop_class_uid, delivery.object.sop_instance_uid) for delivery in taken]
        try:
            self._request(transaction_uid, references)
        except DestinationUnavailable as error:
            log.warning("commitment.unavailable", destination=self.destination, reason=str(error))
            seconds = delay(min(delivery.asks for delivery in taken))
            self.commitments.ask_again(transaction_uid, seconds=seconds, reason=str(error))

    def _request(self, transaction_uid: str, references: Sequence[Reference]) -> None:
        """Send one N-ACTION, and wait a little for the report; DestinationUnavailable where it was not accepted."""
        context = build_context(StorageCommitmentPushModel)
        handlers: list[evt.EventHandlerType] = [(evt.EVT_N_EVENT_REPORT, self._on_report)]
        with OpenAssociation(self.address, self.calling, [context], self.seconds, handlers) as association:
            if not association.is_established:
                raise DestinationUnavailable(f"{self.address} does not accept Storage Commitment")
            try:
                status, _ = association.send_n_action(
                    action_information(transaction_uid, references),
                    REQUEST_COMMITMENT,
                    StorageCommitmentPushModel,
                    PUSH_MODEL_INSTANCE,
                )
            except RuntimeError as error:
                raise DestinationUnavailable(f"{self.address} ended the association") from error
            if "Status" not in status:
                raise DestinationUnavailable(f"{self.address} gave no answer to the request for commitment")
            if status.Status != 0:
                failure = describe_failure(int(status.Status))
                raise DestinationUnavailable(f"{self.address} refused the request for commitment: {failure}")
            until = time.monotonic() + self.linger_seconds
            while association.is_established and time.monotonic() < until:
                if self.commitments.is_answered(transaction_uid):
                    break
                time.sleep(POLL_SECONDS)

    def _on_report(self, event: evt.Event) -> tuple[int, None]:
        status = handle_event_report(
            instance_uid=str(getattr(event.request, "AffectedSOPInstanceUID", None) or ""),
            event_type=event.event_type,
            information=lambda: event.event_information,
            ae_title=self.address.ae_title,
            record=self.commitments.record_answer,
        )
        return status, None
