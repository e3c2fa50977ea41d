"""The rows of the ledger as frozen values, which every stage may use."""

import re
from dataclasses import dataclass
from enum import StrEnum

from node.errors import ConfigError
from node.tls import ClientTls


class StudyState(StrEnum):
    """Where a study stands between its first instance and its jobs."""

    RECEIVING = "receiving"
    STABLE = "stable"
    ROUTED = "routed"
    PARKED = "parked"
    PURGED = "purged"
    PRIOR = "prior"
    """It was fetched to be compared with, and is not analysed itself."""


class JobState(StrEnum):
    """Where a job stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    PARKED = "parked"
    SUPERSEDED = "superseded"


class DeliveryState(StrEnum):
    """Where the delivery of one object to one destination stands."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    COMMITTED = "committed"
    UNSUPPORTED = "unsupported"
    REPLACED = "replaced"
    PARKED = "parked"
    SUPERSEDED = "superseded"


JOB_MOVES = {
    (JobState.WAITING, "claim"): JobState.RUNNING,
    (JobState.RUNNING, "claim"): JobState.RUNNING,  # only when the lease has run out
    (JobState.RUNNING, "finish"): JobState.DONE,
    (JobState.RUNNING, "postpone"): JobState.WAITING,
    (JobState.RUNNING, "park"): JobState.PARKED,
    (JobState.PARKED, "requeue"): JobState.WAITING,
    (JobState.WAITING, "supersede"): JobState.SUPERSEDED,
    (JobState.RUNNING, "supersede"): JobState.SUPERSEDED,  # its images have changed; its worker records nothing
    (JobState.PARKED, "supersede"): JobState.SUPERSEDED,
    (JobState.WAITING, "strand"): JobState.PARKED,  # its plugin is no longer here
    (JobState.SUPERSEDED, "reinstate"): JobState.WAITING,  # its version of the plugin is the installed one again
}
"""Every move a job can make; the ledger refuses any other."""

LEASE_SECONDS = 60.0
"""How long claimed work is left to a process that renews its lease no more."""
GUARD = "guard_"
"""How the name of a model that guards a plugin begins; plugin.toml names it without that."""

JOB_QUEUE, JOB_TASK = "isocenter", "job"
"""What procrastinate calls the queue that ledgers fill with job ids, and the task that engines take from it."""

FINISHED_JOBS = (JobState.DONE, JobState.SUPERSEDED)
"""States of a job that is over: the instances it read may be purged."""

DELIVERY_MOVES = {
    (DeliveryState.WAITING, "deliver"): DeliveryState.DELIVERED,
    (DeliveryState.WAITING, "postpone"): DeliveryState.WAITING,
    (DeliveryState.WAITING, "park"): DeliveryState.PARKED,
    (DeliveryState.PARKED, "requeue"): DeliveryState.WAITING,
    (DeliveryState.WAITING, "decline"): DeliveryState.UNSUPPORTED,  # its SOP class is not taken there
    (DeliveryState.UNSUPPORTED, "replace"): DeliveryState.REPLACED,  # another object goes in its place
    (DeliveryState.UNSUPPORTED, "exhaust"): DeliveryState.PARKED,  # nothing can
    (DeliveryState.WAITING, "supplant"): DeliveryState.REPLACED,  # it names what is not taken there
    (DeliveryState.DELIVERED, "commit"): DeliveryState.COMMITTED,
    (DeliveryState.WAITING, "commit"): DeliveryState.COMMITTED,  # a late answer: the destination keeps it after all
    (DeliveryState.PARKED, "commit"): DeliveryState.COMMITTED,
    (DeliveryState.DELIVERED, "resend"): DeliveryState.WAITING,
    (DeliveryState.DELIVERED, "abandon"): DeliveryState.PARKED,
    (DeliveryState.WAITING, "supersede"): DeliveryState.SUPERSEDED,  # a later revision came, and it does not leave
    (DeliveryState.PARKED, "supersede"): DeliveryState.SUPERSEDED,
    (DeliveryState.UNSUPPORTED, "supersede"): DeliveryState.SUPERSEDED,
    (DeliveryState.SUPERSEDED, "deliver"): DeliveryState.DELIVERED,  # it was on its way
    (DeliveryState.SUPERSEDED, "commit"): DeliveryState.COMMITTED,  # a late answer: the destination has it
}
"""Every move a delivery can make. A delivered object stays delivered unless its destination does not commit to it."""

FINISHED_DELIVERIES = (
    DeliveryState.DELIVERED,
    DeliveryState.COMMITTED,
    DeliveryState.REPLACED,
    DeliveryState.SUPERSEDED,
)
"""An object whose deliveries are all in one of these may be purged."""


