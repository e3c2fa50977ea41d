"""The story of a study, as the ledger can tell it: for `isocenter explain`, and the times that the demo prints."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby

from node.ledger import Ledger
from node.notifications import LOOK_SECONDS, take_new
from node.plain_text import plain
from node.records import Delivery, DeliveryState, Event, JobState, StudyState

STAGES = (
    ("receive", "study.begun", "study.stable"),
    ("route", "study.stable", "job.planned"),
    ("infer and compose", "job.planned", "job.done"),
    ("deliver", "job.done", "object.delivered"),
)
"""A stage, the event it begins with, and the last event of it."""

STORED = (DeliveryState.DELIVERED, DeliveryState.COMMITTED)


ASIDE = {"instance.aside": "set aside", "instance.lost": "lost"}
"""Events that tell of instances which were received and are not used."""


def explain(ledger: Ledger, study_uid: str) -> Iterator[str]:
    """Tell what became of a study, line by line: what came, why routes matched or not, jobs, deliveries, history."""
    yield from map(plain, _story(ledger, study_uid))


def failed_associations(ledger: Ledger) -> Iterator[str]:
    """Tell which associations were rejected or aborted, the newest first: who called, from where, and why."""
    failed = ledger.failed_associations.read()
    if not failed:
        yield "no association was rejected or aborted"
    for one in failed:
        often = f", {one.times} times since {moment(one.first_at)}" if one.times > 1 else ""
        calling, called = one.calling or "an unknown AE", one.called or "an unknown AE"
        who = f"{calling} at {one.address} to {called}"
        yield plain(f"{moment(one.last_at)}  {one.outcome.replace('_', ' ')}: {who}: {one.reason}{often}")


def _story(ledger: Ledger, study_uid: str) -> Iterator[str]:
    study = ledger.studies.find(study_uid)
    refusals = ledger.queries.refusals(study_uid)
    if study is None and not refusals:
        yield f"nothing of study {study_uid} was ever received here"
        return
    if study is not None:
        yield f"study {study_uid}: revision {study.revision}, {study.state}" + (
            f" – {study.because}" if study.because else ""
        )
        for series in ledger.instances.series(study_uid):
            yield f"  {series.modality or 'no modality'} series {series.series_uid}: {series.instances} instances"
    for refused in refusals:
        again = f"; it came again at {moment(refused.came_at)}" if refused.came_at else ""
        told = f"{refused.sop_instance_uid}, {refused.reason}{again}"
        yield f"  refused at {moment(refused.at)} from {refused.calling}: {told}"
    if study is not None:
        yield from _aside(ledger, study_uid)
        yield from _routes(ledger, study_uid)
        yield from _jobs(ledger, study_uid)
    yield "history"
    yield from _history([event for _, event in ledger.events.read(study_uid)])


def _history(events: Sequence[Event]) -> Iterator[str]:
    """Tell each event; events of single instances in a row are one line, as when a study is sent again."""
    for name, group in groupby(events, key=lambda event: event.name):
        alike = list(group)
        if name.startswith("instance.") and len(alike) > 1:
            since, until = moment(alike[0].at), moment(alike[-1].at)
            yield f"  {since}  {name}  {len(alike)} instances, until {until}; the first: {alike[0].detail}"
            continue
        yield from (f"  {moment(event.at)}  {event.name}  {event.detail}".rstrip() for event in alike)


def _aside(ledger: Ledger, study_uid: str) -> Iterator[str]:
    """Tell which instances are not used, once each, though they were received."""
    events = [event for _, event in ledger.events.read(study_uid)]
    yield from dict.fromkeys(f"  {ASIDE[one.name]}: {one.detail}" for one in events if one.name in ASIDE)


def unanswered(ledger: Ledger, study_uid: str) -> Iterator[str]:
    """Tell why a study has no answer: no route took it, with why not, or what of it is parked."""
    study, jobs = ledger.studies.find(study_uid), ledger.jobs.of(study_uid)
    if study is None:
        return
    if study.state is StudyState.PARKED:
        yield plain(f"study {study_uid} is parked: {study.because}")
    elif not jobs:
        yield plain(f"no route takes study {study_uid}:")
        yield from (
            plain(f"  {one.route}: {one.series_text} – {one.sentence}") for one in ledger.queries.decisions(study)
        )
    yield from (plain(f"{job.plugin} is parked: {job.reason}") for job in jobs if job.state is JobState.PARKED)


def _routes(ledger: Ledger, study_uid: str) -> Iterator[str]:
    study = ledger.studies.find(study_uid)
    decisions = ledger.queries.decisions(study) if study else []
    gone = study is not None and study.state is StudyState.PURGED
    yield "routes" if decisions else "routes: the study was purged" if gone else "routes: not yet decided, or no images"
    for one in decisions:
        yield f"  {'✓' if one.matched else '✗'} {one.route}: {one.series_text} – {one.sentence}"


def _jobs(ledger: Ledger, study_uid: str) -> Iterator[str]:
    jobs, deliveries = ledger.jobs.of(study_uid), ledger.deliveries.of(study_uid)
    yield "jobs" if jobs else "jobs: none"
    for job in jobs:
        why = f" – {job.reason}" if job.reason and job.state is not JobState.DONE else ""
        yield f"  {job.id}: {job.plugin} {job.version}, revision {job.revision}: {job.state}{why}"
    yield "deliveries" if deliveries else "deliveries: none"
    for one in deliveries:
        why = f" – {one.reason}" if one.reason and one.state not in STORED else ""
        name = f"{one.object.kind} {one.object.sop_instance_uid}"
        yield f"  {name} to {one.destination}: {one.state}{why}{_next_try(one)}"


def _next_try(sent: Delivery) -> str:
    """Return when a delivery that waits after a failure is tried again."""
    again = sent.state is DeliveryState.WAITING and sent.attempts
    return f"; tried {sent.attempts} times, next at {moment(sent.due_at)}" if again else ""


def follow(ledger: Ledger) -> Iterator[Sequence[Event]]:
    """Yield the events of the ledger that happen from now on, for ever, as they are found."""
    after, known = ledger.events.last(), set[int]()
    while True:
        new, after, known = take_new(ledger.events.read(after=after), after=after, known=known)
        yield new
        time.sleep(LOOK_SECONDS)


def told(events: Sequence[Event]) -> Iterator[str]:
    """Tell each event in a line; those of single instances of a study in a row are one line."""
    for (name, uid), group in groupby(events, key=lambda event: (event.name, event.study_uid)):
        alike = list(group)
        if name.startswith("instance.") and len(alike) > 1:
            alike = [replace(alike[0], detail=f"{len(alike)} instances; the first: {alike[0].detail}")]
        yield from (plain(f"{moment(event.at)}  {name}  {uid}  {event.detail}".rstrip()) for event in alike)


def stages(events: Sequence[Event]) -> list[tuple[str, float]]:
    """Return the seconds each stage took, from the events of one study of one revision."""
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    for event in events:
        first.setdefault(event.name, event.at)
        last[event.name] = event.at
    return [(name, last[end] - first[begin]) for name, begin, end in STAGES if begin in first and end in last]


def moment(at: float) -> str:
    """Return a time as people read it, in this machine's time zone."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-4]
