"""Jobs that were planned for another version of their plugin than the one that is installed."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    Connection,
    and_,
    select,
)

from node.ledger.database import hold
from node.ledger.rows import to_study
from node.ledger.schema import (
    job,
    study,
)
from node.ledger.studies import Studies
from node.records import (
    Job,
    JobState,
    Plan,
)


class Versions(Studies):
    """What becomes of planned jobs when a plugin is upgraded, taken back or removed."""

    def adopt(self, installed: Mapping[str, str], *, only: Job | None = None) -> dict[str, int]:
        """Plan jobs anew whose version of their plugin is no longer installed; return how many were, or were parked.

        `installed` has the version of every plugin; `only` confines it to one job. A job that waits or is parked is
        superseded, and one of the installed version takes its place, on the same stacks; where no version is
        installed, it is parked. What is done stays as it is, and what runs is let run.
        """
        done = {"planned anew": 0, "parked": 0}
        unstarted = job.c.state.in_((JobState.WAITING, JobState.PARKED))
        which = unstarted if only is None else and_(unstarted, job.c.id == only.id)
        with self._writing() as connection:
            hold(connection, set(connection.execute(select(job.c.study_uid).where(which)).scalars()))
            for old in connection.execute(select(job).where(which).order_by(job.c.id)).all():
                version = installed.get(old.plugin)
                if version is None:
                    done["parked"] += self._strand(connection, old)
                elif version != old.version:
                    self._replace(connection, old, version)
                    done["planned anew"] += 1
        return done

    def _strand(self, connection: Connection, old: Any) -> int:
        reason = (
            f"planned for {old.plugin} {old.version}, but no version is here; put the plugin back and requeue, "
            "or send the study anew"
        )
        moved = self._move_jobs(connection, job.c.id == old.id, "strand", reason=reason)
        for one in moved:
            self._tell(connection, one.study_uid, "job.parked", f"{one.plugin}: {reason}")
        return len(moved)

    def _replace(self, connection: Connection, old: Any, version: str) -> None:
        self._supersede(connection, job.c.id == old.id, f"{old.version} is no longer installed, {version} is")
        same = (
            job.c.study_uid == old.study_uid,
            job.c.revision == old.revision,
            job.c.plugin == old.plugin,
            job.c.version == version,
        )
        before = connection.execute(select(job.c.id).where(*same)).scalar()
        if before is not None:
            again = {"due_at": self.clock(), "attempts": 0, "reason": ""}
            for one in self._move_jobs(connection, job.c.id == before, "reinstate", **again):
                self._tell(connection, one.study_uid, "job.planned", f"{one.plugin} {one.version}, once more")
            return
        wanted = Plan(
            plugin=old.plugin,
            version=version,
            route=old.route,
            inputs=tuple(old.inputs),
            destinations=tuple(old.destinations),
            priority=old.priority,
            digest=old.digest,
        )
        row = connection.execute(select(study).where(study.c.study_uid == old.study_uid)).mappings().one()
        self._plan_job(connection, to_study(row), wanted, sender=old.sender, revision=old.revision)
