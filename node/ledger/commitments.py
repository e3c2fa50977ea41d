"""Storage Commitment as SCU: requests to destinations, and their answers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    and_,
    delete,
    func,
    insert,
    select,
    update,
)

from node.errors import UnknownTransaction
from node.ledger.database import LOOKUP, LedgerPart, hold, make_move
from node.ledger.outdating import withdraw_followed
from node.ledger.rows import to_delivery
from node.ledger.schema import (
    commitment,
    commitment_item,
    delivery,
    result_object,
)
from node.records import (
    DELIVERY_MOVES,
    CommitmentResult,
    Delivery,
    DeliveryState,
)

COMMITTED = 0


class Commitments(LedgerPart):
    """Transactions of Storage Commitment with destinations (PS3.4 annex J)."""

    def due(self, destination: str, *, limit: int = LOOKUP) -> list[Delivery]:
        """Return delivered objects whose commitment is due to be requested, the longest waiting first."""
        query = (
            select(delivery, result_object)
            .join(result_object)
            .where(
                delivery.c.destination == destination,
                delivery.c.state == DeliveryState.DELIVERED,
                delivery.c.ask_at <= self.db.clock(),
            )
            .order_by(delivery.c.ask_at, delivery.c.sop_instance_uid)
            .limit(limit)
        )
        with self.db.reading() as connection:
            return [to_delivery(row) for row in connection.execute(query).mappings()]

    def next_due(self, destination: str) -> float | None:
        """Return when the next request to a destination is due, None if there is none."""
        query = select(func.min(delivery.c.ask_at)).where(
            delivery.c.destination == destination, delivery.c.state == DeliveryState.DELIVERED
        )
        with self.db.reading() as connection:
            due: float | None = connection.execute(query).scalar()
            return due

    def ask(
        self, transaction_uid: str, ae_title: str, about: Sequence[Delivery], *, wait: Callable[[int], float]
    ) -> list[Delivery]:
        """Record a transaction before it is sent, and return its deliveries.

        Deliveries that another process has asked about meanwhile are left out. `wait` returns the seconds until the
        next request, from the number of earlier requests.
        """
        now = self.db.clock()
        with self.db.writing() as connection:
            taken = [
                sent
                for sent in about
                if connection.execute(
                    update(delivery)
                    .where(_is(sent), delivery.c.state == DeliveryState.DELIVERED, delivery.c.ask_at <= now)
                    .values(ask_at=now + wait(sent.asks), asks=delivery.c.asks + 1)
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
                        {"transaction_uid": transaction_uid, "sop_instance_uid": sent.object.sop_instance_uid}
                        for sent in taken
                    ],
                )
            return taken

    def ask_again(self, transaction_uid: str, *, seconds: float, reason: str) -> None:
        """After a request that failed, ask again in `seconds`; a late answer to the old transaction still counts."""
        asked = select(commitment_item.c.sop_instance_uid).where(
            commitment_item.c.transaction_uid == transaction_uid, commitment_item.c.result.is_(None)
        )
        to = select(commitment.c.destination).where(commitment.c.transaction_uid == transaction_uid)
        which = and_(
            delivery.c.sop_instance_uid.in_(asked),
            delivery.c.destination == to.scalar_subquery(),
            delivery.c.state == DeliveryState.DELIVERED,
        )
        with self.db.writing() as connection:
            connection.execute(update(delivery).where(which).values(ask_at=self.db.clock() + seconds, reason=reason))

    def record_answer(self, result: CommitmentResult, ae_title: str) -> None:
        """Record the answer of a destination; earlier answers do not change.

        Raises
        ------
        UnknownTransaction
            No transaction of this node has this UID, or it was sent to another AE title.
        """
        uid = result.transaction_uid
        answers = [*result.failed, *((reference, COMMITTED) for reference in result.committed)]
        with self.db.writing() as connection:
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
                    update(commitment).where(commitment.c.transaction_uid == uid).values(answered_at=self.db.clock())
                )
            self.db.add_event(connection, "", "commitment.answered", f"by {ae_title}, transaction {uid}")

    def is_answered(self, transaction_uid: str) -> bool:
        """Return whether the answer to a transaction of this node has come."""
        query = select(commitment.c.answered_at).where(commitment.c.transaction_uid == transaction_uid)
        with self.db.reading() as connection:
            return connection.execute(query).scalar() is not None

    def answered(self, destination: str, *, limit: int = LOOKUP) -> list[tuple[Delivery, int]]:
        """Return deliveries with an answer that was not acted on yet, each with 0 or the failure reason."""
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
        with self.db.reading() as connection:
            return [(to_delivery(row), row["result"]) for row in connection.execute(query).mappings()]

    def commit(self, sent: Delivery) -> None:
        """Mark an object as one that its destination commits to keep."""
        values = {"committed_at": self.db.clock(), "reason": ""}
        self._conclude(sent, "commit", values, "object.committed")

    def send_again(self, sent: Delivery, *, seconds: float, reason: str) -> None:
        """Put an object that its destination did not commit to back into the outbox, to be sent in `seconds`.

        Where a later revision has a job in place of its own, it is superseded, and not sent again.
        """
        self._conclude(sent, "resend", {"due_at": self.db.clock() + seconds, "reason": reason}, "object.uncommitted")

    def abandon(self, sent: Delivery, reason: str, *, answered: bool) -> None:
        """Park an object: stop asking about it, and sending it. If no answer came yet, a late one still counts."""
        self._conclude(sent, "abandon", {"reason": reason}, "object.parked", forget=answered)

    def _conclude(
        self, sent: Delivery, move: str, values: Mapping[str, object], name: str, *, forget: bool = True
    ) -> None:
        """Make a move, and delete the open requests about the object: the move settles them."""
        detail = f"{sent.object.kind} {sent.object.sop_instance_uid} to {sent.destination}"
        with self.db.writing() as connection:
            hold(connection, [sent.study_uid])  # a later revision comes before this or after, not meanwhile
            if make_move(connection, delivery, _is(sent), move, DELIVERY_MOVES, values):
                reason = values["reason"]
                self.db.add_event(connection, sent.study_uid, name, f"{detail}: {reason}" if reason else detail)
                withdraw_followed(self.db, connection, sent.object.sop_instance_uid)
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


def _is(sent: Delivery) -> Any:
    return and_(delivery.c.sop_instance_uid == sent.object.sop_instance_uid, delivery.c.destination == sent.destination)
