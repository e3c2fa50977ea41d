"""Jobs: claimed with a lease, finished only while the lease is held, postponed, parked, superseded."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any
from uuid import uuid4

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    case,
    exists,
    func,
    or_,
    select,
    update,
)

from node.ledger.database import LOOKUP, LedgerPart, hold, insert_or
from node.ledger.job_moves import move_jobs, supersede
from node.ledger.job_planning import plan_job
from node.ledger.job_queue import IS_MISSING
from node.ledger.outdating import is_followed, may_have_left
from node.ledger.rows import to_job, to_object, to_study
from node.ledger.schema import (
    delivery,
    job,
    result_object,
    study,
    turn,
)
from node.records import (
    DeliveryState,
    Job,
    JobState,
    Plan,
    ResultObject,
    StudyState,
)

LATER = "a later revision came while it ran"
UNSTARTED = (JobState.WAITING, JobState.PARKED)


class Jobs(LedgerPart):
    """What happens to planned jobs."""

    def claim(self, *, lease_seconds: float, without: Collection[str] = ()) -> Job | None:
        """Claim the most urgent due job, for a time; a job whose lease has ended counts as due.

        Jobs of the plugins in `without` are left for later.

        Among jobs of equal priority, the sender that was served longest ago comes first, so that many studies of one
        sender do not delay the others.
        """
        now = self.db.clock()
        served = func.coalesce(turn.c.served, 0)
        due = (
            select(job.c.id)
            .outerjoin(turn, turn.c.sender == job.c.sender)
            .where(_is_due(now), *_except(without))
            .order_by(job.c.priority.desc(), served, job.c.due_at, job.c.id)
            .limit(1)
            .with_for_update(of=job, skip_locked=True)
        )
        with self.db.writing() as connection:
            row = (
                connection.execute(
                    update(job)
                    .where(job.c.id == due.scalar_subquery())  # IN may be asked once a row, and take more than one
                    .values(
                        state=JobState.RUNNING,
                        worker=uuid4().hex,
                        lease_until=now + lease_seconds,
                        attempts=job.c.attempts + 1,
                    )
                    .returning(*job.c)
                )
                .mappings()
                .first()
            )
            if row is None:
                return None
            _take_turn(connection, row["sender"])
            self.db.add_event(
                connection,
                row["study_uid"],
                "job.claimed",
                f"{row['plugin']}, attempt {row['attempts']}",
                job=row["id"],
                seconds=round(now - row["planned_at"], 3),
            )
            return to_job(row)

    def renew(self, held: Job, *, lease_seconds: float) -> bool:
        """Renew the lease of a job; False if another worker has claimed it since."""
        with self.db.writing() as connection:
            renewed = connection.execute(
                update(job).where(_is_held(held)).values(lease_until=self.db.clock() + lease_seconds)
            )
            return bool(renewed.rowcount)

    def finish(
        self,
        held: Job,
        objects: Sequence[ResultObject],
        *,
        remarks: Sequence[str] = (),
        timing: Mapping[str, float] | None = None,
        recipients: Mapping[str, Sequence[str]] | None = None,
    ) -> bool:
        """Record a job's objects and queue each for each destination.

        Returns False and records nothing if the lease is lost, or if the job is outdated; it is then superseded.
        `recipients` has the destinations of an object, by SOP Instance UID, if they are not all of the job's.
        """
        now = self.db.clock()
        with self.db.writing() as connection:
            hold(connection, [held.study_uid])  # a later revision comes before this or after, not meanwhile
            followed = and_(_is_held(held), is_followed(held.study_uid, held.plugin, held.revision))
            supersede(self.db, connection, followed, LATER)
            moved = move_jobs(self.db, connection, _is_held(held), "finish", finished_at=now, reason="")
            if not moved:
                return False
            for made in objects:
                connection.execute(
                    insert_or(connection, result_object)
                    .values(asdict(made) | {"job_id": held.id})
                    .on_conflict_do_nothing()
                )
                for destination in (recipients or {}).get(made.sop_instance_uid, held.destinations):
                    row = {
                        "sop_instance_uid": made.sop_instance_uid,
                        "destination": destination,
                        "study_uid": held.study_uid,
                        "priority": moved[0].priority,
                        "state": DeliveryState.WAITING,
                        "attempts": 0,
                        "queued_at": now,
                        "due_at": now,
                        "reason": "",
                    }
                    connection.execute(insert_or(connection, delivery).values(row).on_conflict_do_nothing())
            kinds = ", ".join(made.kind for made in objects) or "no objects"
            for remark in remarks:
                self.db.add_event(connection, held.study_uid, "job.remark", f"{held.plugin}: {remark}", job=held.id)
            parts = ", ".join(f"{part} {seconds:.2f} s" for part, seconds in (timing or {}).items())
            self.db.add_event(
                connection,
                held.study_uid,
                "job.done",
                f"{held.plugin} {held.version}: {kinds}; {parts}",
                job=held.id,
                seconds=round(now - held.planned_at, 3),
            )
            return True

    def postpone(self, held: Job, *, seconds: float, reason: str, attempts: int) -> bool:
        """Put a held job back, to be due again in `seconds`; `attempts` is how many count so far."""
        values: dict[str, object] = {
            "due_at": self.db.clock() + seconds,
            "worker": "",
            "reason": reason,
            "attempts": attempts,
        }
        with self.db.writing() as connection:
            hold(connection, [held.study_uid])  # a later revision comes before this or after, not meanwhile
            moved = move_jobs(self.db, connection, _is_held(held), "postpone", **values)
            if moved:
                self.db.add_event(
                    connection,
                    held.study_uid,
                    "job.postponed",
                    f"{held.plugin} for {seconds:.0f} s: {reason}",
                    job=held.id,
                )
                supersede(self.db, connection, _is_outdated(held), LATER)
            return bool(moved)

    def park(self, held: Job, reason: str) -> bool:
        """Park a held job until a person requeues it."""
        with self.db.writing() as connection:
            hold(connection, [held.study_uid])
            moved = move_jobs(self.db, connection, _is_held(held), "park", worker="", reason=reason)
            if moved:
                self.db.add_event(connection, held.study_uid, "job.parked", f"{held.plugin}: {reason}", job=held.id)
                supersede(self.db, connection, _is_outdated(held), LATER)
            return bool(moved)

    def remind(self) -> float | None:
        """Queue the ids of due jobs again that are missing in the engine's queue; return when to look again.

        A message may be lost, and there is no message for a job whose worker died.
        """
        if self.db.queue is None:
            return None
        now = self.db.clock()
        lost = select(job).where(_is_due(now), IS_MISSING).order_by(job.c.priority.desc(), job.c.due_at, job.c.id)
        waiting = select(func.min(job.c.due_at)).where(job.c.state == JobState.WAITING, job.c.due_at > now)
        held = select(func.min(job.c.lease_until)).where(job.c.state == JobState.RUNNING, job.c.lease_until > now)
        with self.db.writing() as connection:
            if not self.db.queue.clean(connection):
                return None
            found = connection.execute(lost.limit(LOOKUP)).all()
            self.db.queue.put(connection, found, now=now)
            if len(found) == LOOKUP:
                return 0.0
            times = [connection.execute(query).scalar() for query in (waiting, held)]
        return min((at - now for at in times if at is not None), default=None)

    def predecessors(self, of: Job) -> list[ResultObject]:
        """Return the objects that the job's plugin made in earlier revisions, and that destinations may have.

        Those of the newest done job; of the one before too, where some of the newest were superseded before they left.
        """
        earlier = (
            select(job.c.id, func.count(delivery.c.destination).label("queued"), _count(may_have_left()).label("left"))
            .outerjoin(result_object, result_object.c.job_id == job.c.id)
            .outerjoin(delivery, delivery.c.sop_instance_uid == result_object.c.sop_instance_uid)
            .where(
                job.c.study_uid == of.study_uid,
                job.c.plugin == of.plugin,
                job.c.revision < of.revision,
                job.c.state == JobState.DONE,
            )
            .group_by(job.c.id, job.c.revision)
            .order_by(job.c.revision.desc(), job.c.id.desc())
        )
        with self.db.reading() as connection:
            found: list[ResultObject] = []
            for row in connection.execute(earlier).all():
                if row.left or not row.queued:
                    made = select(result_object).where(result_object.c.job_id == row.id)
                    rows = connection.execute(made.order_by(result_object.c.sop_instance_uid)).mappings()
                    found += map(to_object, rows)
                if row.left == row.queued:
                    break
            return found

    def segmentations_beside(self, of: Job) -> dict[str, str]:
        """Return the Segmentations of other plugins on the revision of a job: path in the spool → plugin.

        Those of demonstrations are left out: nothing is refused because of them.
        """
        query = (
            select(result_object.c.path, job.c.plugin)
            .join(job, result_object.c.job_id == job.c.id)
            .where(
                job.c.study_uid == of.study_uid,
                job.c.revision == of.revision,
                job.c.plugin != of.plugin,
                job.c.state == JobState.DONE,
                job.c.allow_demonstration.is_(False),
                result_object.c.kind == "SEG",
            )
            .order_by(job.c.id, result_object.c.path)
        )
        with self.db.reading() as connection:
            return {row.path: row.plugin for row in connection.execute(query)}

    def waiting_plugins(self) -> set[str]:
        """Return the plugins of jobs that are due."""
        with self.db.reading() as connection:
            return set(connection.execute(select(job.c.plugin).where(_is_due(self.db.clock())).distinct()).scalars())

    def next_due(self, *, without: Collection[str] = ()) -> float | None:
        """Return when the next job becomes due or loses its lease, None while there is none.

        Jobs of the plugins in `without` do not count.
        """
        waiting = select(func.min(job.c.due_at)).where(job.c.state == JobState.WAITING, *_except(without))
        held = select(func.min(job.c.lease_until)).where(job.c.state == JobState.RUNNING, *_except(without))
        with self.db.reading() as connection:
            times = [connection.execute(query).scalar() for query in (waiting, held)]
        return min((at for at in times if at is not None), default=None)

    def adopt(self, installed: Mapping[str, str], *, only: Job | None = None) -> dict[str, int]:
        """Plan jobs anew whose version of their plugin is no longer installed; return how many were, or were parked.

        `installed` has the version of every plugin; `only` confines it to one job. A job that waits or is parked is
        superseded, and one of the installed version takes its place, on the same stacks; where no version is
        installed, it is parked. What is done stays as it is, and what runs is let run.
        """
        done = {"planned anew": 0, "parked": 0}
        unstarted = job.c.state.in_(UNSTARTED)
        which = unstarted if only is None else and_(unstarted, job.c.id == only.id)
        with self.db.writing() as connection:
            hold(connection, set(connection.execute(select(job.c.study_uid).where(which)).scalars()))
            for old in connection.execute(select(job).where(which).order_by(job.c.id)).all():
                version = installed.get(old.plugin)
                if version is None:
                    done["parked"] += self._strand(connection, old)
                elif version != old.version:
                    done["planned anew"] += self._replace(connection, old, version)
        return done

    def _strand(self, connection: Connection, old: Any) -> int:
        reason = (
            f"planned for {old.plugin} {old.version}, but no version is here; put the plugin back and requeue, "
            "or send the study anew"
        )
        moved = move_jobs(self.db, connection, job.c.id == old.id, "strand", reason=reason)
        for row in moved:
            self.db.add_event(connection, row.study_uid, "job.parked", f"{row.plugin}: {reason}", job=row.id)
        return len(moved)

    def _replace(self, connection: Connection, old: Any, version: str) -> int:
        """Plan a job anew for another version; 0 where a worker that has the old version has claimed it meanwhile."""
        unstarted = and_(job.c.id == old.id, job.c.state.in_(UNSTARTED))
        if not supersede(self.db, connection, unstarted, f"{old.version} is no longer installed, {version} is"):
            return 0
        same = (
            job.c.study_uid == old.study_uid,
            job.c.revision == old.revision,
            job.c.plugin == old.plugin,
            job.c.version == version,
        )
        before = connection.execute(select(job.c.id).where(*same)).scalar()
        if before is not None:
            again = {"due_at": self.db.clock(), "attempts": 0, "reason": ""}
            for moved in move_jobs(self.db, connection, job.c.id == before, "reinstate", **again):
                self.db.add_event(
                    connection,
                    moved.study_uid,
                    "job.planned",
                    f"{moved.plugin} {moved.version}, once more",
                    job=moved.id,
                )
            return 1
        wanted = Plan(
            plugin=old.plugin,
            version=version,
            route=old.route,
            inputs=tuple(old.inputs),
            destinations=tuple(old.destinations),
            priority=old.priority,
            digest=old.digest,
            caveat=old.caveat,
            allow_demonstration=old.allow_demonstration,
            report_not_suitable=old.report_not_suitable,
        )
        row = connection.execute(select(study).where(study.c.study_uid == old.study_uid)).mappings().one()
        plan_job(self.db, connection, to_study(row), wanted, sender=old.sender, revision=old.revision)
        return 1

    def of(self, study_uid: str) -> list[Job]:
        """Return all jobs a study ever had."""
        with self.db.reading() as connection:
            query = select(job).where(job.c.study_uid == study_uid).order_by(job.c.id)
            return [to_job(row) for row in connection.execute(query).mappings()]

    @property
    def clock(self) -> Callable[[], float]:
        """The clock by which jobs are due and leases end."""
        return self.db.clock


def _take_turn(connection: Connection, sender: str) -> None:
    now = select(func.coalesce(func.max(turn.c.served), 0) + 1).scalar_subquery()
    mine = insert_or(connection, turn).values(sender=sender, served=now)
    connection.execute(
        mine.on_conflict_do_update(index_elements=[turn.c.sender], set_={"served": mine.excluded.served})
    )


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    """Return the number of rows of a group that meet a condition."""
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


def _except(plugins: Collection[str]) -> list[Any]:
    """Return what leaves out jobs of some plugins."""
    return [job.c.plugin.not_in(sorted(plugins))] if plugins else []


def _is_due(now: float) -> Any:
    return or_(
        and_(job.c.state == JobState.WAITING, job.c.due_at <= now),
        and_(job.c.state == JobState.RUNNING, job.c.lease_until < now),
    )


def _is_held(held: Job) -> Any:
    """The fence: the job is running, and still in the hands of this claim."""
    return and_(job.c.id == held.id, job.c.worker == held.worker, job.c.state == JobState.RUNNING)


def _is_outdated(held: Job) -> Any:
    """Whether a later revision has a job of this plugin, or will have: only a job with the same images stays."""
    later = exists().where(study.c.study_uid == held.study_uid, study.c.revision > held.revision)
    planned = is_followed(held.study_uid, held.plugin, held.revision)
    return and_(job.c.id == held.id, or_(later.where(study.c.state != StudyState.ROUTED), planned))
