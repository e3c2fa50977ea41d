"""Queries and requeue for people."""

from typing import Any

from sqlalchemy import (
    Connection,
    Table,
    and_,
    false,
    func,
    select,
    update,
)

from node.ledger.database import LedgerPart, hold, make_move
from node.ledger.rows import from_row
from node.ledger.schema import (
    decision,
    delivery,
    event,
    instance,
    job,
    node,
    refusal,
    study,
)
from node.records import (
    DELIVERY_MOVES,
    JOB_MOVES,
    Decision,
    DeliveryState,
    JobState,
    Refusal,
    Study,
    StudyState,
)

_PARKED = (
    select(study.c.study_uid, study.c.because).where(study.c.state == StudyState.PARKED),
    select(job.c.study_uid, job.c.plugin, job.c.reason).where(job.c.state == JobState.PARKED),
    select(delivery.c.study_uid, delivery.c.destination, delivery.c.reason).where(
        delivery.c.state == DeliveryState.PARKED
    ),
)


class Queries(LedgerPart):
    """The queries of `isocenter explain`, `check` and `requeue`."""

    def device_uid(self) -> str:
        """Return the UID of the node that owns the ledger, made with the ledger (PS3.5 B.2)."""
        with self.db.reading() as connection:
            return str(connection.execute(select(node.c.device_uid)).scalar_one())

    def decisions(self, of: Study) -> list[Decision]:
        """Return what the routes made of a study in its present revision."""
        query = (
            select(decision)
            .where(decision.c.study_uid == of.study_uid, decision.c.revision == of.revision)
            .order_by(decision.c.id)
        )
        with self.db.reading() as connection:
            return [from_row(Decision, row) for row in connection.execute(query).mappings()]

    def refusals(self, study_uid: str | None = None) -> list[Refusal]:
        """Return refused instances, of one study or of all."""
        query = select(refusal).order_by(refusal.c.id)
        if study_uid is not None:
            query = query.where(refusal.c.study_uid == study_uid)
        with self.db.reading() as connection:
            return [from_row(Refusal, row) for row in connection.execute(query).mappings()]

    def parked(self) -> list[tuple[str, str, str]]:
        """Return (study UID, what, reason) of everything that waits for a person."""
        with self.db.reading() as connection:
            studies, jobs, deliveries = (connection.execute(query).all() for query in _PARKED)
        return [
            *((uid, "study", reason) for uid, reason in studies),
            *((uid, f"job {plugin}", reason) for uid, plugin, reason in jobs),
            *((uid, f"delivery to {destination}", reason) for uid, destination, reason in deliveries),
        ]

    def stuck(self, *, seconds: float) -> list[str]:
        """Return a sentence for each study, job and destination without progress for so many seconds."""
        now = self.db.clock()
        held = select(job).where(job.c.state == JobState.RUNNING, job.c.lease_until < now).order_by(job.c.id)
        due = (
            select(delivery.c.destination, func.count().label("count"), func.min(delivery.c.queued_at).label("since"))
            .where(delivery.c.state == DeliveryState.WAITING, delivery.c.queued_at < now - seconds)
            .group_by(delivery.c.destination)
            .order_by(delivery.c.destination)
        )
        begun = select(func.max(event.c.at)).where(
            event.c.study_uid == study.c.study_uid, event.c.name.in_(("study.begun", "study.revised"))
        )
        growing = (
            select(study.c.study_uid, begun.scalar_subquery().label("since"))
            .where(study.c.state == StudyState.RECEIVING, begun.scalar_subquery() < now - seconds)
            .order_by(study.c.study_uid)
        )
        with self.db.reading() as connection:
            jobs, studies = connection.execute(held).all(), connection.execute(growing).all()
            waiting = [(row, self._reason(connection, row)) for row in connection.execute(due).all()]
        return [
            *(f"study {row.study_uid} has been receiving for {span(now - row.since)}" for row in studies),
            *(
                f"job {row.id} ({row.plugin}) of study {row.study_uid} has run past its lease by "
                f"{span(now - row.lease_until)}: nobody works, or the node is being restarted"
                for row in jobs
            ),
            *(
                f"{row.count} deliveries to {row.destination} wait, the oldest for {span(now - row.since)}: "
                f"{reason or 'not tried yet'}"
                for row, reason in waiting
            ),
        ]

    def _reason(self, connection: Connection, group: Any) -> str:
        oldest = select(delivery.c.reason).where(
            delivery.c.destination == group.destination,
            delivery.c.state == DeliveryState.WAITING,
            delivery.c.queued_at == group.since,
        )
        return connection.execute(oldest.order_by(delivery.c.attempts.desc()).limit(1)).scalar() or ""

    def requeue(
        self,
        study_uid: str | None = None,
        *,
        job_id: int | None = None,
        object_uid: str | None = None,
        destination: str | None = None,
    ) -> dict[str, int]:
        """Requeue parked studies, jobs and deliveries; return how many of each. Deliveries that wait are due at once.

        Of all studies or of one. `job_id` names one job alone; `object_uid` and `destination` choose deliveries alone.
        A study that is named is analysed as it is, though some of its instances were purged, or it was fetched as a
        prior; bytes that were lost are looked for again.
        """
        now = self.db.clock()
        deliveries_alone = object_uid is not None or destination is not None
        chosen: dict[str, list[Any]] = {
            "studies": [false()] if deliveries_alone or job_id is not None else [],
            "jobs": [job.c.id == job_id] if job_id is not None else [false()] if deliveries_alone else [],
            "deliveries": [false()] if job_id is not None and not deliveries_alone else [],
        }
        if object_uid is not None:
            chosen["deliveries"].append(delivery.c.sop_instance_uid == object_uid)
        if destination is not None:
            chosen["deliveries"].append(delivery.c.destination == destination)

        def mine(table: Table, name: str) -> Any:
            own = table.c.study_uid == study_uid if study_uid else table.c.study_uid.is_not(None)
            return and_(own, *chosen[name])

        with self.db.writing() as connection:
            hold(
                connection,
                [study_uid] if study_uid else {row[0] for query in _PARKED for row in connection.execute(query)},
            )
            as_it_is: dict[str, Any] = {"expected": 0} if study_uid else {}
            put_back = (StudyState.PARKED, StudyState.PRIOR) if study_uid else (StudyState.PARKED,)
            studies = connection.execute(
                update(study)
                .where(mine(study, "studies"), study.c.state.in_(put_back))
                .values(state=StudyState.STABLE, **as_it_is)
                .returning(study.c.study_uid)
            ).all()
            for row in studies:
                connection.execute(update(instance).where(instance.c.study_uid == row.study_uid).values(lost=False))
            jobs = make_move(connection, job, mine(job, "jobs"), "requeue", JOB_MOVES, {"due_at": now, "attempts": 0})
            self.db.announce(connection, jobs)
            again = {"due_at": now, "queued_at": now, "attempts": 0}
            deliveries = make_move(connection, delivery, mine(delivery, "deliveries"), "requeue", DELIVERY_MOVES, again)
            waits = and_(delivery.c.state == DeliveryState.WAITING, delivery.c.due_at > now)
            sooner = and_(mine(delivery, "deliveries"), waits)
            deliveries += make_move(connection, delivery, sooner, "postpone", DELIVERY_MOVES, {"due_at": now})
            for row in (*studies, *jobs, *deliveries):
                self.db.add_event(connection, row.study_uid, "requeued", "")
        return {"studies": len(studies), "jobs": len(jobs), "deliveries": len(deliveries)}


def span(seconds: float) -> str:
    """Return a time span in the unit that people would use."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
