"""What a person asks about all studies: which there are, what waits, and which study an identifier means."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, exists, func, literal, or_, select

from node.ledger.database import LedgerPart
from node.ledger.rows import from_row, to_study
from node.ledger.schema import delivery, identifiers, instance, job, refusal, result_object, study
from node.operation_records import FoundStudy, Identifiers, Queue, Unfinished
from node.records import DeliveryState, JobState, StudyState


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFilter:
    """Which studies are listed: those that fit everything that is set. Dates are YYYYMMDD.

    `state` is a state of the study, or of one of its jobs or deliveries. `*` at the end of a Patient ID or Accession
    Number stands for any rest. `after` is when the last study of the page before had changed, and its UID.
    """

    patient_id: str = ""
    accession_number: str = ""
    first_date: str = ""
    last_date: str = ""
    modality: str = ""
    sender: str = ""
    state: str = ""
    plugin: str = ""
    study_uids: tuple[str, ...] = ()
    after: tuple[float, str] | None = None


class Overview(LedgerPart):
    """Studies by what people know of them, and the queues of all stages."""

    def studies(self, wanted: StudyFilter, *, limit: int = 50) -> list[FoundStudy]:
        """Return studies, the last changed first."""
        query = (
            select(study, *(column for column in identifiers.c if column.name != "study_uid"))
            .outerjoin(identifiers, identifiers.c.study_uid == study.c.study_uid)
            .where(*_conditions(wanted))
            .order_by(study.c.changed_at.desc(), study.c.study_uid.desc())
            .limit(limit)
        )
        with self.db.reading() as connection:
            rows = connection.execute(query).mappings().all()
            uids = [row["study_uid"] for row in rows]
            jobs, plugins = _jobs(connection, uids)
            deliveries = _count_states(connection, delivery, uids)
            beside = _received(connection, [row["study_uid"] for row in rows if row["sender"] is None])
        return [
            FoundStudy(
                study=to_study(row),
                identifiers=beside.get(row["study_uid"], Identifiers())
                if row["sender"] is None
                else from_row(Identifiers, row),
                jobs=jobs[row["study_uid"]],
                deliveries=deliveries[row["study_uid"]],
                plugins=tuple(sorted(plugins[row["study_uid"]])),
            )
            for row in rows
        ]

    def meant(self, text: str) -> list[str]:
        """Return the studies that a person means by a UID, an Accession Number or a Patient ID.

        A UID may be that of the study, or of a series, an instance or a result object in it.
        """
        by_uid = (
            select(study.c.study_uid).where(study.c.study_uid == text),
            select(instance.c.study_uid).where(or_(instance.c.sop_instance_uid == text, instance.c.series_uid == text)),
            select(job.c.study_uid).join(result_object).where(result_object.c.sop_instance_uid == text),
            select(refusal.c.study_uid).where(or_(refusal.c.study_uid == text, refusal.c.sop_instance_uid == text)),
        )
        by_order = select(identifiers.c.study_uid).where(identifiers.c.accession_number == text)
        by_patient = select(identifiers.c.study_uid).where(identifiers.c.patient_id == text)
        with self.db.reading() as connection:
            for query in (*by_uid, by_order, by_patient):
                if found := sorted({uid for uid in connection.execute(query).scalars() if uid}):
                    return found
        return []

    def queues(self) -> list[Queue]:
        """Return what waits at each stage of the flow, and for how long the oldest has."""
        now = self.db.clock()
        stages: tuple[tuple[str, ColumnElement[float], ColumnElement[bool]], ...] = (
            ("receiving", study.c.changed_at, study.c.state == StudyState.RECEIVING),
            ("to be routed", study.c.changed_at, study.c.state == StudyState.STABLE),
            ("jobs waiting", job.c.planned_at, job.c.state == JobState.WAITING),
            ("jobs running", job.c.planned_at, job.c.state == JobState.RUNNING),
            ("deliveries waiting", delivery.c.queued_at, delivery.c.state == DeliveryState.WAITING),
            ("to be committed", delivery.c.delivered_at, _uncommitted()),
        )
        with self.db.reading() as connection:
            found = [
                (stage, *connection.execute(select(func.count(), func.min(since)).where(which)).one())
                for stage, since, which in stages
            ]
        return [
            Queue(stage=stage, count=count, oldest_seconds=None if since is None else round(now - since, 1))
            for stage, count, since in found
        ]

    def unfinished(self) -> list[Unfinished]:
        """Return the studies, jobs and deliveries that wait or run, the oldest first; deliveries by destination."""
        open_studies = study.c.state.in_((StudyState.RECEIVING, StudyState.STABLE))
        studies = select(study.c.study_uid, study.c.state, study.c.changed_at).where(open_studies)
        columns = (job.c.study_uid, job.c.plugin, job.c.state, job.c.planned_at, job.c.id, job.c.attempts, job.c.reason)
        jobs = select(*columns).where(job.c.state.in_((JobState.WAITING, JobState.RUNNING)))
        group = (delivery.c.study_uid, delivery.c.destination, delivery.c.state)
        facts = (func.min(delivery.c.queued_at), func.max(delivery.c.attempts), func.max(delivery.c.reason))
        deliveries = select(*group, *facts).where(delivery.c.state == DeliveryState.WAITING).group_by(*group)
        with self.db.reading() as connection:
            found = [
                Unfinished(study_uid=uid, what="study", state=state, since=since)
                for uid, state, since in connection.execute(studies)
            ]
            found += [
                Unfinished(
                    study_uid=uid, what=f"job {plugin}", state=state, since=since, number=str(number),
                    attempts=attempts, reason=reason,
                )
                for uid, plugin, state, since, number, attempts, reason in connection.execute(jobs)
            ]  # fmt: skip
            found += [
                Unfinished(
                    study_uid=uid, what=f"delivery to {to}", state=state, since=since, attempts=attempts, reason=reason
                )
                for uid, to, state, since, attempts, reason in connection.execute(deliveries)
            ]
        return sorted(found, key=lambda waiting: waiting.since)

    def last_delivered(self) -> dict[str, float]:
        """Return when each destination last stored an object."""
        query = select(delivery.c.destination, func.max(delivery.c.delivered_at)).group_by(delivery.c.destination)
        with self.db.reading() as connection:
            return {name: at for name, at in connection.execute(query) if at is not None}

    def waiting(self) -> dict[str, tuple[int, float, str]]:
        """Return of each destination how many deliveries wait, since when the oldest does, and why it failed last."""
        waits = delivery.c.state == DeliveryState.WAITING
        columns = (func.count(), func.min(delivery.c.queued_at), func.max(delivery.c.reason))
        query = select(delivery.c.destination, *columns).where(waits).group_by(delivery.c.destination)
        with self.db.reading() as connection:
            return {name: (count, since, reason or "") for name, count, since, reason in connection.execute(query)}


def _uncommitted() -> ColumnElement[bool]:
    return and_(delivery.c.state == DeliveryState.DELIVERED, delivery.c.ask_at.is_not(None))


def _conditions(wanted: StudyFilter) -> list[ColumnElement[bool]]:
    job_of = job.c.study_uid == study.c.study_uid
    delivery_of = delivery.c.study_uid == study.c.study_uid
    conditions: list[ColumnElement[bool]] = []
    if wanted.study_uids:
        conditions.append(study.c.study_uid.in_(wanted.study_uids))
    if wanted.after:
        at, uid = wanted.after
        conditions.append(or_(study.c.changed_at < at, and_(study.c.changed_at == at, study.c.study_uid < uid)))
    if wanted.patient_id:
        conditions.append(_like(identifiers.c.patient_id, wanted.patient_id))
    if wanted.accession_number:
        conditions.append(_like(identifiers.c.accession_number, wanted.accession_number))
    if wanted.first_date:
        conditions.append(identifiers.c.study_date >= wanted.first_date)
    if wanted.last_date:
        conditions += [identifiers.c.study_date <= wanted.last_date, identifiers.c.study_date != ""]
    if wanted.modality:
        conditions.append(_received_with(instance.c.modality == wanted.modality, _among(wanted.modality)))
    if wanted.sender:
        conditions.append(_received_with(instance.c.calling == wanted.sender, identifiers.c.sender == wanted.sender))
    if wanted.plugin:
        conditions.append(exists().where(job_of, job.c.plugin == wanted.plugin))
    if wanted.state:
        in_job = exists().where(job_of, job.c.state == wanted.state)
        in_delivery = exists().where(delivery_of, delivery.c.state == wanted.state)
        conditions.append(or_(study.c.state == wanted.state, in_job, in_delivery))
    return conditions


def _like(column: Any, text: str) -> ColumnElement[bool]:
    fits: ColumnElement[bool] = column == text
    return column.startswith(text[:-1], autoescape=True) if text.endswith("*") else fits


def _among(modality: str) -> ColumnElement[bool]:
    return (literal(",") + identifiers.c.modalities + ",").contains(f",{modality},", autoescape=True)


def _received_with(of_instance: ColumnElement[bool], kept: ColumnElement[bool]) -> ColumnElement[bool]:
    return or_(kept, exists().where(instance.c.study_uid == study.c.study_uid, of_instance))


def _count_states(connection: Connection, table: Any, uids: Collection[str]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    query = select(table.c.study_uid, table.c.state, func.count()).where(table.c.study_uid.in_(uids))
    for uid, state, count in connection.execute(query.group_by(table.c.study_uid, table.c.state)):
        counts[uid][str(state)] = count
    return counts


def _jobs(connection: Connection, uids: Sequence[str]) -> tuple[dict[str, dict[str, int]], dict[str, set[str]]]:
    plugins: dict[str, set[str]] = defaultdict(set)
    for uid, plugin in connection.execute(select(job.c.study_uid, job.c.plugin).where(job.c.study_uid.in_(uids))):
        plugins[uid].add(plugin)
    return _count_states(connection, job, uids), plugins


def _received(connection: Connection, uids: Collection[str]) -> dict[str, Identifiers]:
    """Return senders and modalities of studies that were not planned yet."""
    columns = (instance.c.study_uid, instance.c.modality, instance.c.calling)
    found: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for uid, modality, calling in connection.execute(select(*columns).where(columns[0].in_(uids)).distinct()):
        found[uid][0].add(modality)
        found[uid][1].add(calling)
    return {
        uid: Identifiers(modalities=",".join(sorted(kinds)), sender=min(senders))
        for uid, (kinds, senders) in found.items()
    }
