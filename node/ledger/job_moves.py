"""How jobs change their state; shared by the parts that do so in their own transactions."""

from typing import Any

from sqlalchemy import Connection

from node.ledger.database import Database, make_move
from node.ledger.schema import job
from node.records import JOB_MOVES, JobState


def move_jobs(db: Database, connection: Connection, which: Any, move: str, **values: object) -> list[Any]:
    """Make one move of the transition table, and return the jobs that made it; waiting jobs are announced."""
    moved = make_move(connection, job, which, move, JOB_MOVES, values)
    db.announce(connection, (row for row in moved if row.state == JobState.WAITING))
    return moved


def supersede(db: Database, connection: Connection, which: Any, reason: str) -> list[Any]:
    """Supersede jobs that are not done, each with an event in the history of its study; return those that were."""
    moved = move_jobs(db, connection, which, "supersede", reason=reason)
    for old in moved:
        db.add_event(
            connection, old.study_uid, "job.superseded", f"{old.plugin}, revision {old.revision}: {reason}", job=old.id
        )
    return moved
