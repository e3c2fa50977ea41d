"""Rows whose time lies in the future because the clock was set back."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Column, update

from node.ledger.database import LedgerPart
from node.ledger.schema import commitment_request, delivery, job, pack, refusal, study


@dataclass(frozen=True, slots=True)
class Limit:
    """How far in the future a time may lie: `seconds`, and what it becomes where it lies further."""

    column: Column[float]
    seconds: float
    becomes: float = 0.0


HOUR = 3600.0
LIMITS: Sequence[Limit] = (
    Limit(study.c.changed_at, 0),
    Limit(pack.c.begun_at, 0),
    Limit(pack.c.ended_at, 0),
    Limit(refusal.c.at, 0),
    Limit(job.c.planned_at, 0),
    Limit(job.c.due_at, 600),  # a job that waits for Triton is tried again in 300 s at most
    Limit(job.c.lease_until, 120, becomes=60),  # a lease lasts 60 s
    Limit(delivery.c.queued_at, 0),
    Limit(delivery.c.due_at, 1.5 * HOUR),  # a delivery that fails is tried again within an hour and a fifth
    Limit(delivery.c.lease_until, 120, becomes=60),
    Limit(delivery.c.ask_at, 30 * HOUR),  # a commitment that does not come is asked for once a day
    Limit(commitment_request.c.received_at, 0),
    Limit(commitment_request.c.due_at, 1.5 * HOUR),
)
"""Each column with a time, and its limit: past events may not lie in the future, due times only so far."""


class FutureTimes(LedgerPart):
    """Corrects times that lie further in the future than any wait lasts."""

    def bring_back(self) -> int:
        """Set every time beyond its limit to what it becomes, counted from now; return how many there were."""
        now = self.db.clock()
        found = 0
        with self.db.writing() as connection:
            for limit in LIMITS:
                column = limit.column
                beyond = update(column.table).where(column > now + limit.seconds)
                found += connection.execute(beyond.values({column: now + limit.becomes})).rowcount
        return found
