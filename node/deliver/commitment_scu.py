"""Storage Commitment as SCU: a destination is asked to keep what it stored, until it says so.

    delivered ── asked ──▶ committed
        │ ▲                                    no answer: asked again with growing delay; after give_up_days parked
        ▼ │ not committed: sent again, as it is; after give_up_days parked
      waiting

The answer is an N-EVENT-REPORT, which comes on the association it was asked on or, any time later, on a new one to our
own SCP (PS3.4 J.3.3). Either way it goes into the ledger first, and from there into the deliveries here.
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

from node.commitment import REQUEST, WELL_KNOWN, reason_in_words, request_dataset, take_report
from node.deliver.outbox import delay
from node.deliver.storescu import Associated
from node.errors import DestinationUnavailable
from node.ledger import Ledger
from node.records import Address, Delivery, Reference

log = structlog.get_logger()

FIRST_PATIENCE = 600.0
LONGEST_PATIENCE = 6 * 3600.0
"""How long an answer is waited for before the next question: archives that write to tape take their time."""
LINGER_SECONDS = 5.0
"""How long the association is kept open for an answer on it."""
LOOK_SECONDS = 0.25


def commit_step(destination: str) -> str:
    """Return the name of the step that asks a destination for Storage Commitment."""
    return f"commit at {destination}"


def patience(asks: int) -> float:
    """Return the seconds to wait for an answer after a number of former questions: doubling, six hours at most."""
    return min(FIRST_PATIENCE * 2.0 ** min(asks, 32), LONGEST_PATIENCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentScu:
    """Asks one destination to commit to what was delivered to it, and acts on its answers."""

    destination: str
    address: Address
    calling: str
    seconds: float
    give_up_seconds: float
    ledger: Ledger
    linger_seconds: float = LINGER_SECONDS
    clock: Callable[[], float] = time.time

    def commit(self) -> float | None:
        """Act on all answers, ask about all that is due, and return in how many seconds more will be."""
        self._settle()
        while due := self.ledger.uncommitted(self.destination):
            self._ask([one for one in due if not self._abandoned(one)])
            self._settle()
        later = self.ledger.next_ask_due(self.destination)
        return None if later is None else later - self.clock()

    def _settle(self) -> None:
        while answers := self.ledger.answered(self.destination):
            for sent, result in answers:
                self._act(sent, result)

    def _act(self, sent: Delivery, result: int) -> None:
        words = reason_in_words(result)
        if result == 0:
            self.ledger.committed(sent)
        elif self.clock() - sent.queued_at > self.give_up_seconds:
            days = self.give_up_seconds / 86400
            reason = f"{self.destination} did not commit to it in {days:g} days of sending it: {words}"
            self.ledger.abandon(sent, reason, answered=True)
        else:
            reason = f"{self.destination} did not commit to it: {words}"
            self.ledger.send_again(sent, seconds=delay(sent.attempts), reason=reason)

    def _abandoned(self, sent: Delivery) -> bool:
        """Park what has been asked about for days; a late answer still counts."""
        if self.clock() - (sent.delivered_at or sent.queued_at) <= self.give_up_seconds:
            return False
        reason = f"stored, but never committed: {self.destination} was asked {sent.asks} times in"
        reason += f" {self.give_up_seconds / 86400:g} days; {sent.reason or 'it gave no answer'}"
        self.ledger.abandon(sent, reason, answered=False)
        return True

    def _ask(self, about: Sequence[Delivery]) -> None:
        """Ask about objects in one transaction, which the ledger knows before the destination does."""
        transaction_uid = str(generate_uid(prefix=None))
        taken = self.ledger.ask(transaction_uid, self.address.ae_title, about, wait=patience) if about else []
        if not taken:
            return
        references = [Reference(one.object.sop_class_uid, one.object.sop_instance_uid) for one in taken]
        try:
            self._request(transaction_uid, references)
        except DestinationUnavailable as error:
            log.warning("commitment.unavailable", destination=self.destination, reason=str(error))
            seconds = delay(min(one.asks for one in taken))
            self.ledger.ask_again(transaction_uid, seconds=seconds, reason=str(error))

    def _request(self, transaction_uid: str, references: Sequence[Reference]) -> None:
        """Send one N-ACTION, and wait a little for the answer; DestinationUnavailable where it was not taken."""
        context = build_context(StorageCommitmentPushModel)
        handlers: list[evt.EventHandlerType] = [(evt.EVT_N_EVENT_REPORT, self._on_report)]
        with Associated(self.address, self.calling, [context], self.seconds, handlers) as association:
            if not association.is_established:
                raise DestinationUnavailable(f"{self.address} does not accept Storage Commitment")
            try:
                status, _ = association.send_n_action(
                    request_dataset(transaction_uid, references), REQUEST, StorageCommitmentPushModel, WELL_KNOWN
                )
            except RuntimeError as error:
                raise DestinationUnavailable(f"{self.address} ended the association") from error
            if "Status" not in status:
                raise DestinationUnavailable(f"{self.address} gave no answer to the request for commitment")
            if status.Status != 0:
                words = reason_in_words(int(status.Status))
                raise DestinationUnavailable(f"{self.address} refused the request for commitment: {words}")
            until = time.monotonic() + self.linger_seconds
            while association.is_established and time.monotonic() < until:
                if self.ledger.is_answered(transaction_uid):
                    break
                time.sleep(LOOK_SECONDS)

    def _on_report(self, event: evt.Event) -> tuple[int, None]:
        status = take_report(
            instance_uid=str(getattr(event.request, "AffectedSOPInstanceUID", None) or ""),
            event_type=event.event_type,
            information=lambda: event.event_information,
            ae_title=self.address.ae_title,
            note=self.ledger.note_result,
        )
        return status, None
