"""How jobs change their state: planned, moved, superseded; shared by the parts that do so in their own transactions."""

from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, and_, func, insert, select

from node.ledger.database import Database, make_move
from node.ledger.schema import job
from node.records import JOB_MOVES, JobState, Plan, Study


def move_jobs(db: Database, connection: Connection, which: Any, move: str, **values: object) -> list[Any]:
    """Make one move of the transition table, and return the jobs that made it; waiting jobs are announced."""
    moved = make_move(connection, job, which, move, JOB_MOVES, values)
    db.announce(connection, (row for row in moved if row.state == JobState.WAITING))
    return moved


def supersede(db: Database, connection: Connection, which: Any, reason: str) -> None:
    """Supersede the jobs that wait or are parked, each with an event in the history of its study."""
    for old in move_jobs(db, connection, which, "supersede", reason=reason):
        db.add_event(connection, old.study_uid, "job.superseded", f"{old.plugin}, revision {old.revision}: {reason}")


def plan_job(
    db: Database, connection: Connection, seen: Study, wanted: Plan, *, sender: str, revision: int | None = None
) -> bool:
    """Add a job to a study; False where a job of the same plugin and version has been planned for the same images."""
    now = db.clock()
    mine = and_(job.c.study_uid == seen.study_uid)
    same = and_(mine, job.c.plugin == wanted.plugin, job.c.version == wanted.version, job.c.digest == wanted.digest)
    earlier = connection.execute(select(job.c.id).where(same, job.c.state != JobState.SUPERSEDED)).first()
    if earlier is not None:
        db.add_event(connection, seen.study_uid, "job.same", f"{wanted.plugin} has had these very images before")
        return False
    ordinal = connection.execute(select(func.count()).select_from(job).where(mine)).scalar_one()
    made = connection.execute(
        insert(job)
        .values(
            asdict(wanted)
            | {
                "study_uid": seen.study_uid,
                "revision": revision or seen.revision,
                "sender": sender,
                "ordinal": ordinal,
                "state": JobState.WAITING,
                "attempts": 0,
                "planned_at": now,
                "due_at": now,
                "worker": "",
                "lease_until": 0.0,
                "reason": "",
            }
        )
        .returning(*job.c)
    )
    db.announce(connection, made)
    db.add_event(
        connection, seen.study_uid, "job.planned", f"{wanted.plugin} {wanted.version} for route {wanted.route!r}"
    )
    return True
