"""Instances: their rows, written in groups as packs grow, and where their bytes lie."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, nextafter
from typing import Any

from sqlalchemy import Connection, Table, and_, exists, func, insert, select, union, update
from sqlalchemy.engine import RowMapping

from node.completeness import PackEnd, StudyEvidence
from node.errors import LedgerRefused
from node.ledger.database import LOOKUP, LedgerPart, groups, hold, insert_or
from node.ledger.outdating import outdate_series, outdate_waiting
from node.ledger.pack_ends import move_marks, note_came, note_ends, read_evidence, read_known, read_unended
from node.ledger.priors import asked_for, keep_priors
from node.ledger.rows import Key, instance_row, key_of, refusal_row, to_instance, to_place
from node.ledger.schema import instance, job, pack, refusal, result_object, study
from node.records import Arrival, Instance, JobState, Place, Reference, Refusal, SeriesCount, StudyState

FETCHED = "fetched to be compared with, and not analysed itself unless it is sent, or requeued"


@dataclass(slots=True)
class Change:
    """What has changed in a study: when, and the images of which series."""

    at: float = 0.0
    series_uids: set[str] = field(default_factory=set)

    def add(self, at: float, *series_uids: str) -> None:
        """Add an instance that came, and the series that it belongs to or no longer belongs to."""
        self.at = max(self.at, at)
        self.series_uids.update(series_uids)


class Instances(LedgerPart):
    """Instances that were received, and where they lie in the spool."""

    def record(
        self, arrivals: Sequence[Arrival], refusals: Sequence[Refusal] = (), ends: Sequence[PackEnd] = ()
    ) -> list[str]:
        """Write the rows of arrivals and refusals, move the packs' marks, and return the studies that changed.

        `ends` tell how associations left their packs.

        A repeated instance changes nothing. An instance with other bytes replaces the older one of the same study. An
        object that this node made, or a prior that it asked for, is kept without a new revision. An instance that can
        never have a row is set aside: its refusal says where its bytes lie, and the other instances are recorded.
        """
        try:
            return self._record(arrivals, refusals, ends)
        except LedgerRefused as error:
            if len(arrivals) > 1:
                half = len(arrivals) // 2
                found = [*self.record(arrivals[:half]), *self.record(arrivals[half:], refusals, ends)]
                return list(dict.fromkeys(found))
            return self._record_alone(arrivals, refusals, ends, error)

    def _record_alone(
        self,
        arrivals: Sequence[Arrival],
        refusals: Sequence[Refusal],
        ends: Sequence[PackEnd],
        error: LedgerRefused,
    ) -> list[str]:
        """Try the last arrival again: another process may have recorded the same one meanwhile. Else set it aside."""
        try:
            return self._record(arrivals, refusals, ends)
        except LedgerRefused:
            aside = [_set_aside(arrival, error, self.db.clock()) for arrival in arrivals]
            with self.db.writing() as connection:
                self._refuse(connection, [*aside, *refusals])
                move_marks(connection, arrivals)
                note_ends(connection, ends)
            return []

    def _record(self, arrivals: Sequence[Arrival], refusals: Sequence[Refusal], ends: Sequence[PackEnd]) -> list[str]:
        rows = [instance_row(arrival) for arrival in arrivals]
        with self.db.writing() as connection:
            own = _own_objects(connection, rows)
            purged = _own_objects(connection, [row for row in rows if key_of(row) in own], purged=True)
            asked = asked_for(connection, rows)
            begun = self._begin_studies(connection, [row for row in rows if key_of(row) not in own], asked)
            hold(connection, {row["study_uid"] for row in rows})
            priors = _priors(connection, {row["study_uid"] for row in rows})
            known = _known_instances(connection, [row["sop_instance_uid"] for row in rows])
            fresh: dict[Key, Mapping[str, Any]] = {}
            changed: dict[str, Change] = {}
            came: dict[str, Change] = {}
            for values in rows:
                key, at = key_of(values), values["received_at"]
                uid, study_uid = key
                same_uid = known.setdefault(uid, {})
                before = same_uid.get(study_uid)
                if before is None and same_uid:
                    self._tell_shared(connection, uid, study_uid, same_uid)
                same_uid[study_uid] = values
                if before is not None and _same_bytes(before, values) and not before["lost"]:
                    self.db.add_event(connection, study_uid, "instance.repeated", uid)
                    if study_uid in priors and key not in asked:
                        changed.setdefault(study_uid, Change()).add(at)
                    continue
                if key in purged:
                    self.db.add_event(
                        connection, study_uid, "instance.own", f"{uid} is a purged result; it is not kept again"
                    )
                    continue
                if before is None or key in fresh:
                    fresh[key] = values
                else:
                    connection.execute(update(instance).where(_is(key)).values(values))
                if before is not None:
                    self.db.add_event(connection, study_uid, "instance.replaced", f"{uid}, {_how(before, values)}")
                if key in own:
                    self.db.add_event(
                        connection, study_uid, "instance.own", f"{uid} is a result of this node and came back"
                    )
                    continue
                moved = came if key in asked else changed
                moved.setdefault(study_uid, Change()).add(at, *_series_changed(before, values))
            if fresh:
                connection.execute(insert(instance), [fresh[key] for key in sorted(fresh)])
            move_marks(connection, arrivals)
            keep_priors(connection, {study_uid: change.at for study_uid, change in came.items()})
            for study_uid, change in changed.items():
                self._touch(connection, study_uid, change, begun=study_uid in begun)
            self._refuse(connection, refusals)
            note_came(connection, rows, refusals)
            note_ends(connection, ends)
            return list(changed)

    def _tell_shared(self, connection: Connection, uid: str, study_uid: str, others: Iterable[str]) -> None:
        """Add an event to all studies that have an instance with this UID; each keeps the instance it received."""
        for mine, other in ((study_uid, ", ".join(sorted(others))), *((other, study_uid) for other in others)):
            detail = f"{uid} is in study {other} too: its sender gave the UID twice; each study keeps what it received"
            self.db.add_event(connection, mine, "instance.shared", detail)

    def _begin_studies(
        self, connection: Connection, rows: Sequence[Mapping[str, Any]], asked: Collection[Key]
    ) -> set[str]:
        """Insert the rows of new studies before anything is read: of two such transactions, the second waits.

        A study that comes only because the node asked for it is a prior.
        """
        begun = set()
        sent = {row["study_uid"] for row in rows if key_of(row) not in asked}
        for uid, at in sorted({row["study_uid"]: row["received_at"] for row in rows}.items()):
            state, because = (StudyState.RECEIVING, "") if uid in sent else (StudyState.PRIOR, FETCHED)
            new = {"study_uid": uid, "state": state, "revision": 1, "changed_at": at, "because": because}
            made = insert_or(connection, study).values(new).on_conflict_do_nothing().returning(study.c.study_uid)
            if connection.execute(made).first() is not None:
                begun.add(uid)
                self.db.add_event(connection, uid, "study.begun", because)
        return begun

    def _refuse(self, connection: Connection, refusals: Iterable[Refusal]) -> None:
        for refused in refusals:
            row = refusal_row(refused)
            connection.execute(insert(refusal).values(row))
            detail = f"{row['sop_instance_uid']}: {row['reason']}"
            self.db.add_event(connection, row["study_uid"], "instance.refused", detail)

    def _touch(self, connection: Connection, study_uid: str, change: Change, *, begun: bool) -> None:
        """Note that a study grew: the same revision while it is receiving, else the next one.

        `changed_at` always moves, also when an instance is recorded after one that came later: `settle` goes by it.
        """
        row = connection.execute(select(study).where(study.c.study_uid == study_uid)).one()
        at, revision = change.at, row.revision
        if not begun and at <= row.changed_at:
            at = nextafter(row.changed_at, inf)
        values: dict[str, Any] = {"changed_at": at}
        if row.state != StudyState.RECEIVING:
            revision += 1
            values |= {"state": StudyState.RECEIVING, "revision": revision, "because": ""}
            why = "it was a prior, and was sent" if row.state == StudyState.PRIOR else "it grew after it was stable"
            self.db.add_event(connection, study_uid, "study.revised", f"revision {revision}: {why}")
            outdate_waiting(self.db, connection, study_uid, revision)
        if revision > 1:
            outdate_series(self.db, connection, study_uid, change.series_uids, revision)
        connection.execute(update(study).where(study.c.study_uid == study_uid).values(values))

    def of(self, study_uid: str) -> list[tuple[Instance, Place]]:
        """Return every instance of a study with its place in the spool, less those whose bytes are lost."""
        mine = (instance.c.study_uid == study_uid, instance.c.lost.is_(False))
        query = select(instance).where(*mine).order_by(instance.c.sop_instance_uid)
        with self.db.reading() as connection:
            return [(to_instance(row), to_place(row)) for row in connection.execute(query).mappings()]

    def series(self, study_uid: str) -> list[SeriesCount]:
        """Return how much of each series of a study has arrived."""
        first = func.row_number().over(
            partition_by=instance.c.series_uid, order_by=(instance.c.received_at, instance.c.sop_instance_uid)
        )
        count = func.count().over(partition_by=instance.c.series_uid)
        mine = (
            select(instance, first.label("number"), count.label("instances"))
            .where(instance.c.study_uid == study_uid, instance.c.lost.is_(False))
            .subquery()
        )
        query = select(mine).where(mine.c.number == 1).order_by(mine.c.series_uid)
        with self.db.reading() as connection:
            return [
                SeriesCount(
                    series_uid=row["series_uid"],
                    modality=row["modality"],
                    instances=row["instances"],
                    sample=to_place(row),
                )
                for row in connection.execute(query).mappings()
            ]

    def compressed(self, native: Collection[str]) -> list[tuple[Instance, Place]]:
        """Return the noted instances of studies being received that are in none of these transfer syntaxes.

        The first received come first.
        """
        query = (
            select(instance)
            .join(study, study.c.study_uid == instance.c.study_uid)
            .where(
                study.c.state == StudyState.RECEIVING,
                instance.c.transfer_syntax_uid.not_in(native),
                instance.c.note != "",
                instance.c.lost.is_(False),
            )
            .order_by(instance.c.received_at, instance.c.sop_instance_uid)
        )
        with self.db.reading() as connection:
            return [(to_instance(row), to_place(row)) for row in connection.execute(query).mappings()]

    def receiving_bytes(self) -> int:
        """Return the bytes of the largest study that is being received, 0 if there is none."""
        size = func.sum(instance.c.length)
        query = (
            select(size)
            .join(study, study.c.study_uid == instance.c.study_uid)
            .where(study.c.state == StudyState.RECEIVING)
            .group_by(instance.c.study_uid)
            .order_by(size.desc())
            .limit(1)
        )
        with self.db.reading() as connection:
            return int(connection.execute(query).scalar() or 0)

    def marks(self) -> dict[str, int]:
        """Return the offset of each pack up to which its records have rows."""
        with self.db.reading() as connection:
            return {row.name: row.mark for row in connection.execute(select(pack))}

    def evidence(self, study_uid: str) -> StudyEvidence:
        """Return what shows that a study is complete, or is not."""
        with self.db.reading() as connection:
            return read_evidence(connection, study_uid)

    def unended(self) -> list[str]:
        """Return the packs whose association is not known to have left them."""
        with self.db.reading() as connection:
            return read_unended(connection)

    def packs(self, study_uid: str) -> dict[str, int]:
        """Return the packs that hold instances of a study, each with the offset up to which its records have rows."""
        query = (
            select(pack.c.name, pack.c.mark)
            .join(instance, instance.c.pack == pack.c.name)
            .where(instance.c.study_uid == study_uid)
            .distinct()
        )
        with self.db.reading() as connection:
            return {row.name: row.mark for row in connection.execute(query)}

    def pack_counts(self, names: Iterable[str]) -> dict[str, int]:
        """Return how many instances lie in each of these packs, where any does: with a row, or set aside."""
        found: Counter[str] = Counter()
        with self.db.reading() as connection:
            for some in groups(names, LOOKUP):
                for of in (instance, refusal):
                    query = select(of.c.pack, func.count()).where(of.c.pack.in_(some)).group_by(of.c.pack)
                    found.update({row[0]: row[1] for row in connection.execute(query)})
        return dict(found)

    def known_packs(self, names: Iterable[str]) -> set[str]:
        """Return which of these packs have a row, which says to which study they belong."""
        with self.db.reading() as connection:
            return read_known(connection, names)

    def packs_in_use(self, names: Iterable[str]) -> set[str]:
        """Return which of these packs hold an instance of a study that is received, or whose jobs wait or run."""
        growing = select(study.c.study_uid).where(study.c.state.in_((StudyState.RECEIVING, StudyState.STABLE)))
        working = select(job.c.study_uid).where(job.c.state.in_((JobState.WAITING, JobState.RUNNING)))
        found: set[str] = set()
        with self.db.reading() as connection:
            for some in groups(names, LOOKUP):
                mine = (instance.c.pack.in_(some), instance.c.study_uid.in_(union(growing, working)))
                found.update(connection.execute(select(instance.c.pack).where(*mine).distinct()).scalars())
        return found

    def find(self, references: Sequence[Reference]) -> dict[str, list[tuple[str, Place]]]:
        """Return SOP class and place of those instances that have their rows, by SOP Instance UID.

        There are several if several studies have an instance with the UID.
        """
        found: dict[str, list[tuple[str, Place]]] = defaultdict(list)
        uids = [reference.sop_instance_uid for reference in references]
        with self.db.reading() as connection:
            for row in _by_uid(connection, instance, uids):
                found[row["sop_instance_uid"]].append((row["sop_class_uid"], to_place(row)))
        return found


def _series_changed(before: Mapping[Any, Any] | None, now: Mapping[str, Any]) -> set[str]:
    """Return the series of which images have come or changed: none where the same bytes are back."""
    if before is None:
        return {now["series_uid"]}
    return set() if _same_bytes(before, now) else {before["series_uid"], now["series_uid"]}


def _how(before: Mapping[Any, Any], now: Mapping[str, Any]) -> str:
    """Say how an instance has replaced another of its study."""
    if before["lost"]:
        return "its bytes had been lost"
    moved = before["series_uid"] != now["series_uid"]
    series = f", in series {now['series_uid']} and no longer in {before['series_uid']}" if moved else ""
    return f"other bytes than before; the newest count{series}"


def _priors(connection: Connection, study_uids: Iterable[str]) -> set[str]:
    which = and_(study.c.study_uid.in_(sorted(study_uids)), study.c.state == StudyState.PRIOR)
    query = select(study.c.study_uid).where(which)
    return set(connection.execute(query).scalars())


def _known_instances(connection: Connection, uids: Sequence[str]) -> dict[str, dict[str, Mapping[Any, Any]]]:
    """Return the rows of instances with these UIDs, by SOP Instance UID and study."""
    known: dict[str, dict[str, Mapping[Any, Any]]] = defaultdict(dict)
    for row in _by_uid(connection, instance, uids):
        known[row["sop_instance_uid"]][row["study_uid"]] = row
    return known


def _own_objects(connection: Connection, rows: Sequence[Mapping[str, Any]], *, purged: bool = False) -> set[Key]:
    """Return which of these are result objects of this node, in the study that it made them for."""
    uids = [row["sop_instance_uid"] for row in rows]
    made = select(result_object, job.c.study_uid).join(job)
    found: set[Key] = set()
    for some in groups(uids, LOOKUP):
        for row in connection.execute(made.where(result_object.c.sop_instance_uid.in_(some))).mappings():
            if not purged or row["purged_at"] is not None:
                found.add(key_of(row))
    return found


def _by_uid(connection: Connection, table: Table, uids: Sequence[str]) -> Iterator[RowMapping]:
    for start in range(0, len(uids), LOOKUP):
        some = uids[start : start + LOOKUP]
        yield from connection.execute(select(table).where(table.c.sop_instance_uid.in_(some))).mappings()


def _is(key: Key) -> Any:
    return and_(instance.c.sop_instance_uid == key[0], instance.c.study_uid == key[1])


def _same_bytes(first: Mapping[Any, Any], other: Mapping[Any, Any]) -> bool:
    return all(first[name] == other[name] for name in ("checksum", "length", "transfer_syntax_uid"))


def _set_aside(arrival: Arrival, error: LedgerRefused, now: float) -> Refusal:
    instance, place = arrival.instance, arrival.place
    return Refusal(
        at=now,
        sop_instance_uid=instance.sop_instance_uid,
        sop_class_uid=instance.sop_class_uid,
        study_uid=instance.study_uid,
        calling=instance.calling,
        peer=instance.peer,
        reason=f"{error}; it was received, and lies in pack {place.pack} at {place.offset}",
        pack=place.pack,
    )


def count_present(connection: Connection, study_uid: str) -> int:
    """Count a study's instances that are here and are no results of this node that came back."""
    own = exists().where(
        result_object.c.sop_instance_uid == instance.c.sop_instance_uid,
        result_object.c.job_id == job.c.id,
        job.c.study_uid == study_uid,
    )
    query = select(func.count()).select_from(instance)
    present = query.where(instance.c.study_uid == study_uid, instance.c.lost.is_(False), ~own)
    return int(connection.execute(present).scalar_one())
