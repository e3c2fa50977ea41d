"""Deliveries: what is due for a destination, and what became of it."""

from collections.abc import Collection

from sqlalchemy import (
    and_,
    func,
    select,
)

from node.ledger.database import Database, make_move
from node.ledger.rows import to_delivery
from node.ledger.schema import (
    delivery,
    result_object,
)
from node.records import (
    DELIVERY_MOVES,
    Delivery,
    DeliveryState,
)


class Deliveries(Database):
    """What happens to objects on their way out."""

    def due_deliveries(self, destination: str, *, limit: int = 100) -> list[Delivery]:
        """Return what is due for a destination, the most urgent first, then the longest waiting."""
        query = (
            select(delivery, result_object)
            .join(result_object)
            .where(
                delivery.c.destination == destination,
                delivery.c.state == DeliveryState.WAITING,
                delivery.c.due_at <= self.clock(),
            )
            .order_by(delivery.c.priority.desc(), delivery.c.queued_at, result_object.c.job_id, result_object.c.kind)
            .limit(limit)
        )
        with self._reading() as connection:
            return [to_delivery(row) for row in connection.execute(query).mappings()]

    def next_delivery_due(self, destination: str) -> float | None:
        """Return when the next delivery to a destination is due, None while there is none."""
        query = select(func.min(delivery.c.due_at)).where(
            delivery.c.destination == destination, delivery.c.state == DeliveryState.WAITING
        )
        with self._reading() as connection:
            due: float | None = connection.execute(query).scalar()
            return due

    def has_delivered(self, destination: str) -> bool:
        """Return whether a destination has ever stored anything of ours."""
        query = select(delivery.c.destination).where(
            delivery.c.destination == destination,
            delivery.c.state.in_((DeliveryState.DELIVERED, DeliveryState.COMMITTED)),
        )
        with self._reading() as connection:
            return connection.execute(query.limit(1)).first() is not None

    def delivered(self, sent: Delivery, reason: str = "", *, commitment: bool = False) -> None:
        """Mark an object as stored by its destination, which may have to be asked to commit to it."""
        now = self.clock()
        ask = {"ask_at": now if commitment else None, "asks": 0}
        self._move_delivery(sent, "deliver", reason, "object.delivered", delivered_at=now, **ask)

    def postpone_delivery(self, sent: Delivery, *, seconds: float, reason: str) -> None:
        """Try an object again in `seconds`."""
        self._move_delivery(sent, "postpone", reason, "object.postponed", due_at=self.clock() + seconds)

    def park_delivery(self, sent: Delivery, reason: str) -> None:
        """Stop trying to deliver an object until a person requeues it."""
        self._move_delivery(sent, "park", reason, "object.parked")

    def unsupported(self, sent: Delivery, reason: str) -> None:
        """Mark an object as one whose SOP class its destination does not take: something else may go in its place."""
        self._move_delivery(sent, "decline", reason, "object.unsupported")

    def park_strays(self, known: Collection[str]) -> int:
        """Park what waits for a destination that is not configured any more; return how much that is."""
        with self._writing() as connection:
            which = delivery.c.destination.not_in(list(known))
            because = {"reason": "its destination is no longer configured; configure it again and requeue"}
            waiting = and_(which, delivery.c.state == DeliveryState.WAITING)
            strays = make_move(connection, delivery, waiting, "park", DELIVERY_MOVES, because)
            for row in strays:
                told = f"{row.sop_instance_uid} to {row.destination}: {row.reason}"
                self._tell(connection, row.study_uid, "object.parked", told)
            return len(strays)

    def _move_delivery(self, sent: Delivery, move: str, reason: str, name: str, **values: object) -> None:
        which = and_(
            delivery.c.sop_instance_uid == sent.object.sop_instance_uid, delivery.c.destination == sent.destination
        )
        values |= {"attempts": sent.attempts + 1, "reason": reason}
        with self._writing() as connection:
            if make_move(connection, delivery, which, move, DELIVERY_MOVES, values):
                told = f"{sent.object.kind} {sent.object.sop_instance_uid} to {sent.destination}"
                self._tell(connection, sent.study_uid, name, f"{told}: {reason}" if reason else told)
