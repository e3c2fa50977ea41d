"""What a person decides about a study: to cancel what is left to do for it, or to delete it."""

from typing import Any

from sqlalchemy import Connection, and_, delete, func, select, update

from node.ledger.database import LedgerPart, hold, make_move
from node.ledger.job_moves import supersede
from node.ledger.retention import HISTORY, Retention
from node.ledger.schema import delivery, instance, job, study
from node.records import DELIVERY_MOVES, StudyState

CANCELLED = "cancelled by a person"


class Interventions(LedgerPart):
    """Cancels and deletes. What was delivered stays at its destinations."""

    def cancel_job(self, job_id: int) -> bool:
        """Supersede one job that is not done; False where there is none. A running one is ended within seconds."""
        with self.db.writing() as connection:
            uid = connection.execute(select(job.c.study_uid).where(job.c.id == job_id)).scalar()
            if uid is None:
                return False
            hold(connection, [uid])
            return bool(supersede(self.db, connection, job.c.id == job_id, CANCELLED))

    def cancel_study(self, study_uid: str) -> dict[str, int]:
        """Supersede the jobs and deliveries of a study that are not finished; return how many of each.

        A study that was not yet routed, or is parked, is not routed any more in this revision.
        """
        with self.db.writing() as connection:
            hold(connection, [study_uid])
            return self._cancel(connection, study_uid)

    def _cancel(self, connection: Connection, study_uid: str) -> dict[str, int]:
        open_states = (StudyState.RECEIVING, StudyState.STABLE, StudyState.PARKED)
        unrouted = and_(study.c.study_uid == study_uid, study.c.state.in_(open_states))
        done = {"state": StudyState.ROUTED, "because": CANCELLED}
        studies = connection.execute(update(study).where(unrouted).values(done)).rowcount
        jobs = supersede(self.db, connection, job.c.study_uid == study_uid, CANCELLED)
        mine = delivery.c.study_uid == study_uid
        deliveries = make_move(connection, delivery, mine, "supersede", DELIVERY_MOVES, {"reason": CANCELLED})
        if studies or jobs or deliveries:
            detail = f"{len(jobs)} jobs and {len(deliveries)} deliveries"
            self.db.add_event(connection, study_uid, "study.cancelled", detail)
        return {"studies": studies, "jobs": len(jobs), "deliveries": len(deliveries)}

    def delete_study(self, study_uid: str) -> int | None:
        """Delete the instances of a study and its history; return how many instances, or None without such a study.

        What is left to do for it is cancelled. The rows that recognise it if it is sent again stay, without anything
        about the patient. Its files may be deleted afterwards.
        """
        with self.db.writing() as connection:
            hold(connection, [study_uid])
            seen: Any = connection.execute(select(study).where(study.c.study_uid == study_uid)).first()
            if seen is None:
                return None
            self._cancel(connection, study_uid)
            held = select(func.count()).select_from(instance).where(instance.c.study_uid == study_uid)
            count = int(connection.execute(held).scalar_one())
            Retention(self.db).purge_one(connection, seen, self.db.clock())
            for table in HISTORY:
                connection.execute(delete(table).where(table.c.study_uid == study_uid))
            self.db.add_event(connection, study_uid, "study.deleted", f"{count} instances, by a person")
            return count
