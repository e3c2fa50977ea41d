"""Storage Commitment as SCP: each request of a sender is kept until this node has reported on it."""

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

from sqlalchemy import Connection, Select, and_, func, select, update

from node.errors import UnknownTransaction
from node.ledger.database import LOOKUP, LedgerPart, insert_or
from node.ledger.rows import from_row
from node.ledger.schema import commitment_request, instance
from node.records import CommitmentRequest, CommitmentResult, Reference


class CommitmentRequests(LedgerPart):
    """Requests of senders for Storage Commitment by this node."""

    def add(self, request: CommitmentRequest, *, seconds: float) -> None:
        """Record a request, to be reported in `seconds`. The same request again is reported again.

        Raises
        ------
        UnknownTransaction
            The sender has used the transaction UID for something else.
        """
        which = _is_request(request)
        rows = [list(astuple(reference)) for reference in request.references]
        values = {"received_at": request.received_at, "due_at": self.db.clock() + seconds, "reported_at": None}
        with self.db.writing() as connection:
            fresh = {"attempts": 0, "reason": "", **values}
            key = {"transaction_uid": request.transaction_uid, "calling": request.calling, "references": rows}
            begun = insert_or(connection, commitment_request).values(key | fresh).on_conflict_do_nothing()
            if connection.execute(begun.returning(commitment_request.c.calling)).first() is not None:
                return
            before = connection.execute(select(commitment_request).where(which).with_for_update()).one()
            if before.references != rows:
                raise UnknownTransaction(
                    f"{request.calling} uses transaction {request.transaction_uid} again, for other instances"
                )
            connection.execute(update(commitment_request).where(which).values(fresh))

    def claim(self, transaction_uid: str, calling: str, *, seconds: float) -> CommitmentRequest | None:
        """Take a request that nobody has tried to report yet, for `seconds`; None where another process has it."""
        query = select(commitment_request).where(
            commitment_request.c.transaction_uid == transaction_uid,
            commitment_request.c.calling == calling,
            commitment_request.c.attempts == 0,
            commitment_request.c.reported_at.is_(None),
        )
        return self._claim(query, seconds)

    def claim_due(self, *, seconds: float) -> CommitmentRequest | None:
        """Take one request whose report is due, for `seconds`."""
        query = select(commitment_request).where(
            commitment_request.c.reported_at.is_(None), commitment_request.c.due_at <= self.db.clock()
        )
        return self._claim(query.order_by(commitment_request.c.due_at).limit(1), seconds)

    def _claim(self, query: Select[Any], seconds: float) -> CommitmentRequest | None:
        with self.db.writing() as connection:
            row = connection.execute(query.with_for_update(skip_locked=True)).mappings().first()
            if row is None:
                return None
            references = tuple(Reference(*reference) for reference in row["references"])
            request = from_row(CommitmentRequest, {**row, "references": references})
            held = connection.execute(
                update(commitment_request)
                .where(_is_request(request), commitment_request.c.attempts == request.attempts)
                .values(due_at=self.db.clock() + seconds, attempts=request.attempts + 1)
            )
            return request if held.rowcount else None

    def next_due(self) -> float | None:
        """Return when the next report to a sender is due, None while there is none."""
        query = select(func.min(commitment_request.c.due_at)).where(commitment_request.c.reported_at.is_(None))
        with self.db.reading() as connection:
            due: float | None = connection.execute(query).scalar()
            return due

    def postpone(self, request: CommitmentRequest, *, seconds: float, reason: str) -> None:
        """Postpone the report by `seconds`."""
        values = {"due_at": self.db.clock() + seconds, "reason": reason}
        with self.db.writing() as connection:
            connection.execute(update(commitment_request).where(_is_request(request)).values(values))

    def mark_reported(self, request: CommitmentRequest, result: CommitmentResult, reason: str = "") -> None:
        """Mark a request as reported, or as given up for a reason; add an event to the history of each study in it."""
        uids = [reference.sop_instance_uid for reference in request.references]
        counts = f"{len(result.committed)} committed, {len(result.failed)} not"
        name = "commitment.unreported" if reason else "commitment.reported"
        detail = f"to {request.calling}, transaction {request.transaction_uid}: {counts}"
        with self.db.writing() as connection:
            connection.execute(
                update(commitment_request)
                .where(_is_request(request))
                .values(reported_at=self.db.clock(), reason=reason)
            )
            for study_uid in sorted(_studies_of(connection, uids)):
                self.db.add_event(connection, study_uid, name, f"{detail}; {reason}" if reason else detail)


def _is_request(request: CommitmentRequest) -> Any:
    return and_(
        commitment_request.c.transaction_uid == request.transaction_uid,
        commitment_request.c.calling == request.calling,
    )


def _studies_of(connection: Connection, uids: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for start in range(0, len(uids), LOOKUP):
        query = select(instance.c.study_uid).where(instance.c.sop_instance_uid.in_(uids[start : start + LOOKUP]))
        found.update(connection.execute(query.distinct()).scalars())
    return found
