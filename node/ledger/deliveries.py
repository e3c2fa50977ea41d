"""Deliveries: which objects are due for a destination, and the result of each."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

from sqlalchemy import (
    and_,
    func,
    select,
    update,
)

from node.ledger.database import LedgerPart, make_move
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

FREE: dict[str, Any] = {"worker": "", "lease_until": 0.0}
"""Columns of a delivery that no worker holds."""


class Deliveries(LedgerPart):
    """Deliveries of composed objects to destinations."""

    def claim(self, destination: str, *, lease_seconds: float, limit: int = 100) -> list[Delivery]:
        """Claim the deliveries due for a destination, for a time: the most urgent first, then the longest waiting.

        Deliveries that another process holds are left out until its lease ends.
        """
        now = self.db.clock()
        due = (
            select(delivery, result_object)
            .join(result_object)
            .where(
                delivery.c.destination == destination,
                delivery.c.state == DeliveryState.WAITING,
                delivery.c.due_at <= now,
                delivery.c.lease_until <= now,
            )
            .order_by(delivery.c.priority.desc(), delivery.c.queued_at, result_object.c.job_id, result_object.c.kind)
            .limit(limit)
            .with_for_update(of=delivery, skip_locked=True)
        )
        worker = uuid4().hex
        with self.db.writing() as connection:
            taken = [to_delivery(row) for row in connection.execute(due).mappings()]
            which = and_(
                delivery.c.destination == destination,
                delivery.c.sop_instance_uid.in_([claimed.object.sop_instance_uid for claimed in taken]),
            )
            if taken:
                lease = {"worker": worker, "lease_until": now + lease_seconds}
                connection.execute(update(delivery).where(which).values(lease))
            return [replace(claimed, worker=worker) for claimed in taken]

    def renew(self, held: Sequence[Delivery], *, lease_seconds: float) -> bool:
        """Renew the lease of deliveries claimed together; False if another process has claimed some of them since."""
        with self.db.writing() as connection:
            renewed = connection.execute(
                update(delivery).where(_are_held(held), _to_send()).values(lease_until=self.db.clock() + lease_seconds)
            )
            return bool(renewed.rowcount == len(held))

    def begin(self, held: Sequence[Delivery]) -> bool:
        """Record that the first of the deliveries claimed together is sent now.

        False if one of them no longer belongs to this claim: another process has it, or it was superseded.
        """
        mine = select(func.count()).select_from(delivery).where(_are_held(held), _to_send())
        first = update(delivery).where(_are_held(held[:1]), _to_send()).values(begun_at=self.db.clock())
        with self.db.writing() as connection:
            return connection.execute(mine).scalar_one() == len(held) and bool(connection.execute(first).rowcount)

    def release(self, held: Sequence[Delivery]) -> None:
        """Release claimed deliveries that were not sent: they are due as before."""
        with self.db.writing() as connection:
            connection.execute(update(delivery).where(_are_held(held)).values(FREE))

    def next_due(self, destination: str) -> float | None:
        """Return when the next delivery to a destination is due or loses its lease, None while there is none."""
        now = self.db.clock()
        waiting = and_(delivery.c.destination == destination, delivery.c.state == DeliveryState.WAITING)
        free = select(func.min(delivery.c.due_at)).where(waiting, delivery.c.lease_until <= now)
        held = select(func.min(delivery.c.lease_until)).where(waiting, delivery.c.lease_until > now)
        with self.db.reading() as connection:
            times = [connection.execute(query).scalar() for query in (free, held)]
        return min((at for at in times if at is not None), default=None)

    def has_delivered(self, destination: str) -> bool:
        """Return whether a destination has ever stored an object of this node."""
        query = select(delivery.c.destination).where(
            delivery.c.destination == destination,
            delivery.c.state.in_((DeliveryState.DELIVERED, DeliveryState.COMMITTED)),
        )
        with self.db.reading() as connection:
            return connection.execute(query.limit(1)).first() is not None

    def mark_delivered(self, sent: Delivery, reason: str = "", *, commitment: bool = False) -> None:
        """Mark an object as stored by its destination, which may have to be asked to commit to it.

        An object that was superseded while it was being sent counts as delivered.
        """
        now = self.db.clock()
        ask: dict[str, Any] = {"ask_at": now if commitment else None, "asks": 0}
        self._move(sent, "deliver", reason, "object.delivered", delivered_at=now, **ask)

    def postpone(self, sent: Delivery, *, seconds: float, reason: str, answered: bool = True) -> None:
        """Try an object again in `seconds`. If no answer came, its destination may have stored it."""
        due_at = self.db.clock() + seconds
        self._move(sent, "postpone", reason, "object.postponed", answered=answered, due_at=due_at)

    def park(self, sent: Delivery, reason: str, *, answered: bool = True) -> None:
        """Stop trying to deliver an object until a person requeues it; as for `postpone`."""
        self._move(sent, "park", reason, "object.parked", answered=answered)

    def decline(self, sent: Delivery, reason: str) -> None:
        """Mark an object whose SOP class its destination refuses: a fallback may replace it."""
        self._move(sent, "decline", reason, "object.unsupported")

    def park_strays(self, known: Collection[str]) -> int:
        """Park deliveries to destinations that are no longer configured; return how many."""
        with self.db.writing() as connection:
            which = delivery.c.destination.not_in(list(known))
            because = {"reason": "its destination is no longer configured; configure it again and requeue"}
            waiting = and_(which, delivery.c.state == DeliveryState.WAITING)
            strays = make_move(connection, delivery, waiting, "park", DELIVERY_MOVES, because)
            for row in strays:
                detail = f"{row.sop_instance_uid} to {row.destination}: {row.reason}"
                self.db.add_event(connection, row.study_uid, "object.parked", detail, destination=row.destination)
            return len(strays)

    def of(self, study_uid: str) -> list[Delivery]:
        """Return every delivery of a study's results."""
        query = (
            select(delivery, result_object)
            .join(result_object)
            .where(delivery.c.study_uid == study_uid)
            .order_by(result_object.c.job_id, result_object.c.kind, delivery.c.destination)
        )
        with self.db.reading() as connection:
            return [to_delivery(row) for row in connection.execute(query).mappings()]

    def _move(
        self, sent: Delivery, move: str, reason: str, name: str, *, answered: bool = True, **values: object
    ) -> None:
        tried = {"attempts": sent.attempts + 1, **FREE, **({"begun_at": None} if answered else {})}
        values |= {"reason": reason, **tried}
        with self.db.writing() as connection:
            if make_move(connection, delivery, _are_held([sent]), move, DELIVERY_MOVES, values):
                detail = f"{sent.object.kind} {sent.object.sop_instance_uid} to {sent.destination}"
                self.db.add_event(
                    connection,
                    sent.study_uid,
                    name,
                    f"{detail}: {reason}" if reason else detail,
                    destination=sent.destination,
                    seconds=round(self.db.clock() - sent.queued_at, 3),
                )
                return
            superseded = and_(_are_held([sent]), delivery.c.state == DeliveryState.SUPERSEDED)
            connection.execute(update(delivery).where(superseded).values(tried))


def _to_send() -> Any:
    return delivery.c.state == DeliveryState.WAITING


def _are_held(held: Sequence[Delivery]) -> Any:
    """The fence: they are still in the hands of the claim that took them; a move says what state they must be in."""
    first = held[0]
    return and_(
        delivery.c.destination == first.destination,
        delivery.c.sop_instance_uid.in_([claimed.object.sop_instance_uid for claimed in held]),
        delivery.c.worker == first.worker,
    )
