"""The outbox of one destination: sends what is due, records each result, and waits longer after each failure."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import structlog

from node.deliver.storescu import OutgoingObject, StoreOutcome, StoreResult, store
from node.engine import Lease
from node.errors import DestinationUnavailable
from node.faults import fault
from node.ledger.deliveries import Deliveries
from node.records import LEASE_SECONDS, Address, Delivery
from node.spool import Spool

log = structlog.get_logger()

FIRST_DELAY = 2.0
LONGEST_DELAY = 3600.0
JITTER = 0.2

SendObjects = Callable[..., Iterator[StoreResult]]
"""`store`, or what a test puts in its place."""


def delay(attempts: int, *, chance: Callable[[], float] = random.random) -> float:
    """Return the seconds to wait after a number of attempts: doubling, an hour at most, a fifth up or down."""
    grown = min(FIRST_DELAY * 2.0 ** min(attempts, 32), LONGEST_DELAY)
    return grown * (1 + JITTER * (2 * chance() - 1))


@dataclass(slots=True)
class Availability:
    """Whether a destination answers; the log has a line when that changes."""

    down_since: float | None = None

    def down(self, destination: str, reason: str, now: float) -> None:
        """Note that it does not answer."""
        if self.down_since is None:
            self.down_since = now
            log.warning("destination.down", destination=destination, reason=reason)
        else:
            log.debug("destination.down", destination=destination, reason=reason)

    def up(self, destination: str, now: float) -> None:
        """Note that it answers."""
        if self.down_since is not None:
            log.info("destination.up", destination=destination, seconds=round(now - self.down_since, 1))
            self.down_since = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbox:
    """Delivers what is due for one destination; no other destination waits for it.

    Several processes may deliver to a destination: each claims what it sends, and releases the rest when it stops.

    Parameters
    ----------
    calling
        AE title that the node calls with.
    seconds
        Limit of each wait for the destination.
    give_up_seconds
        A delivery that is queued for longer is parked at its next failure.
    commitment
        Whether the destination will be asked for Storage Commitment.
    paused
        Whether a person has paused the destination.
    transfer_syntax
        What uncompressed objects are encoded in; as they are, where it is empty.
    """

    destination: str
    address: Address
    calling: str
    seconds: float
    give_up_seconds: float
    deliveries: Deliveries
    spool: Spool
    commitment: bool = False
    stopping: Callable[[], bool] = lambda: False
    paused: Callable[[], bool] = lambda: False
    transfer_syntax: str = ""
    clock: Callable[[], float] = time.time
    send_objects: SendObjects = store
    lease: Callable[[Callable[[], bool]], Lease] = Lease
    availability: Availability = field(default_factory=Availability)

    def deliver(self) -> float | None:
        """Send all that is due, up to the first unsupported object; return in how many seconds more will be due.

        A fallback for an unsupported object may change which other objects of its job are sent.
        """
        if self.paused():
            return None
        while not self.stopping():
            claimed = self.deliveries.claim(self.destination, lease_seconds=LEASE_SECONDS)
            if not claimed or not self._send(claimed):
                break
        next_due = self.deliveries.next_due(self.destination)
        return None if next_due is None else next_due - self.clock()

    def _send(self, claimed: Sequence[Delivery]) -> bool:
        """Send claimed deliveries, and return whether to go on with what else is due."""
        left, go_on = list(claimed), True
        renew = lambda: not left or self.deliveries.renew(left, lease_seconds=LEASE_SECONDS)  # noqa: E731
        with self.lease(renew) as lease:
            try:
                go_on = self._send_all(left, lease)
            except DestinationUnavailable as error:
                self.availability.down(self.destination, str(error), self.clock())
                while left:
                    self._take_out(left, lease, StoreResult(StoreOutcome.LATER, str(error)), answered=False)
        if left:
            self.deliveries.release(left)
        return go_on

    def _send_all(self, left: list[Delivery], lease: Lease) -> bool:
        """Send one object after the other, and take each out of `left`; return False at an unsupported object.

        The rest is not sent then, nor when the node stops or the lease is lost, nor what is superseded meanwhile.
        """
        results = self.send_objects(
            self.address,
            self.calling,
            [self._outgoing(delivery) for delivery in left],
            seconds=self.seconds,
            convert_to=self.transfer_syntax or None,
            go_on=lambda: self.deliveries.begin(left),
        )
        for result in results:
            fault("deliver.sent")
            self.availability.up(self.destination, self.clock())
            self._take_out(left, lease, result)
            fault("deliver.marked")
            if result.outcome is StoreOutcome.UNSUPPORTED:
                return False
            if self.stopping() or not lease.held:
                break
        return True

    def _take_out(self, left: list[Delivery], lease: Lease, result: StoreResult, *, answered: bool = True) -> None:
        """Record the result of the first delivery in `left`, and take it out of the claim."""
        with lease.lock:
            self._record(left[0], result, answered=answered)
            del left[0]

    def _record(self, delivery: Delivery, result: StoreResult, *, answered: bool) -> None:
        """Record one result; a delivery that has failed for `give_up_seconds` is parked."""
        if result.outcome is StoreOutcome.STORED:
            self.deliveries.mark_delivered(delivery, result.reason, commitment=self.commitment)
        elif result.outcome is StoreOutcome.UNSUPPORTED:
            self.deliveries.decline(delivery, f"{self.destination} does not take it: {result.reason}")
        elif result.outcome is StoreOutcome.REFUSED:
            self.deliveries.park(delivery, f"{self.destination} refused it: {result.reason}")
        elif self.clock() - delivery.queued_at > self.give_up_seconds:
            days = self.give_up_seconds / 86400
            reason = f"not stored in {days:g} days of trying: {result.reason}"
            self.deliveries.park(delivery, reason, answered=answered)
        else:
            seconds = delay(delivery.attempts)
            self.deliveries.postpone(delivery, seconds=seconds, reason=result.reason, answered=answered)

    def _outgoing(self, delivery: Delivery) -> OutgoingObject:
        composed = delivery.object
        return OutgoingObject(
            path=self.spool.path / composed.path,
            sop_class_uid=composed.sop_class_uid,
            sop_instance_uid=composed.sop_instance_uid,
            transfer_syntax_uid=composed.transfer_syntax_uid,
        )
