"""Deliveries that a destination refused by SOP class, and the objects that replace them."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, RowMapping, ScalarSelect, and_, select

from node.ledger.database import LedgerPart, hold, insert_or, make_move
from node.ledger.outdating import is_withdrawn
from node.ledger.rows import to_delivery, to_object
from node.ledger.schema import delivery, result_object
from node.records import DELIVERY_MOVES, Declined, Delivery, DeliveryState, ResultObject


class Fallbacks(LedgerPart):
    """Replaces objects whose SOP class a destination refuses."""

    def declined(self, destination: str) -> list[Declined]:
        """Return refused deliveries that have no replacement yet, each with the objects of its job."""
        query = (
            select(delivery, result_object)
            .join(result_object)
            .where(delivery.c.destination == destination, delivery.c.state == DeliveryState.UNSUPPORTED)
            .order_by(delivery.c.queued_at, result_object.c.kind, result_object.c.sop_instance_uid)
        )
        with self.db.reading() as connection:
            return [_declined(connection, row) for row in connection.execute(query).mappings().all()]

    def replace(self, refused: Declined, objects: Sequence[ResultObject], reason: str) -> None:
        """Replace a refused object: add the new objects and their deliveries, if they are not there already."""
        sent = refused.delivery
        with self.db.writing() as connection:
            hold(connection, [sent.study_uid])
            if _move(connection, sent, "replace", reason):
                self._have_wait(connection, sent, objects)
                self._add_event(connection, sent, "object.replaced", reason)

    def supplant(self, sent: Delivery, objects: Sequence[ResultObject], reason: str) -> None:
        """Queue objects in place of a waiting one; in addition to it, if it was sent already or is being sent.

        Nothing, where a later revision has come meanwhile.
        """
        free = and_(_is(sent), delivery.c.worker == sent.worker)
        with self.db.writing() as connection:
            hold(connection, [sent.study_uid])
            if connection.execute(select(is_withdrawn(_job_of(sent)))).scalar_one():
                return
            make_move(connection, delivery, free, "supplant", DELIVERY_MOVES, {"reason": reason})
            self._have_wait(connection, sent, objects)
            self._add_event(connection, sent, "object.replaced", reason)

    def park(self, refused: Declined, reason: str) -> None:
        """Park a delivery for which no fallback is left, until a person requeues it."""
        sent = refused.delivery
        with self.db.writing() as connection:
            if _move(connection, sent, "exhaust", reason):
                self._add_event(connection, sent, "object.parked", reason)

    def _have_wait(self, connection: Connection, sent: Delivery, objects: Sequence[ResultObject]) -> None:
        """Queue objects for the destination of another delivery of their job, with the same priority."""
        query = select(delivery.c.priority, result_object.c.job_id).join(result_object).where(_is(sent))
        priority, job_id = connection.execute(query).one()
        now = self.db.clock()
        for made in objects:
            row = asdict(made) | {"job_id": job_id}
            connection.execute(insert_or(connection, result_object).values(row).on_conflict_do_nothing())
            waiting = {
                "sop_instance_uid": made.sop_instance_uid,
                "destination": sent.destination,
                "study_uid": sent.study_uid,
                "priority": priority,
                "state": DeliveryState.WAITING,
                "attempts": 0,
                "queued_at": now,
                "due_at": now,
                "reason": "",
            }
            connection.execute(insert_or(connection, delivery).values(waiting).on_conflict_do_nothing())

    def _add_event(self, connection: Connection, sent: Delivery, name: str, reason: str) -> None:
        detail = f"{sent.object.kind} {sent.object.sop_instance_uid} to {sent.destination}: {reason}"
        self.db.add_event(connection, sent.study_uid, name, detail, destination=sent.destination)


def _declined(connection: Connection, row: RowMapping) -> Declined:
    sent, job_id = to_delivery(row), row["job_id"]
    beside = (
        select(delivery, result_object)
        .join(result_object)
        .where(result_object.c.job_id == job_id, delivery.c.destination == sent.destination)
        .order_by(result_object.c.sop_instance_uid)
    )
    others = [to_delivery(row) for row in connection.execute(beside).mappings()]
    return Declined(delivery=sent, job_id=job_id, objects=_made_by(connection, job_id), beside=tuple(others))


def _made_by(connection: Connection, job_id: int) -> tuple[ResultObject, ...]:
    query = select(result_object).where(result_object.c.job_id == job_id, result_object.c.purged_at.is_(None))
    rows = connection.execute(query.order_by(result_object.c.sop_instance_uid)).mappings()
    return tuple(to_object(row) for row in rows)


def _move(connection: Connection, sent: Delivery, move: str, reason: str) -> bool:
    which = and_(_is(sent), delivery.c.state == DeliveryState.UNSUPPORTED)
    return bool(make_move(connection, delivery, which, move, DELIVERY_MOVES, {"reason": reason}))


def _job_of(sent: Delivery) -> ScalarSelect[int]:
    return (
        select(result_object.c.job_id)
        .where(result_object.c.sop_instance_uid == sent.object.sop_instance_uid)
        .scalar_subquery()
    )


def _is(sent: Delivery) -> Any:
    return and_(delivery.c.sop_instance_uid == sent.object.sop_instance_uid, delivery.c.destination == sent.destination)
