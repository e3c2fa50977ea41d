"""The outbox of one destination: due objects out, each answer into the ledger, with growing delays in between."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import structlog

from node.deliver.lease import LEASE_SECONDS, Lease
from node.deliver.storescu import Answer, Outcome, Parcel, store
from node.errors import DestinationUnavailable
from node.faults import fault
from node.ledger import Ledger
from node.records import Address, Delivery
from node.spool import Spool

log = structlog.get_logger()

FIRST_DELAY = 2.0
LONGEST_DELAY = 3600.0
JITTER = 0.2

Store = Callable[[Sequence[Parcel]], Iterator[Answer]]


def delay(attempts: int, *, chance: Callable[[], float] = random.random) -> float:
    """Return the seconds to wait after a number of attempts: doubling, an hour at most, a fifth up or down."""
    grown = min(FIRST_DELAY * 2.0 ** min(attempts, 32), LONGEST_DELAY)
    return grown * (1 + JITTER * (2 * chance() - 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbox:
    """Delivers what is due for one destination; no other destination waits for it.

    Several processes may deliver to it: each holds what it sends, and when it stops gives the rest back.
    """

    destination: str
    address: Address
    calling: str
    seconds: float
    give_up_seconds: float
    ledger: Ledger
    spool: Spool
    commitment: bool = False
    stopping: Callable[[], bool] = lambda: False
    transfer_syntax: str = ""
    clock: Callable[[], float] = time.time

    def deliver(self) -> float | None:
        """Send all that is due, up to what is declined, and return in how many seconds more will be.

        What is found in the place of a declined object may change what else of its job is to go.
        """
        while not self.stopping():
            held = self.ledger.claim_deliveries(self.destination, lease_seconds=LEASE_SECONDS)
            if not held or not self._send(held):
                break
        later = self.ledger.next_delivery_due(self.destination)
        return None if later is None else later - self.clock()

    def _send(self, held: Sequence[Delivery]) -> bool:
        """Send what was claimed, and say whether to go on with what else is due."""
        left, on = list(held), True
        with Lease(lambda: not left or self.ledger.renew_deliveries(left, lease_seconds=LEASE_SECONDS)) as lease:
            try:
                on = self._send_all(left, lease)
            except DestinationUnavailable as error:
                log.warning("destination.unavailable", destination=self.destination, reason=str(error))
                while left:
                    self._note(left, lease, Answer(Outcome.LATER, str(error)))
        if left:
            self.ledger.release_deliveries(left)
        return on

    def _send_all(self, left: list[Delivery], lease: Lease) -> bool:
        """Send one after the other and take each out of `left`; False where one was declined, and the rest not sent.

        Nor is it when the node stops or the lease is lost.
        """
        parcels = [self._parcel(one) for one in left]
        for answer in self._store(parcels):
            fault("deliver.sent")
            self._note(left, lease, answer)
            fault("deliver.marked")
            if answer.outcome is Outcome.UNSUPPORTED:
                return False
            if self.stopping() or not lease.held:
                break
        return True

    def _note(self, left: list[Delivery], lease: Lease, answer: Answer) -> None:
        """Record the answer to the first that is left, and take it out."""
        with lease.lock:
            self._record(left[0], answer)
            del left[0]

    def _record(self, sent: Delivery, answer: Answer) -> None:
        """Record one answer; what has been tried for days is parked with the last of them."""
        if answer.outcome is Outcome.STORED:
            self.ledger.delivered(sent, answer.sentence, commitment=self.commitment)
        elif answer.outcome is Outcome.UNSUPPORTED:
            self.ledger.unsupported(sent, f"{self.destination} does not take it: {answer.sentence}")
        elif answer.outcome is Outcome.REFUSED:
            self.ledger.park_delivery(sent, f"{self.destination} refused it: {answer.sentence}")
        elif self.clock() - sent.queued_at > self.give_up_seconds:
            days = self.give_up_seconds / 86400
            self.ledger.park_delivery(sent, f"not stored in {days:g} days of trying: {answer.sentence}")
        else:
            self.ledger.postpone_delivery(sent, seconds=delay(sent.attempts), reason=answer.sentence)

    def _store(self, parcels: Sequence[Parcel]) -> Iterator[Answer]:
        return store(self.address, self.calling, parcels, seconds=self.seconds, convert_to=self.transfer_syntax or None)

    def _parcel(self, sent: Delivery) -> Parcel:
        made = sent.object
        return Parcel(
            path=self.spool.path / made.path,
            sop_class_uid=made.sop_class_uid,
            sop_instance_uid=made.sop_instance_uid,
            transfer_syntax_uid=made.transfer_syntax_uid,
        )
