"""Plan a job of a plugin for images that its newest job did not have; the new job replaces the earlier ones."""

from dataclasses import asdict

from sqlalchemy import Connection, func, insert, select

from node.ledger.database import Database
from node.ledger.outdating import is_withdrawn, outdate_earlier
from node.ledger.schema import job
from node.records import JobState, Plan, Study


def plan_job(
    db: Database, connection: Connection, seen: Study, wanted: Plan, *, sender: str, revision: int | None = None
) -> bool:
    """Add a job to a study, which outdates those of its plugin in earlier revisions.

    False where the newest job of the plugin is of the same version and for the same images.
    """
    now = db.clock()
    number = revision or seen.revision
    if _is_answered(connection, seen.study_uid, wanted):
        db.add_event(connection, seen.study_uid, "job.same", f"{wanted.plugin} has had these very images before")
        return False
    outdate_earlier(db, connection, seen.study_uid, wanted.plugin, number)
    mine = job.c.study_uid == seen.study_uid
    ordinal = connection.execute(select(func.count()).select_from(job).where(mine)).scalar_one()
    made = connection.execute(
        insert(job)
        .values(
            asdict(wanted)
            | {
                "study_uid": seen.study_uid,
                "revision": number,
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
    planned = made.all()
    db.announce(connection, planned)
    db.add_event(
        connection,
        seen.study_uid,
        "job.planned",
        f"{wanted.plugin} {wanted.version} for route {wanted.route!r}",
        job=planned[0].id,
    )
    return True


def _is_answered(connection: Connection, study_uid: str, wanted: Plan) -> bool:
    """Return whether the newest job of a plugin has, or will have, an answer for the same images and version.

    A superseded job gives no answer; neither does a job whose objects were withdrawn before they were sent.
    """
    mine = (job.c.study_uid == study_uid, job.c.plugin == wanted.plugin, job.c.state != JobState.SUPERSEDED)
    newest = connection.execute(select(job).where(*mine).order_by(job.c.revision.desc(), job.c.id.desc())).first()
    if newest is None or (newest.version, newest.digest) != (wanted.version, wanted.digest):
        return False
    return not connection.execute(select(is_withdrawn(newest.id))).scalar_one()
