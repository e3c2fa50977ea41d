"""Storage Commitment: what was asked of destinations, what they answered, and what senders asked of us."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    and_,
    delete,
    func,
    insert,
    select,
    update,
)

from node.errors import UnknownTransaction
from node.ledger.database import LOOKUP, Database, insert_or, make_move
from node.ledger.rows import from_row, to_delivery, to_place
from node.ledger.schema import (
    commitment,
    commitment_item,
    commitment_request,
    delivery,
    instance,
    result_object,
)
from node.records import (
    DELIVERY_MOVES,
    CommitmentRequest,
    CommitmentResult,
    Delivery,
    DeliveryState,
    Place,
    Reference,
)

COMMITTED = 0


class Commitments(Database):
    """What is promised to be kept: by destinations to us, and by us to senders."""

    # Asked of destinations.

    def uncommitted(self, destination: str, *, limit: int = LOOKUP) -> list[Delivery]:
        """Return delivered objects whose destination is due to be asked about them, the longest waiting first."""
        query = (
            select(delivery, result_object)
            .join(result_object)
            .where(
                delivery.c.destination == destination,
                delivery.c.state == DeliveryState.DELIVERED,
                delivery.c.ask_at <= self.clock(),
            )
            .order_by(delivery.c.ask_at, delivery.c.sop_instance_uid)
            .limit(limit)
        )
        with self._reading() as connection:
            return [to_delivery(row) for row in connection.execute(query).mappings()]

    def next_ask_due(self, destination: str) -> float | None:
        """Return when a destination is next to be asked, None while there is nothing to ask about."""
        query = select(func.min(delivery.c.ask_at)).where(
            delivery.c.destination == destination, delivery.c.state == DeliveryState.DELIVERED
        )
        with self._reading() as connection:
            due: float | None = connection.execute(query).scalar()
            return due

    def ask(
        self, transaction_uid: str, ae_title: str, about: Sequence[Delivery], *, wait: Callable[[int], float]
    ) -> list[Delivery]:
        """Remember a transaction before it is sent, and return what it is to ask about.

        What another process has asked about by now is left out. `wait` gives the seconds after which to ask again,
        from the number of times it was asked before.
        """
        now = self.clock()
        with self._writing() as connection:
            taken = [
                one
                for one in about
                if connection.execute(
                    update(delivery)
                    .where(_is(one), delivery.c.state == DeliveryState.DELIVERED, delivery.c.ask_at <= now)
                    .values(ask_at=now + wait(one.asks), asks=delivery.c.asks + 1)
                ).rowcount
            ]
            if taken:
                destination = taken[0].destination
                connection.execute(
                    insert(commitment).values(
                        transaction_uid=transaction_uid, destination=destination, ae_title=ae_title, asked_at=now
                    )
                )
                connection.execute(
                    insert(commitment_item),
                    [
                        {"transaction_uid": transaction_uid, "sop_instance_uid": one.object.sop_instance_uid}
                        for one in taken
                    ],
                )
            return taken

    def ask_again(self, transaction_uid: str, *, seconds: float, reason: str) -> None:
        """Ask in `seconds` about what a transaction asked for in vain; an answer to it is still understood."""
        asked = select(commitment_item.c.sop_instance_uid).where(
            commitment_item.c.transaction_uid == transaction_uid, commitment_item.c.result.is_(None)
        )
        to = select(commitment.c.destination).where(commitment.c.transaction_uid == transaction_uid)
        which = and_(
            delivery.c.sop_instance_uid.in_(asked),
            delivery.c.destination == to.scalar_subquery(),
            delivery.c.state == DeliveryState.DELIVERED,
        )
        with self._writing() as connection:
            connection.execute(update(delivery).where(which).values(ask_at=self.clock() + seconds, reason=reason))

    def note_result(self, result: CommitmentResult, ae_title: str) -> None:
        """Remember what a destination answered; what was answered before stays as it was.

        Raises
        ------
        UnknownTransaction
            No transaction of ours has this UID, or another AE title was asked.
        """
        uid = result.transaction_uid
        answers = [*result.failed, *((one, COMMITTED) for one in result.committed)]
        with self._writing() as connection:
            asked = connection.execute(select(commitment).where(commitment.c.transaction_uid == uid)).first()
            if asked is None:
                raise UnknownTransaction(f"{ae_title} answers transaction {uid}, which this node never began")
            if asked.ae_title != ae_title:
                raise UnknownTransaction(f"{ae_title} answers transaction {uid}, which {asked.ae_title} was asked in")
            for reference, found in answers:
                connection.execute(
                    update(commitment_item)
                    .where(
                        commitment_item.c.transaction_uid == uid,
                        commitment_item.c.sop_instance_uid == reference.sop_instance_uid,
                        commitment_item.c.result.is_(None),
                    )
                    .values(result=found)
                )
            if asked.answered_at is None:
                connection.execute(
                    update(commitment).where(commitment.c.transaction_uid == uid).values(answered_at=self.clock())
                )
            self._tell(connection, "", "commitment.answered", f"by {ae_title}, transaction {uid}")

    def is_answered(self, transaction_uid: str) -> bool:
        """Return whether an answer to a transaction of ours has come."""
        query = select(commitment.c.answered_at).where(commitment.c.transaction_uid == transaction_uid)
        with self._reading() as connection:
            return connection.execute(query).scalar() is not None

    def answered(self, destination: str, *, limit: int = LOOKUP) -> list[tuple[Delivery, int]]:
        """Return deliveries that a destination has answered for and that have not moved: 0 or the failure reason."""
        query = (
            select(delivery, result_object, commitment_item.c.result)
            .join(result_object, result_object.c.sop_instance_uid == delivery.c.sop_instance_uid)
            .join(commitment_item, commitment_item.c.sop_instance_uid == delivery.c.sop_instance_uid)
            .join(commitment, commitment.c.transaction_uid == commitment_item.c.transaction_uid)
            .where(
                delivery.c.destination == destination,
                commitment.c.destination == destination,
                commitment_item.c.result.is_not(None),
            )
            .order_by(commitment.c.answered_at, delivery.c.sop_instance_uid)
            .limit(limit)
        )
        with self._reading() as connection:
            return [(to_delivery(row), row["result"]) for row in connection.execute(query).mappings()]

    def committed(self, sent: Delivery) -> None:
        """Mark an object as one that its destination commits to keep."""
        values = {"committed_at": self.clock(), "reason": ""}
        self._conclude(sent, "commit", values, "object.committed")

    def send_again(self, sent: Delivery, *, seconds: float, reason: str) -> None:
        """Put an object that its destination did not commit to back into the outbox, to be sent in `seconds`."""
        self._conclude(sent, "resend", {"due_at": self.clock() + seconds, "reason": reason}, "object.uncommitted")

    def abandon(self, sent: Delivery, reason: str, *, answered: bool) -> None:
        """Stop asking about an object, or sending it; without an answer so far, a late one still counts."""
        self._conclude(sent, "abandon", {"reason": reason}, "object.parked", forget=answered)

    def _conclude(
        self, sent: Delivery, move: str, values: Mapping[str, object], name: str, *, forget: bool = True
    ) -> None:
        """Make a move, and forget what is still open about the object: what it was asked for is settled by it."""
        told = f"{sent.object.kind} {sent.object.sop_instance_uid} to {sent.destination}"
        with self._writing() as connection:
            if make_move(connection, delivery, _is(sent), move, DELIVERY_MOVES, values):
                reason = values["reason"]
                self._tell(connection, sent.study_uid, name, f"{told}: {reason}" if reason else told)
            if forget:
                of_destination = select(commitment.c.transaction_uid).where(
                    commitment.c.destination == sent.destination
                )
                connection.execute(
                    delete(commitment_item).where(
                        commitment_item.c.sop_instance_uid == sent.object.sop_instance_uid,
                        commitment_item.c.transaction_uid.in_(of_destination),
                    )
                )

    # Asked by senders.

    def take_request(self, request: CommitmentRequest, *, seconds: float) -> None:
        """Remember what a sender asks us to commit to, to be reported in `seconds`; asked again, reported again.

        Raises
        ------
        UnknownTransaction
            The sender has used the transaction UID for something else.
        """
        which = _is_request(request)
        rows = [list(astuple(one)) for one in request.references]
        values = {"received_at": request.received_at, "due_at": self.clock() + seconds, "reported_at": None}
        with self._writing() as connection:
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

    def claim_request(self, transaction_uid: str, calling: str, *, seconds: float) -> CommitmentRequest | None:
        """Take a request that nobody has tried to report yet, for `seconds`; None where another process has it."""
        query = select(commitment_request).where(
            commitment_request.c.transaction_uid == transaction_uid,
            commitment_request.c.calling == calling,
            commitment_request.c.attempts == 0,
            commitment_request.c.reported_at.is_(None),
        )
        return self._claim_request(query, seconds)

    def claim_due_request(self, *, seconds: float) -> CommitmentRequest | None:
        """Take one request whose report is due, for `seconds`."""
        query = select(commitment_request).where(
            commitment_request.c.reported_at.is_(None), commitment_request.c.due_at <= self.clock()
        )
        return self._claim_request(query.order_by(commitment_request.c.due_at).limit(1), seconds)

    def _claim_request(self, query: Select[Any], seconds: float) -> CommitmentRequest | None:
        with self._writing() as connection:
            row = connection.execute(query.with_for_update(skip_locked=True)).mappings().first()
            if row is None:
                return None
            references = tuple(Reference(*one) for one in row["references"])
            request = from_row(CommitmentRequest, {**row, "references": references})
            held = connection.execute(
                update(commitment_request)
                .where(_is_request(request), commitment_request.c.attempts == request.attempts)
                .values(due_at=self.clock() + seconds, attempts=request.attempts + 1)
            )
            return request if held.rowcount else None

    def next_request_due(self) -> float | None:
        """Return when the next report to a sender is due, None while there is none."""
        query = select(func.min(commitment_request.c.due_at)).where(commitment_request.c.reported_at.is_(None))
        with self._reading() as connection:
            due: float | None = connection.execute(query).scalar()
            return due

    def postpone_request(self, request: CommitmentRequest, *, seconds: float, reason: str) -> None:
        """Report in `seconds`."""
        values = {"due_at": self.clock() + seconds, "reason": reason}
        with self._writing() as connection:
            connection.execute(update(commitment_request).where(_is_request(request)).values(values))

    def reported(self, request: CommitmentRequest, result: CommitmentResult, reason: str = "") -> None:
        """Mark a request as reported, or as given up for a reason; the story of each study in it tells of it."""
        uids = [one.sop_instance_uid for one in request.references]
        counts = f"{len(result.committed)} committed, {len(result.failed)} not"
        name = "commitment.unreported" if reason else "commitment.reported"
        detail = f"to {request.calling}, transaction {request.transaction_uid}: {counts}"
        with self._writing() as connection:
            connection.execute(
                update(commitment_request).where(_is_request(request)).values(reported_at=self.clock(), reason=reason)
            )
            for study_uid in sorted(_studies_of(connection, uids)):
                self._tell(connection, study_uid, name, f"{detail}; {reason}" if reason else detail)

    def kept(self, references: Sequence[Reference]) -> dict[str, tuple[str, Place]]:
        """Return SOP class and place of those instances that have their rows, by SOP Instance UID."""
        found: dict[str, tuple[str, Place]] = {}
        uids = [one.sop_instance_uid for one in references]
        with self._reading() as connection:
            for start in range(0, len(uids), LOOKUP):
                query = select(instance).where(instance.c.sop_instance_uid.in_(uids[start : start + LOOKUP]))
                for row in connection.execute(query).mappings():
                    found[row["sop_instance_uid"]] = (row["sop_class_uid"], to_place(row))
        return found


def _is(sent: Delivery) -> Any:
    return and_(delivery.c.sop_instance_uid == sent.object.sop_instance_uid, delivery.c.destination == sent.destination)


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
