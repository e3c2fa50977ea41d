"""What a person sees of a node as values: studies that are listed, processes, queues."""

from dataclasses import dataclass

from node.records import Study


@dataclass(frozen=True, slots=True, kw_only=True)
class Identifiers:
    """What a person finds a study by; `study_date` is YYYYMMDD, or empty."""

    patient_id: str = ""
    accession_number: str = ""
    study_date: str = ""
    modalities: str = ""
    sender: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundStudy:
    """A study as `isocenter studies` lists it, with how many jobs and deliveries it has in each state."""

    study: Study
    identifiers: Identifiers
    jobs: dict[str, int]
    deliveries: dict[str, int]
    plugins: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeProcess:
    """A process of a node that has said that it runs; `name` is its host and process id."""

    name: str
    roles: str
    version: str
    started_at: float
    seen_at: float
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """A study, job or delivery that waits or runs, since when, and what has held it up; `number` is that of a job."""

    study_uid: str
    what: str
    state: str
    since: float
    number: str = ""
    attempts: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """What waits at one stage; `oldest_seconds` is None where nothing does."""

    stage: str
    count: int
    oldest_seconds: float | None
