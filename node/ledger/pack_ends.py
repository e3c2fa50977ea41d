"""Evidence that a study is complete or not: how its associations ended, and what was refused and has not come again."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, or_, select, update

from node.completeness import Ending, PackEnd, PackState, StudyEvidence
from node.ledger.database import LOOKUP, groups, insert_or
from node.ledger.rows import LENGTHS, UID_LENGTH
from node.ledger.schema import instance, pack, refusal
from node.records import Arrival, Refusal


def read_evidence(connection: Connection, study_uid: str) -> StudyEvidence:
    """Return the evidence for and against the completeness of a study.

    An instance whose refusal does not say of which study it was counts for the study that its association brought
    before, else for the one that it brought next.
    """
    holding = select(instance.c.pack).where(instance.c.study_uid == study_uid)
    mine = select(pack).where(or_(pack.c.study_uid == study_uid, pack.c.name.in_(holding))).order_by(pack.c.name)
    packs = tuple(_to_pack_state(row) for row in connection.execute(mine))
    known = select(refusal).where(refusal.c.study_uid == study_uid, refusal.c.came_at.is_(None))
    refused = [
        *connection.execute(known),
        *_unnamed(connection, study_uid, {pack.association for pack in packs} - {""}),
    ]
    named = {row.sop_instance_uid for row in refused} - {""}
    return StudyEvidence(
        packs=packs,
        refused=len(named) + sum(not row.sop_instance_uid for row in refused),
        refused_at=max((row.at for row in refused), default=0.0),
    )


def read_unended(connection: Connection) -> list[str]:
    """Return the packs whose association is not known to have left them."""
    query = select(pack.c.name).where(pack.c.ended == "", pack.c.association != "")
    return list(connection.execute(query).scalars())


def read_known(connection: Connection, names: Iterable[str]) -> set[str]:
    """Return which of these packs have a row."""
    found: set[str] = set()
    for some in groups(names, LOOKUP):
        found.update(connection.execute(select(pack.c.name).where(pack.c.name.in_(some))).scalars())
    return found


def move_marks(connection: Connection, arrivals: Sequence[Arrival]) -> None:
    """Note that all records of the packs up to these have rows; in the order of names: two wait, and do not lock up."""
    first: dict[str, Arrival] = {}
    for arrival in arrivals:
        first.setdefault(arrival.place.pack, arrival)
    for name, mark in sorted(_new_marks(arrivals).items()):
        further = insert_or(connection, pack).values(name=name, mark=mark, **_beginning(first[name]))
        mark_moves = {"set_": {"mark": further.excluded.mark}, "where": pack.c.mark < further.excluded.mark}
        connection.execute(further.on_conflict_do_update(index_elements=[pack.c.name], **mark_moves))


def note_ends(connection: Connection, ends: Iterable[PackEnd]) -> None:
    """Note how associations left their packs, in their order."""
    for end in ends:
        which = pack.c.name == end.pack if end.pack else pack.c.association == end.association
        connection.execute(update(pack).where(which).values(ended=end.how, ended_at=end.at))


def note_came(connection: Connection, rows: Sequence[Mapping[str, Any]], refusals: Sequence[Refusal]) -> None:
    """Note which refused instances have come again: those in these rows, and of new refusals those that are here."""
    came: defaultdict[str, list[tuple[str, float]]] = defaultdict(list)
    for row in rows:
        came[row["sop_instance_uid"]].append((row["study_uid"], row["received_at"]))
    refused = {row.sop_instance_uid for row in refusals} - {""}
    for some in groups(sorted(refused), LOOKUP):
        for found in connection.execute(select(instance).where(instance.c.sop_instance_uid.in_(some))):
            came[found.sop_instance_uid].append((found.study_uid, found.received_at))
    for some in groups(sorted(came), LOOKUP):
        missing = select(refusal).where(refusal.c.sop_instance_uid.in_(some), refusal.c.came_at.is_(None))
        for missed in connection.execute(missing.order_by(refusal.c.id)).all():
            studies = came[missed.sop_instance_uid]
            again = [at for uid, at in studies if at >= missed.at and missed.study_uid in ("", uid)]
            if again:
                connection.execute(update(refusal).where(refusal.c.id == missed.id).values(came_at=max(again)))


def _beginning(first: Arrival) -> dict[str, object]:
    """Return whose pack it is, by its first instance; cut where that can have no row of its own."""
    instance = first.instance
    return {
        "study_uid": str(instance.study_uid)[:UID_LENGTH],
        "calling": str(instance.calling)[: LENGTHS["calling"]],
        "association": first.association,
        "begun_at": instance.received_at,
    }


def _new_marks(arrivals: Iterable[Arrival]) -> dict[str, int]:
    marks: dict[str, int] = {}
    for arrival in arrivals:
        marks[arrival.place.pack] = max(arrival.end, marks.get(arrival.place.pack, 0))
    return marks


def _unnamed(connection: Connection, study_uid: str, associations: Collection[str]) -> list[Any]:
    """Return the refusals on associations that do not say of which study the instance was, and count for this one."""
    if not associations:
        return []
    query = select(refusal).where(
        refusal.c.association.in_(sorted(associations)), refusal.c.study_uid == "", refusal.c.came_at.is_(None)
    )
    refused = connection.execute(query).all()
    if not refused:
        return []
    brought: defaultdict[str, list[Any]] = defaultdict(list)
    for row in connection.execute(select(pack).where(pack.c.association.in_(sorted(associations)))):
        brought[row.association].append(row)
    return [row for row in refused if _study_of(row, brought[row.association]) == study_uid]


def _study_of(refused: Any, brought: Sequence[Any]) -> str:
    ordered = sorted(brought, key=lambda row: (row.begun_at, row.name))
    before = [row.study_uid for row in ordered if row.begun_at <= refused.at]
    return str(before[-1] if before else ordered[0].study_uid)


def _to_pack_state(row: Any) -> PackState:
    return PackState(
        name=row.name,
        mark=row.mark,
        association=row.association,
        calling=row.calling,
        begun_at=row.begun_at,
        ended=Ending(row.ended) if row.ended else None,
        ended_at=row.ended_at,
    )
