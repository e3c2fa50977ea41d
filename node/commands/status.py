"""What a node does now, as its ledger tells it: nothing is started, and nothing is asked on the network."""

import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from node.ledger import Ledger
from node.ledger.queries import span
from node.operation_records import NodeProcess, Queue
from node.plain_text import plain
from node.settings import Settings
from node.tls import expiring

ALIVE_SECONDS = 60.0
"""A process that has not reported for so long does not run, or cannot write the ledger."""
NEEDS = ("work", "receive", "deliver")
GIB = 2**30
MOST_SENTENCES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationState:
    """What waits for a destination, and when it last stored an object."""

    name: str
    waiting: int
    oldest_seconds: float | None
    failing: str
    last_delivered_seconds: float | None
    paused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """All that `isocenter status` shows."""

    processes: tuple[NodeProcess, ...]
    now: float
    queues: tuple[Queue, ...]
    destinations: tuple[DestinationState, ...]
    paused: tuple[tuple[str, str], ...]
    disk_free: int
    disk_mark: int
    needs_person: tuple[str, ...]

    def is_alive(self, process: NodeProcess) -> bool:
        """Return whether a process has reported lately."""
        return self.now - process.seen_at < ALIVE_SECONDS

    @property
    def missing_roles(self) -> list[str]:
        """The roles that no living process has."""
        there = {role for process in self.processes if self.is_alive(process) for role in process.roles.split(", ")}
        return [role for role in NEEDS if role not in there]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        processes = [asdict(process) | {"alive": self.is_alive(process)} for process in self.processes]
        return asdict(self) | {"processes": processes, "missing_roles": self.missing_roles}


def status(settings: Settings, ledger: Ledger) -> Status:
    """Return what the ledger tells of the node, and how much space its spool has."""
    now = ledger.db.clock()
    waiting, last = ledger.overview.waiting(), ledger.overview.last_delivered()
    pauses = ledger.pauses.all()
    paused = {name for kind, name, _ in pauses if kind == "destination"}
    there = next(folder for folder in (settings.spool.path, *settings.spool.path.parents) if folder.is_dir())
    parked = [f"{what} of study {uid}: {reason}" for uid, what, reason in ledger.queries.parked()]
    stuck = ledger.queries.stuck(seconds=3600)
    return Status(
        processes=tuple(ledger.processes.all()),
        now=now,
        queues=tuple(ledger.overview.queues()),
        destinations=tuple(
            DestinationState(
                name=name,
                waiting=waiting[name][0] if name in waiting else 0,
                oldest_seconds=round(now - waiting[name][1], 1) if name in waiting else None,
                failing=waiting[name][2] if name in waiting else "",
                last_delivered_seconds=round(now - last[name], 1) if name in last else None,
                paused=name in paused,
            )
            for name in sorted({*settings.destinations, *waiting})
        ),
        paused=tuple((kind, name) for kind, name, _ in pauses),
        disk_free=shutil.disk_usage(there).free,
        disk_mark=settings.spool.free_mark_mb * 2**20,
        needs_person=tuple(map(plain, (*parked, *stuck, *expiring(settings.certificates)))),
    )


def lines(found: Status) -> Iterator[str]:
    """Tell it line by line."""
    for process in found.processes:
        state = "runs" if found.is_alive(process) else f"has not reported for {span(found.now - process.seen_at)}"
        yield f"process {process.name} ({process.roles}) {state}, since {span(found.now - process.started_at)}"
        if process.detail:
            yield f"  Triton: {process.detail}"
    if found.missing_roles:
        yield f"no process runs: {', '.join(found.missing_roles)}"
    for queue in found.queues:
        oldest = f", the oldest for {span(queue.oldest_seconds)}" if queue.oldest_seconds is not None else ""
        yield f"{queue.stage}: {queue.count}{oldest}"
    low = " – below the mark, images are refused" if found.disk_free < found.disk_mark else ""
    yield f"disk: {found.disk_free / GIB:.1f} GiB free, mark {found.disk_mark / GIB:.1f} GiB{low}"
    for destination in found.destinations:
        yield _destination(destination)
    for kind, name in found.paused:
        yield f"paused: {kind} {name}"
    count = len(found.needs_person)
    yield f"needs a person: {count}" + (" – correct the cause, then isocenter requeue" if count else "")
    yield from (f"  {sentence}" for sentence in found.needs_person[:MOST_SENTENCES])
    if count > MOST_SENTENCES:
        yield f"  and {count - MOST_SENTENCES} more; isocenter studies --state parked lists them"


def _destination(of: DestinationState) -> str:
    last = "never" if of.last_delivered_seconds is None else f"{span(of.last_delivered_seconds)} ago"
    failing = f": {plain(of.failing)}" if of.failing else ""
    waits = (
        "" if of.oldest_seconds is None else f", {of.waiting} wait, the oldest for {span(of.oldest_seconds)}{failing}"
    )
    return f"destination {of.name}: last stored {last}{waits}"
