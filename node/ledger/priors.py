"""Priors: which studies may be one, and the series that were fetched to be compared with."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import (
    Connection,
    and_,
    select,
    update,
)

from node.ledger.database import LOOKUP, LedgerPart, insert_or
from node.ledger.rows import Key, key_of, to_place
from node.ledger.schema import (
    fetch,
    instance,
    study,
)
from node.records import Place, StudyState

ANSWER_SECONDS = 3600.0
"""How long after a C-MOVE request an instance of its study counts as the answer, if it names no Move Originator."""


class PriorStudies(LedgerPart):
    """What is known of earlier studies, by UIDs alone."""

    def candidates(self, modality: str, *, beside: str) -> list[tuple[str, Place]]:
        """Return each study that is here, and no longer received, with an instance of a modality; less one study."""
        first = (
            select(instance.c.sop_instance_uid)
            .where(
                instance.c.study_uid == study.c.study_uid,
                instance.c.modality == modality,
                instance.c.lost.is_(False),
            )
            .limit(1)
            .correlate(study)
            .scalar_subquery()
        )
        of_study = and_(instance.c.study_uid == study.c.study_uid, instance.c.sop_instance_uid == first)
        query = select(instance).join(study, of_study)
        others = query.where(study.c.study_uid != beside, study.c.state != StudyState.RECEIVING)
        with self.db.reading() as connection:
            rows = connection.execute(others.order_by(instance.c.study_uid)).mappings()
            return [(row["study_uid"], to_place(row)) for row in rows]

    def ask_for(self, series_uid: str, study_uid: str, *, calling: str) -> None:
        """Note that a series is asked for by C-MOVE, before it is: what comes of it is not analysed."""
        asked = {"study_uid": study_uid, "calling": calling, "asked_at": self.db.clock(), "came_at": None}
        with self.db.writing() as connection:
            new = insert_or(connection, fetch).values(series_uid=series_uid, **asked)
            connection.execute(new.on_conflict_do_update(index_elements=[fetch.c.series_uid], set_=asked))

    def arrived(self, series_uid: str) -> None:
        """Note that all of a series that was asked for is here."""
        with self.db.writing() as connection:
            connection.execute(update(fetch).where(fetch.c.series_uid == series_uid).values(came_at=self.db.clock()))

    def incomplete(self, study_uid: str) -> set[str]:
        """Return the series of a study that were asked for, and of which perhaps only a part is here."""
        query = select(fetch.c.series_uid).where(fetch.c.study_uid == study_uid, fetch.c.came_at.is_(None))
        with self.db.reading() as connection:
            return set(connection.execute(query).scalars())


def asked_for(connection: Connection, rows: Iterable[Mapping[str, Any]]) -> set[Key]:
    """Return the keys of those rows of instances that come because this node asked for their study."""
    rows = list(rows)
    studies = sorted({row["study_uid"] for row in rows})
    asked: dict[str, list[Any]] = {}
    for start in range(0, len(studies), LOOKUP):
        for request in connection.execute(select(fetch).where(fetch.c.study_uid.in_(studies[start : start + LOOKUP]))):
            asked.setdefault(request.study_uid, []).append(request)
    return {key_of(row) for row in rows if any(_answers(row, request) for request in asked.get(row["study_uid"], ()))}


def _answers(row: Mapping[str, Any], asked: Any) -> bool:
    if row["originator"]:
        return bool(row["originator"] == asked.calling)
    return bool(row["received_at"] - asked.asked_at < ANSWER_SECONDS)


def keep_priors(connection: Connection, came: Mapping[str, float]) -> None:
    """Keep studies as priors, with the time at which something of them came: those that are one, and purged ones."""
    for uid, at in came.items():
        priors = and_(study.c.study_uid == uid, study.c.state.in_((StudyState.PRIOR, StudyState.PURGED)))
        connection.execute(update(study).where(priors).values(state=StudyState.PRIOR, changed_at=at))
