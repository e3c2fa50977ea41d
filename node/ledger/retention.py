"""Retention: which finished studies may be purged, and how long their history is kept."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    Connection,
    and_,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)

from node.ledger.database import LOOKUP, LedgerPart, groups, hold
from node.ledger.instances import count_present
from node.ledger.schema import (
    commitment,
    commitment_item,
    commitment_request,
    decision,
    delivery,
    event,
    failed_association,
    fetch,
    identifiers,
    instance,
    job,
    pack,
    refusal,
    result_object,
    study,
)
from node.records import (
    FINISHED_DELIVERIES,
    FINISHED_JOBS,
    DeliveryState,
    StudyState,
)

TOGETHER = 20
"""Studies purged in one transaction: other writers wait for it."""
HISTORY = (event, decision, refusal, identifiers)
"""Tables that hold only the story of a study; no other code reads them to decide anything."""
DONE_WITH = (StudyState.ROUTED, StudyState.PRIOR)
"""States of a study from which it is purged, once nothing is left to do for it."""


class Retention(LedgerPart):
    """Purges rows whose retention time is over."""

    def newest_change(self) -> float | None:
        """Return when a study changed last; None where there is none."""
        with self.db.reading() as connection:
            newest: float | None = connection.execute(select(func.max(study.c.changed_at))).scalar_one()
        return newest

    def purge(self, *, before: float) -> list[str]:
        """Purge some studies that were finished before a time, and return them; their files may be deleted afterwards.

        Finished is a study that is routed or a prior, with every job in FINISHED_JOBS and every delivery in
        FINISHED_DELIVERIES.
        Its instances' rows go; the rows that tell its story stay, and its objects' rows say that they are purged.
        """
        now = self.db.clock()
        due = select(study).where(_finished(before)).order_by(study.c.changed_at).limit(TOGETHER)
        with self.db.writing() as connection:
            chosen = [row.study_uid for row in connection.execute(due)]
            hold(connection, chosen)
            still = connection.execute(
                due.where(study.c.study_uid.in_(chosen))
            ).all()  # nobody has begun anew meanwhile
            return [row.study_uid for row in still if self.purge_one(connection, row, now)]

    def purge_one(self, connection: Connection, seen: Any, now: float) -> bool:
        """Purge a study that is as it was seen; False if something has come meanwhile."""
        which = and_(
            study.c.study_uid == seen.study_uid,
            study.c.state.in_(DONE_WITH),
            study.c.revision == seen.revision,
        )
        values = {"state": StudyState.PURGED, "purged_at": now, "expected": count_present(connection, seen.study_uid)}
        if not connection.execute(update(study).where(which).values(values)).rowcount:
            return False
        gone = connection.execute(delete(instance).where(instance.c.study_uid == seen.study_uid)).rowcount
        connection.execute(delete(fetch).where(fetch.c.study_uid == seen.study_uid))
        made = select(job.c.id).where(job.c.study_uid == seen.study_uid)
        objects = connection.execute(
            update(result_object)
            .where(result_object.c.job_id.in_(made), result_object.c.purged_at.is_(None))
            .values(purged_at=now)
        ).rowcount
        self.db.add_event(connection, seen.study_uid, "study.purged", f"{gone} instances and {objects} objects")
        return True

    def finished_bytes(self, *, before: float) -> int:
        """Return how many received bytes are held for studies that were finished before a time."""
        held = select(func.coalesce(func.sum(instance.c.length), 0)).join_from(
            study, instance, instance.c.study_uid == study.c.study_uid
        )
        with self.db.reading() as connection:
            return int(connection.execute(held.where(_finished(before))).scalar_one())

    def purged(self, study_uids: Iterable[str]) -> dict[str, float]:
        """Return when each of these studies was last purged, if it ever was."""
        found: dict[str, float] = {}
        with self.db.reading() as connection:
            for some in groups(study_uids, LOOKUP):
                query = select(study.c.study_uid, study.c.purged_at)
                rows = connection.execute(query.where(study.c.study_uid.in_(some), study.c.purged_at.is_not(None)))
                found |= {row.study_uid: row.purged_at for row in rows}
        return found

    def forget(self, *, before: float) -> int:
        """Delete the story of studies purged before a time, and what ended before it; return how many studies.

        Their own rows stay, with those of jobs, objects and deliveries: a study that comes again is known by them.
        """
        old = select(study.c.study_uid).where(study.c.state == StudyState.PURGED, study.c.purged_at < before)
        has_history = or_(*(exists().where(table.c.study_uid == study.c.study_uid) for table in HISTORY))
        stranger = ~exists().where(study.c.study_uid == refusal.c.study_uid)
        with self.db.writing() as connection:
            chosen = connection.execute(old.where(has_history).limit(TOGETHER)).scalars().all()
            hold(connection, chosen)
            gone = connection.execute(old.where(study.c.study_uid.in_(chosen))).scalars().all()
            for table in HISTORY:
                connection.execute(delete(table).where(table.c.study_uid.in_(gone)))
            strangers = connection.execute(
                select(refusal.c.study_uid).where(refusal.c.at < before, stranger).distinct()
            )
            for some in groups(strangers.scalars().all(), LOOKUP):
                for table in (event, refusal):
                    connection.execute(delete(table).where(table.c.study_uid.in_(some), table.c.at < before))
            items = exists().where(commitment_item.c.transaction_uid == commitment.c.transaction_uid)
            connection.execute(delete(commitment).where(commitment.c.asked_at < before, ~items))
            reported = and_(commitment_request.c.received_at < before, commitment_request.c.reported_at.is_not(None))
            connection.execute(delete(commitment_request).where(reported))
            connection.execute(delete(failed_association).where(failed_association.c.last_at < before))
            return len(gone)

    def forget_packs(self, names: Iterable[str]) -> None:
        """Drop the marks of packs whose files are gone."""
        with self.db.writing() as connection:
            for some in groups(names, LOOKUP):
                connection.execute(delete(pack).where(pack.c.name.in_(some)))


def _finished(before: float) -> Any:
    """Nothing more will be done for a study, and nothing has been done since a time."""
    busy_job = exists().where(
        job.c.study_uid == study.c.study_uid,
        or_(job.c.state.not_in(FINISHED_JOBS), job.c.finished_at >= before),
    )
    busy_delivery = exists().where(
        delivery.c.study_uid == study.c.study_uid,
        or_(
            delivery.c.state.not_in(FINISHED_DELIVERIES),
            and_(delivery.c.state == DeliveryState.DELIVERED, delivery.c.ask_at.is_not(None)),  # not yet committed
            delivery.c.delivered_at >= before,
        ),
    )
    return and_(study.c.state.in_(DONE_WITH), study.c.changed_at < before, ~busy_job, ~busy_delivery)
