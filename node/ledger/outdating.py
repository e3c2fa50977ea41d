"""What a later revision supersedes: jobs, and objects of finished jobs that were not sent yet.

A job is outdated when an image of a series that it reads comes or changes, or when a job of its plugin is planned in a
later revision. It stays so whatever becomes of that revision: an answer about some of the images is not delivered in
place of one about all of them that failed. Both happen while the row of the study is held, as `Jobs.finish` does: so
nothing of an earlier revision is recorded once a job of a later one is planned, and what that job names as its
predecessors when it begins is what there is when it ends.
"""

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, Connection, ScalarSelect, and_, exists, func, or_, select

from node.ledger.database import Database, make_move
from node.ledger.job_moves import supersede
from node.ledger.schema import delivery, job, result_object
from node.records import DELIVERY_MOVES, DeliveryState, JobState

BEGUN = (JobState.RUNNING, JobState.DONE)


def outdate_waiting(db: Database, connection: Connection, study_uid: str, revision: int) -> None:
    """Supersede the jobs of a study that have not begun, or are parked: a new revision of it has come."""
    unstarted = and_(job.c.study_uid == study_uid, job.c.state.not_in(BEGUN))
    supersede(db, connection, unstarted, f"revision {revision} came")


def outdate_series(
    db: Database, connection: Connection, study_uid: str, series_uids: Collection[str], revision: int
) -> None:
    """Outdate the jobs of a study that read one of these series, of which images have come or changed."""
    rows = connection.execute(
        select(job.c.id, job.c.inputs).where(job.c.study_uid == study_uid, job.c.state.in_(BEGUN))
    )
    read = [row.id for row in rows if not series_read(row.inputs).isdisjoint(series_uids)]
    if read:
        outdate(db, connection, job.c.id.in_(read), revision)


def outdate_earlier(db: Database, connection: Connection, study_uid: str, plugin: str, revision: int) -> None:
    """Outdate the jobs of a plugin in earlier revisions of a study: one is planned in this."""
    outdate(
        db, connection, and_(job.c.study_uid == study_uid, job.c.plugin == plugin, job.c.revision < revision), revision
    )


def outdate(db: Database, connection: Connection, which: Any, revision: int) -> None:
    """Supersede jobs that are not done, and the deliveries that have not left of those that are."""
    running = and_(which, job.c.state == JobState.RUNNING)
    supersede(db, connection, running, f"revision {revision} came while it ran; nothing of it is recorded")
    supersede(db, connection, which, f"revision {revision} came")
    withdraw(db, connection, select(result_object.c.sop_instance_uid).join(job).where(which), revision)


def withdraw(db: Database, connection: Connection, objects: Any, revision: int) -> None:
    """Supersede the deliveries that were not sent; an object that is being sent may still be marked as delivered."""
    reason = f"revision {revision} came before it left"
    mine = delivery.c.sop_instance_uid.in_(objects)
    for row in make_move(connection, delivery, mine, "supersede", DELIVERY_MOVES, {"reason": reason}):
        withdrawn = f"{row.sop_instance_uid} to {row.destination}: {reason}"
        db.add_event(connection, row.study_uid, "object.superseded", withdrawn)


def withdraw_followed(db: Database, connection: Connection, sop_instance_uid: str) -> None:
    """Supersede the deliveries that have not left of an object whose plugin has a job in a later revision."""
    newer = job.alias()
    later = and_(newer.c.study_uid == job.c.study_uid, newer.c.plugin == job.c.plugin)
    newest = (
        select(func.max(newer.c.revision))
        .select_from(result_object.join(job).join(newer, and_(later, newer.c.revision > job.c.revision)))
        .where(result_object.c.sop_instance_uid == sop_instance_uid)
    )
    if (revision := connection.execute(newest).scalar()) is not None:
        withdraw(db, connection, [sop_instance_uid], revision)


def series_read(inputs: Collection[dict[str, str]]) -> set[str]:
    """Return the Series Instance UIDs of the stacks that a job reads."""
    return {key.partition("#")[0] for keys in inputs for key in keys.values()}


def is_followed(study_uid: str, plugin: str, revision: int) -> ColumnElement[bool]:
    """Return the condition that a later revision of a study has a job of a plugin, in whatever state."""
    newer = job.alias()
    mine = (newer.c.study_uid == study_uid, newer.c.plugin == plugin)
    return exists().where(*mine, newer.c.revision > revision)


def is_withdrawn(job_id: int | ScalarSelect[int]) -> ColumnElement[bool]:
    """Return the condition that an object of a job was to be delivered, and was superseded before it left."""
    mine = (result_object.c.job_id == job_id, result_object.c.sop_instance_uid == delivery.c.sop_instance_uid)
    return exists().where(*mine, delivery.c.state == DeliveryState.SUPERSEDED)


def may_have_left() -> ColumnElement[bool]:
    """Return the condition that the destination of a delivery may have its object.

    A superseded delivery counts if its object was stored once, or if it was sent and no answer came.
    """
    begun = or_(delivery.c.begun_at.is_not(None), delivery.c.delivered_at.is_not(None))
    return or_(delivery.c.state != DeliveryState.SUPERSEDED, begun)
