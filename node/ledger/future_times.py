"""Rows whose times are wrong because the clock was set: they lie in the future, or seem to be long past."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Column, ColumnElement, update

from node.ledger.database import LedgerPart
from node.ledger.schema import commitment_request, delivery, job, pack, refusal, study
from node.records import LEASE_SECONDS, JobState, StudyState


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
    Limit(job.c.lease_until, 2 * LEASE_SECONDS, becomes=LEASE_SECONDS),
    Limit(delivery.c.queued_at, 0),
    Limit(delivery.c.due_at, 1.5 * HOUR),  # a delivery that fails is tried again within an hour and a fifth
    Limit(delivery.c.lease_until, 2 * LEASE_SECONDS, becomes=LEASE_SECONDS),
    Limit(delivery.c.ask_at, 30 * HOUR),  # a commitment that does not come is asked for once a day
    Limit(commitment_request.c.received_at, 0),
    Limit(commitment_request.c.due_at, 1.5 * HOUR),
)
"""Each column with a time, and its limit: past events may not lie in the future, due times only so far."""


LEASES: Sequence[tuple[Column[float], ColumnElement[bool]]] = (
    (job.c.lease_until, job.c.state == JobState.RUNNING),
    (delivery.c.lease_until, delivery.c.worker != ""),
)


class FutureTimes(LedgerPart):
    """Corrects times that lie further in the future than any wait lasts, and those that a step of the clock ended."""

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

    def carry_over(self, step: float) -> int:
        """After the clock was set forward, count the quiet times of studies and the leases that ran from now.

        A study of which images still come would be complete at once, and a job that runs would be done a second time.
        `step` is in seconds. Several processes may do this; it is the same as once. Returns how many times there were.
        """
        now = self.db.clock()
        receiving = update(study).where(study.c.state == StudyState.RECEIVING, study.c.changed_at < now)
        found = 0
        with self.db.writing() as connection:
            found += connection.execute(receiving.values(changed_at=now)).rowcount
            for column, held in LEASES:
                ended = update(column.table).where(held, column <= now, column > now - step)
                found += connection.execute(ended.values({column: now + LEASE_SECONDS})).rowcount
        return found
