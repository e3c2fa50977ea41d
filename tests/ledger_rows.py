"""Shared by the contract tests of the ledger: one study, its jobs and events, and the types of the fixtures."""

from collections.abc import Callable

from node.ledger import Ledger
from node.records import (
    Arrival,
    Job,
    JobState,
    Plan,
    Refusal,
    ResultObject,
    Study,
)

Arrive = Callable[..., Arrival]
Want = Callable[..., Plan]
Make = Callable[..., ResultObject]
Route = Callable[..., int]

STUDY = "1.2.1"
OTHER = "1.2.1.2"
"""A series that no job reads."""
LEASE = 60.0


def study(ledger: Ledger, uid: str = STUDY) -> Study:
    found = ledger.studies.find(uid)
    assert found is not None
    return found


def claimed(ledger: Ledger, *, lease: float = LEASE) -> Job:
    job = ledger.jobs.claim(lease_seconds=lease)
    assert job is not None
    return job


def states(ledger: Ledger, uid: str = STUDY) -> list[JobState]:
    return [job.state for job in ledger.jobs.of(uid)]


def event_names(ledger: Ledger, uid: str | None = STUDY) -> list[str]:
    return [event.name for _, event in ledger.events.read(uid)]


def refusal(study_uid: str = STUDY, uid: str = "1.2.1.9.66") -> Refusal:
    return Refusal(
        at=1.0,
        sop_instance_uid=uid,
        sop_class_uid="1.2.3",
        study_uid=study_uid,
        calling="CT1",
        peer="127.0.0.1",
        reason="the data set has no Series Instance UID",
    )
