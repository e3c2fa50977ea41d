"""Instances and studies: rows of what was received, stable studies, and the jobs planned for them."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    func,
    insert,
    select,
    tuple_,
    update,
)

from node.ledger.database import LOOKUP, LedgerPart, groups, hold, insert_or
from node.ledger.instances import count_present
from node.ledger.job_planning import plan_job
from node.ledger.pauses import Pauses
from node.ledger.rows import to_instance, to_place, to_study
from node.ledger.schema import (
    decision,
    identifiers,
    instance,
    study,
)
from node.operation_records import Identifiers
from node.records import Decision, Instance, Place, Plan, Study, StudyState

NAMED = 3
"""How many lost instances the reason names."""


class Studies(LedgerPart):
    """What happens to studies, from the first instance to the plan."""

    def in_state(self, state: StudyState) -> list[Study]:
        """Return the studies in a state, the longest quiet first."""
        query = select(study).where(study.c.state == state).order_by(study.c.changed_at)
        with self.db.reading() as connection:
            return [to_study(row) for row in connection.execute(query).mappings()]

    def find(self, study_uid: str) -> Study | None:
        """Return one study, or None where nothing of it was ever received."""
        with self.db.reading() as connection:
            row = connection.execute(select(study).where(study.c.study_uid == study_uid)).mappings().first()
            return to_study(row) if row else None

    def settle(self, seen: Study, because: str, *, caveat: str = "") -> bool:
        """Make a study stable, unless something arrived since it was seen; `caveat` says what is missing in it."""
        with self.db.writing() as connection:
            done = connection.execute(
                update(study)
                .where(_as_seen(seen, StudyState.RECEIVING), study.c.changed_at == seen.changed_at)
                .values(state=StudyState.STABLE, because=because, caveat=caveat)
            )
            if done.rowcount:
                self.db.add_event(
                    connection,
                    seen.study_uid,
                    "study.stable",
                    f"revision {seen.revision}: {because}",
                    seconds=round(self.db.clock() - seen.changed_at, 3),
                )
            return bool(done.rowcount)

    def park(self, seen: Study, reason: str) -> None:
        """Park a study that cannot be planned, with the reason."""
        with self.db.writing() as connection:
            parked = connection.execute(
                update(study).where(_as_seen(seen, StudyState.STABLE)).values(state=StudyState.PARKED, because=reason)
            )
            if parked.rowcount:
                self.db.add_event(connection, seen.study_uid, "study.parked", reason)

    def plan(
        self,
        seen: Study,
        decisions: Iterable[Decision],
        plans: Iterable[Plan],
        remarks: Iterable[str] = (),
        aside: Iterable[str] = (),
    ) -> int:
        """Record why each route did or did not match, and the jobs that follow; return how many are new.

        A job is as urgent as its route and its images together, and is the sender's of the study's first instance.
        A plugin that has already seen the very same images in an earlier revision gets no new job.
        """
        with self.db.writing() as connection:
            moved = connection.execute(
                update(study).where(_as_seen(seen, StudyState.STABLE)).values(state=StudyState.ROUTED)
            )
            if not moved.rowcount:
                return 0
            for entry in decisions:
                connection.execute(
                    insert(decision).values(asdict(entry) | {"study_uid": seen.study_uid, "revision": seen.revision})
                )
            for remark in remarks:
                self.db.add_event(connection, seen.study_uid, "study.remark", remark)
            for remark in aside:
                self.db.add_event(connection, seen.study_uid, "instance.aside", remark)
            urgency, sender = _urgency(connection, seen.study_uid), _sender(connection, seen.study_uid)
            urged = [replace(wanted, priority=wanted.priority + urgency) for wanted in plans]
            return sum(plan_job(self.db, connection, seen, wanted, sender=sender) for wanted in urged)

    def identify(self, study_uid: str, found: Identifiers) -> None:
        """Keep what a person finds a study by; its sender is that of its first instance."""
        with self.db.writing() as connection:
            row = asdict(found) | {"study_uid": study_uid, "sender": _sender(connection, study_uid)}
            statement = insert_or(connection, identifiers).values(row)
            connection.execute(statement.on_conflict_do_update(index_elements=[identifiers.c.study_uid], set_=row))

    def paused_routes(self) -> set[str]:
        """Return the routes that a person has paused."""
        return Pauses(self.db).names("route")

    def lose(self, seen: Study, holds: Callable[[Instance, Place], bool]) -> int:
        """Mark the instances of a study whose bytes are lost, and park the study; return how many there are.

        `holds` says whether an instance's bytes lie whole at their place. A lost instance that is sent again takes its
        place again; requeuing the study looks whether the bytes are back.
        """
        query = select(instance).where(instance.c.study_uid == seen.study_uid, instance.c.lost.is_(False))
        with self.db.reading() as connection:
            rows = [(to_instance(row), to_place(row)) for row in connection.execute(query).mappings()]
        lost = [
            (stored.sop_instance_uid, place.pack, place.offset) for stored, place in rows if not holds(stored, place)
        ]
        if not lost:
            return 0
        place = tuple_(instance.c.sop_instance_uid, instance.c.pack, instance.c.offset)
        named = ", ".join([uid for uid, *_ in lost][:NAMED]) + (", …" if len(lost) > NAMED else "")
        reason = (
            f"the bytes of {len(lost)} of its {len(rows)} instances are gone from the spool ({named}): "
            "they must be sent again"
        )
        with self.db.writing() as connection:
            hold(connection, [seen.study_uid])
            for some in groups(lost, LOOKUP // 3):
                connection.execute(update(instance).where(place.in_(some)).values(lost=True))
            for uid, name, _ in lost:
                self.db.add_event(connection, seen.study_uid, "instance.lost", f"{uid}, its bytes are gone from {name}")
            waits = study.c.state.in_((StudyState.RECEIVING, StudyState.STABLE))
            parked = connection.execute(
                update(study)
                .where(study.c.study_uid == seen.study_uid, study.c.revision == seen.revision, waits)
                .values(state=StudyState.PARKED, because=reason)
            )
            if parked.rowcount:
                self.db.add_event(connection, seen.study_uid, "study.parked", reason)
        return len(lost)

    def lacking(self, seen: Study) -> int:
        """Return how many instances a study had that are not here, since they were purged or lost."""
        lost = select(func.count()).where(instance.c.study_uid == seen.study_uid, instance.c.lost.is_(True))
        with self.db.reading() as connection:
            gone = int(connection.execute(lost).scalar_one())
            return max(gone, seen.expected - count_present(connection, seen.study_uid) if seen.expected else 0)


def _urgency(connection: Connection, study_uid: str) -> int:
    query = select(func.max(instance.c.urgency)).where(instance.c.study_uid == study_uid)
    return connection.execute(query).scalar() or 0


def _sender(connection: Connection, study_uid: str) -> str:
    first = (
        select(instance.c.calling)
        .where(instance.c.study_uid == study_uid)
        .order_by(instance.c.received_at, instance.c.sop_instance_uid)
        .limit(1)
    )
    return connection.execute(first).scalar() or ""


def _as_seen(seen: Study, state: StudyState) -> ColumnElement[bool]:
    """Return the condition that a study is in a state, and in the revision it was seen in."""
    return and_(
        study.c.study_uid == seen.study_uid,
        study.c.state == state,
        study.c.revision == seen.revision,
    )
