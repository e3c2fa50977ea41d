"""Jobs: claimed with a lease, finished behind a fence, put back, parked, superseded."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any
from uuid import uuid4

from sqlalchemy import (
    Connection,
    and_,
    exists,
    func,
    or_,
    select,
    update,
)

from node.ledger.database import LOOKUP, Database, hold, insert_or, make_move
from node.ledger.job_queue import IS_MISSING
from node.ledger.rows import to_job, to_object
from node.ledger.schema import (
    delivery,
    job,
    result_object,
    study,
    turn,
)
from node.records import (
    JOB_MOVES,
    DeliveryState,
    Job,
    JobState,
    ResultObject,
    StudyState,
)


class Jobs(Database):
    """What happens to planned jobs."""

    def claim(self, *, lease_seconds: float, without: Collection[str] = ()) -> Job | None:
        """Take the most urgent due job, for a time; also one whose former worker let its lease run out.

        Jobs of the plugins in `without` are left for later.

        Among equally urgent ones the sender whose turn is longest ago comes first, so that a flood from one does not
        starve another.
        """
        now = self.clock()
        served = func.coalesce(turn.c.served, 0)
        due = (
            select(job.c.id)
            .outerjoin(turn, turn.c.sender == job.c.sender)
            .where(_is_due(now), *_except(without))
            .order_by(job.c.priority.desc(), served, job.c.due_at, job.c.id)
            .limit(1)
            .with_for_update(of=job, skip_locked=True)
        )
        with self._writing() as connection:
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
            self._tell(connection, row["study_uid"], "job.claimed", f"{row['plugin']}, attempt {row['attempts']}")
            return to_job(row)

    def renew(self, held: Job, *, lease_seconds: float) -> bool:
        """Hold a job longer; False where another worker has it by now."""
        with self._writing() as connection:
            renewed = connection.execute(
                update(job).where(_is_held(held)).values(lease_until=self.clock() + lease_seconds)
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
        """Record a job's objects and queue each for each destination; without the lease, False and nothing recorded.

        `recipients` names the destinations of an object by its SOP Instance UID, where they are not all of the job's.
        """
        now = self.clock()
        with self._writing() as connection:
            moved = self._move_jobs(connection, _is_held(held), "finish", finished_at=now, reason="")
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
            kinds = ", ".join(made.kind for made in objects)
            for remark in remarks:
                self._tell(connection, held.study_uid, "job.remark", f"{held.plugin}: {remark}")
            parts = ", ".join(f"{part} {seconds:.2f} s" for part, seconds in (timing or {}).items())
            self._tell(connection, held.study_uid, "job.done", f"{held.plugin} {held.version}: {kinds}; {parts}")
            return True

    def postpone(self, held: Job, *, seconds: float, reason: str, attempts: int) -> bool:
        """Put a held job back, to be due again in `seconds`; `attempts` is how many count so far."""
        values: dict[str, object] = {
            "due_at": self.clock() + seconds,
            "worker": "",
            "reason": reason,
            "attempts": attempts,
        }
        with self._writing() as connection:
            hold(connection, [held.study_uid])  # a later revision comes before this or after, not meanwhile
            moved = self._move_jobs(connection, _is_held(held), "postpone", **values)
            if moved:
                self._tell(connection, held.study_uid, "job.postponed", f"{held.plugin} for {seconds:.0f} s: {reason}")
                self._supersede(connection, _is_outdated(held), "a later revision came while it ran")
            return bool(moved)

    def park(self, held: Job, reason: str) -> bool:
        """Set a held job aside until a person requeues it."""
        with self._writing() as connection:
            hold(connection, [held.study_uid])
            moved = self._move_jobs(connection, _is_held(held), "park", worker="", reason=reason)
            if moved:
                self._tell(connection, held.study_uid, "job.parked", f"{held.plugin}: {reason}")
                self._supersede(connection, _is_outdated(held), "a later revision came while it ran")
            return bool(moved)

    def remind(self) -> float | None:
        """Have ids of due jobs delivered again that are no longer in the engine's queue; return when to look again.

        A message may be lost, and of a job whose worker died there was none.
        """
        if self._queue is None:
            return None
        now = self.clock()
        lost = select(job).where(_is_due(now), IS_MISSING).order_by(job.c.priority.desc(), job.c.due_at, job.c.id)
        waiting = select(func.min(job.c.due_at)).where(job.c.state == JobState.WAITING, job.c.due_at > now)
        held = select(func.min(job.c.lease_until)).where(job.c.state == JobState.RUNNING, job.c.lease_until > now)
        with self._writing() as connection:
            if not self._queue.clean(connection):
                return None
            found = connection.execute(lost.limit(LOOKUP)).all()
            self._queue.put(connection, found, now=now)
            if len(found) == LOOKUP:
                return 0.0
            times = [connection.execute(query).scalar() for query in (waiting, held)]
        return min((at - now for at in times if at is not None), default=None)

    def predecessors(self, of: Job) -> list[ResultObject]:
        """Return the objects of the newest done job of the same plugin in an earlier revision."""
        earlier = (
            select(job.c.id)
            .where(
                job.c.study_uid == of.study_uid,
                job.c.plugin == of.plugin,
                job.c.revision < of.revision,
                job.c.state == JobState.DONE,
            )
            .order_by(job.c.revision.desc(), job.c.id.desc())
            .limit(1)
        )
        with self._reading() as connection:
            rows = connection.execute(select(result_object).where(result_object.c.job_id.in_(earlier))).mappings()
            return [to_object(row) for row in rows]

    def waiting_plugins(self) -> set[str]:
        """Return the plugins of jobs that are due."""
        with self._reading() as connection:
            return set(connection.execute(select(job.c.plugin).where(_is_due(self.clock())).distinct()).scalars())

    def next_job_due(self, *, without: Collection[str] = ()) -> float | None:
        """Return when the next job becomes due or loses its lease, None while there is none.

        Jobs of the plugins in `without` do not count.
        """
        waiting = select(func.min(job.c.due_at)).where(job.c.state == JobState.WAITING, *_except(without))
        held = select(func.min(job.c.lease_until)).where(job.c.state == JobState.RUNNING, *_except(without))
        with self._reading() as connection:
            times = [connection.execute(query).scalar() for query in (waiting, held)]
        return min((at for at in times if at is not None), default=None)

    def _move_jobs(self, connection: Connection, which: Any, move: str, **values: object) -> list[Any]:
        """Make one move of the transition table, and return the jobs that made it; those that wait are announced."""
        moved = make_move(connection, job, which, move, JOB_MOVES, values)
        self._announce(connection, (one for one in moved if one.state == JobState.WAITING))
        return moved

    def _supersede(self, connection: Connection, which: Any, reason: str) -> None:
        for old in self._move_jobs(connection, which, "supersede", reason=reason):
            self._tell(connection, old.study_uid, "job.superseded", f"{old.plugin}, revision {old.revision}: {reason}")


def _take_turn(connection: Connection, sender: str) -> None:
    now = select(func.coalesce(func.max(turn.c.served), 0) + 1).scalar_subquery()
    mine = insert_or(connection, turn).values(sender=sender, served=now)
    connection.execute(
        mine.on_conflict_do_update(index_elements=[turn.c.sender], set_={"served": mine.excluded.served})
    )


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
    """A later revision has a job of this plugin, or will: the one that has seen the same images stays the only one."""
    newer = job.alias()
    later = exists().where(study.c.study_uid == held.study_uid, study.c.revision > held.revision)
    planned = exists().where(
        newer.c.study_uid == held.study_uid, newer.c.plugin == held.plugin, newer.c.revision > held.revision
    )
    return and_(job.c.id == held.id, or_(later.where(study.c.state != StudyState.ROUTED), planned))