@dataclass(frozen=True, slots=True)
class Address:
    """An application entity on the network, written AE@host:port."""

    ae_title: str
    host: str
    port: int
    tls: ClientTls | None = None
    """What is needed to call it by TLS; without, associations are plain."""

    PATTERN = re.compile(r"(?P<ae>[^@\\\s][^@\\]{0,15})@(?P<host>\[[0-9a-fA-F:]+\]|[^@:\s]+):(?P<port>\d{1,5})")

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read AE@host:port; ConfigError where it is none (an AE title has 1 to 16 characters, PS3.5 section 6.2)."""
        found = cls.PATTERN.fullmatch(text.strip())
        if found is None or int(found["port"]) > 65535:
            raise ConfigError(
                f"{text!r} is no address of the form AE@host:port, with an AE title of 1 to 16 characters"
            )
        return cls(found["ae"].strip(), found["host"].strip("[]"), int(found["port"]))

    def __str__(self) -> str:
        return f"{self.ae_title}@{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an instance lies in the spool: `length` bytes at `offset` of the pack."""

    pack: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """An instance as it was received: what its row holds, and what its pack holds beside its bytes."""

    sop_instance_uid: str
    sop_class_uid: str
    study_uid: str
    series_uid: str
    modality: str
    transfer_syntax_uid: str
    calling: str
    peer: str
    received_at: float
    checksum: int
    urgency: int = 0
    """Priority over other instances, by its Requested Procedure Priority; 0 in packs of older versions."""
    note: str = ""
    """What a volume needs of its header (`node.images.header_summary`); empty for anything but an ordinary image."""
    originator: str = ""
    """AE title that asked for it by C-MOVE, if the sender says so (Move Originator, PS3.7 section 9.1.1.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """An instance that is durable in its pack and waits for its row."""

    instance: Instance
    place: Place
    end: int
    """Offset at which the next record of the pack begins: the pack's new mark."""
    association: str = ""
    """Name of the association that brought it; empty where the record was read back from a pack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An instance that was not taken, with the reason the sender was given."""

    at: float
    sop_instance_uid: str
    sop_class_uid: str
    study_uid: str
    calling: str
    peer: str
    reason: str
    pack: str = ""
    """Where its bytes lie, if it was stored and then found to fit no row of the ledger."""
    association: str = ""
    """Name of the association that it was refused on."""
    came_at: float | None = None
    """When it was sent again and accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A study in its present revision."""

    study_uid: str
    state: StudyState
    revision: int
    changed_at: float
    because: str
    expected: int = 0
    """How many instances it had before some were purged or lost. With fewer, only a person starts its analysis."""
    purged_at: float | None = None
    caveat: str = ""
    """What was known to be missing when it became stable."""


@dataclass(frozen=True, slots=True)
class QuietTime:
    """How long a study must be quiet before it is stable, and why that is enough."""

    seconds: float
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesCount:
    """How much of a series has arrived, and where its first instance lies."""

    series_uid: str
    modality: str
    instances: int
    sample: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What one route made of one stack, in one sentence."""

    series_key: str
    series_text: str
    route: str
    matched: bool
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A job to be: one plugin of one version on chosen stacks of a study's revision.

    `inputs` has one entry for each time the plugin runs: role → key of the stack. `digest` tells whether another
    revision would give the plugin the very same images.
    """

    plugin: str
    version: str
    route: str
    inputs: tuple[dict[str, str], ...]
    destinations: tuple[str, ...]
    priority: int
    digest: str
    caveat: str = ""
    """What is known to be missing in the study: its reports say so."""
    allow_demonstration: bool = False
    """Whether a demonstration network may be asked about images of patients: all of its routes allow it."""
    report_not_suitable: bool = False
    """Whether a report is sent of images that the plugin cannot analyse: one of its routes asks for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A planned run, as its row has it. `ordinal` counts the study's jobs and keeps their series numbers apart."""

    id: int
    study_uid: str
    revision: int
    plugin: str
    version: str
    route: str
    inputs: tuple[dict[str, str], ...]
    destinations: tuple[str, ...]
    state: JobState
    attempts: int
    planned_at: float
    ordinal: int
    worker: str
    reason: str
    caveat: str = ""
    """What is known to be missing in the study: its reports say so."""
    allow_demonstration: bool = False
    """Whether a demonstration network may be asked about images of patients."""
    report_not_suitable: bool = False
    """Whether a report is sent of images that the plugin cannot analyse."""
    digest: str = ""
    """Tells the images behind the inputs and what else of the study decides the answer, as in `Plan`."""
    priority: int = 0
    """The route's priority and what Requested Procedure Priority adds: higher goes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultObject:
    """A composed DICOM object that lies in the spool, ready to be delivered."""

    sop_instance_uid: str
    sop_class_uid: str
    series_uid: str
    kind: str
    transfer_syntax_uid: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One object on its way to one destination."""

    object: ResultObject
    destination: str
    study_uid: str
    state: DeliveryState
    attempts: int
    queued_at: float
    reason: str
    due_at: float = 0.0
    """When it is tried next, if it waits."""
    worker: str = ""
    """The claim that holds it while it is sent."""
    delivered_at: float | None = None
    asks: int = 0
    """How often its destination was asked to commit to it since it was last delivered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined:
    """A delivery that was refused by SOP class, with all objects of its job, and those of them that go there too."""

    delivery: Delivery
    job_id: int
    objects: tuple[ResultObject, ...]
    beside: tuple[Delivery, ...] = ()


@dataclass(frozen=True, slots=True)
class Reference:
    """An instance as one application entity names it to another."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentResult:
    """What became of one Storage Commitment transaction: committed instances, and the others with a failure reason."""

    transaction_uid: str
    committed: tuple[Reference, ...]
    failed: tuple[tuple[Reference, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentRequest:
    """What a sender asked us to commit to, and when; reported with `attempts` so far."""

    transaction_uid: str
    calling: str
    references: tuple[Reference, ...]
    received_at: float
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of the story of a study."""

    at: float
    study_uid: str
    name: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedAssociation:
    """An association that was rejected or aborted, or a connection that never became one; alike ones are counted."""

    outcome: str
    """rejected, aborted, ended (a connection without a request), contexts_refused, or tls_failed."""
    calling: str
    called: str
    address: str
    reason: str
    first_at: float
    last_at: float
    times: int = 1
