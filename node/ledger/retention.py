"""What may go, and what is gone: studies that are finished, and instances whose bytes are lost."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import (
    Connection,
    and_,
    delete,
    exists,
    func,
    or_,
    select,
    tuple_,
    union,
    update,
)

from node.ledger.database import LOOKUP, Database, hold
from node.ledger.rows import to_instance, to_place
from node.ledger.schema import (
    commitment,
    commitment_item,
    commitment_request,
    decision,
    delivery,
    event,
    fetch,
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
    Instance,
    JobState,
    Place,
    Study,
    StudyState,
)

Item = TypeVar("Item")

TOGETHER = 20
"""Studies purged in one transaction: other writers wait for it."""
TELLING = (event, decision, refusal)
"""What tells the story of a study, and nothing else asks for."""
DONE_WITH = (StudyState.ROUTED, StudyState.PRIOR)
"""States of a study from which it is purged, once nothing is left to do for it."""
NAMED = 3
"""So many lost instances are named in a sentence."""


class Retention(Database):
    """What happens to rows whose bytes go."""

    def purge(self, *, before: float) -> list[str]:
        """Let go of some studies that were finished before a time, and return them; their files may go afterwards.

        Finished is a study that is routed or a prior, with every job in FINISHED_JOBS and every delivery in
        FINISHED_DELIVERIES.
        Its instances' rows go; the rows that tell its story stay, and its objects' rows say that they are purged.
        """
        now = self.clock()
        due = select(study).where(_finished(before)).order_by(study.c.changed_at).limit(TOGETHER)
        with self._writing() as connection:
            chosen = [row.study_uid for row in connection.execute(due)]
            hold(connection, chosen)
            still = connection.execute(
                due.where(study.c.study_uid.in_(chosen))
            ).all()  # nobody has begun anew meanwhile
            return [row.study_uid for row in still if self._purge_one(connection, row, now)]

    def _purge_one(self, connection: Connection, seen: Any, now: float) -> bool:
        which = and_(
            study.c.study_uid == seen.study_uid,
            study.c.state.in_(DONE_WITH),
            study.c.revision == seen.revision,
        )
        values = {"state": StudyState.PURGED, "purged_at": now, "expected": _present(connection, seen.study_uid)}
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
        self._tell(connection, seen.study_uid, "study.purged", f"{gone} instances and {objects} objects")
        return True

    def finished_bytes(self, *, before: float) -> int:
        """Return how many received bytes are held for studies that were finished before a time."""
        held = select(func.coalesce(func.sum(instance.c.length), 0)).join_from(
            study, instance, instance.c.study_uid == study.c.study_uid
        )
        with self._reading() as connection:
            return int(connection.execute(held.where(_finished(before))).scalar_one())

    def purged(self, study_uids: Iterable[str]) -> dict[str, float]:
        """Return, of these studies, when each that ever was purged was purged last."""
        found: dict[str, float] = {}
        with self._reading() as connection:
            for some in _groups(study_uids, LOOKUP):
                query = select(study.c.study_uid, study.c.purged_at)
                rows = connection.execute(query.where(study.c.study_uid.in_(some), study.c.purged_at.is_not(None)))
                found |= {row.study_uid: row.purged_at for row in rows}
        return found

    def pack_counts(self, names: Iterable[str]) -> dict[str, int]:
        """Return how many instances lie in each of these packs, where any does: with a row, or set aside."""
        found: Counter[str] = Counter()
        with self._reading() as connection:
            for some in _groups(names, LOOKUP):
                for of in (instance, refusal):
                    query = select(of.c.pack, func.count()).where(of.c.pack.in_(some)).group_by(of.c.pack)
                    found.update({row[0]: row[1] for row in connection.execute(query)})
        return dict(found)

    def packs_at_work(self, names: Iterable[str]) -> set[str]:
        """Return which of these packs hold an instance of a study that is received, or whose jobs wait or run."""
        growing = select(study.c.study_uid).where(study.c.state.in_((StudyState.RECEIVING, StudyState.STABLE)))
        working = select(job.c.study_uid).where(job.c.state.in_((JobState.WAITING, JobState.RUNNING)))
        found: set[str] = set()
        with self._reading() as connection:
            for some in _groups(names, LOOKUP):
                mine = (instance.c.pack.in_(some), instance.c.study_uid.in_(union(growing, working)))
                found.update(connection.execute(select(instance.c.pack).where(*mine).distinct()).scalars())
        return found

    def forget(self, *, before: float) -> int:
        """Drop what is told of some studies purged before a time, and of transactions ended; return how many studies.

        Their own rows stay, with those of jobs, objects and deliveries: a study that comes again is known by them.
        """
        old = select(study.c.study_uid).where(study.c.state == StudyState.PURGED, study.c.purged_at < before)
        told = or_(*(exists().where(one.c.study_uid == study.c.study_uid) for one in TELLING))
        stranger = ~exists().where(study.c.study_uid == refusal.c.study_uid)
        with self._writing() as connection:
            chosen = connection.execute(old.where(told).limit(TOGETHER)).scalars().all()
            hold(connection, chosen)
            gone = connection.execute(old.where(study.c.study_uid.in_(chosen))).scalars().all()
            for one in TELLING:
                connection.execute(delete(one).where(one.c.study_uid.in_(gone)))
            strangers = connection.execute(
                select(refusal.c.study_uid).where(refusal.c.at < before, stranger).distinct()
            )
            for some in _groups(strangers.scalars().all(), LOOKUP):
                for one in (event, refusal):
                    connection.execute(delete(one).where(one.c.study_uid.in_(some), one.c.at < before))
            items = exists().where(commitment_item.c.transaction_uid == commitment.c.transaction_uid)
            connection.execute(delete(commitment).where(commitment.c.asked_at < before, ~items))
            reported = and_(commitment_request.c.received_at < before, commitment_request.c.reported_at.is_not(None))
            connection.execute(delete(commitment_request).where(reported))
            return len(gone)

    def forget_packs(self, names: Iterable[str]) -> None:
        """Drop the marks of packs whose files are gone."""
        with self._writing() as connection:
            for some in _groups(names, LOOKUP):
                connection.execute(delete(pack).where(pack.c.name.in_(some)))

    def lose(self, seen: Study, holds: Callable[[Instance, Place], bool]) -> int:
        """Set aside the instances of a study whose bytes are gone, and park the study; return how many there are.

        `holds` says whether an instance's bytes lie whole at their place. A lost instance that is sent again takes its
        place again; requeuing the study looks whether the bytes are back.
        """
        query = select(instance).where(instance.c.study_uid == seen.study_uid, instance.c.lost.is_(False))
        with self._reading() as connection:
            rows = [(to_instance(row), to_place(row)) for row in connection.execute(query).mappings()]
        lost = [(one.sop_instance_uid, place.pack, place.offset) for one, place in rows if not holds(one, place)]
        if not lost:
            return 0
        place = tuple_(instance.c.sop_instance_uid, instance.c.pack, instance.c.offset)
        named = ", ".join([uid for uid, *_ in lost][:NAMED]) + (", …" if len(lost) > NAMED else "")
        reason = (
            f"the bytes of {len(lost)} of its {len(rows)} instances are gone from the spool ({named}): "
            "they must be sent again"
        )
        with self._writing() as connection:
            hold(connection, [seen.study_uid])
            for some in _groups(lost, LOOKUP // 3):
                connection.execute(update(instance).where(place.in_(some)).values(lost=True))
            for uid, name, _ in lost:
                self._tell(connection, seen.study_uid, "instance.lost", f"{uid}, its bytes are gone from {name}")
            waits = study.c.state.in_((StudyState.RECEIVING, StudyState.STABLE))
            parked = connection.execute(
                update(study)
                .where(study.c.study_uid == seen.study_uid, study.c.revision == seen.revision, waits)
                .values(state=StudyState.PARKED, because=reason)
            )
            if parked.rowcount:
                self._tell(connection, seen.study_uid, "study.parked", reason)
        return len(lost)

    def lacking(self, seen: Study) -> int:
        """Return how many instances a study had that are not here, since they were purged or lost."""
        lost = select(func.count()).where(instance.c.study_uid == seen.study_uid, instance.c.lost.is_(True))
        with self._reading() as connection:
            gone = int(connection.execute(lost).scalar_one())
            return max(gone, seen.expected - _present(connection, seen.study_uid) if seen.expected else 0)


def _groups(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield items in lists of at most `size`."""
    left = iter(items)
    while some := list(islice(left, size)):
        yield some


def _present(connection: Connection, study_uid: str) -> int:
    """Count a study's instances that are here and are no results of this node that came back."""
    own = exists().where(result_object.c.sop_instance_uid == instance.c.sop_instance_uid)
    query = select(func.count()).select_from(instance)
    present = query.where(instance.c.study_uid == study_uid, instance.c.lost.is_(False), ~own)
    return int(connection.execute(present).scalar_one())


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
