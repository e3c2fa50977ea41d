"""Wake steps after events of other processes: the history of all studies says which steps have work now.

Within a process, steps wake each other. This module reads what a command, or a process on another machine, has written
into the ledger. An event that is missed is harmless: every step also looks into the ledger now and then.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from node.ledger.events import Events

Item = TypeVar("Item")

LOOK_SECONDS = 0.5
RELOAD = "node.reload"
"""The event that asks all nodes on the ledger to read their files again."""
OVERLAP = 50
"""How many events are read again: of two transactions, the one with the later number may be committed first."""

HEARD = {
    "study.begun": ("assemble", "arenas"),
    "study.revised": ("assemble",),
    "study.stable": ("route",),
    "job.planned": ("infer",),
    "job.postponed": ("infer",),
    "job.done": ("deliver", "decode"),
    "object.postponed": ("deliver",),
    "object.uncommitted": ("deliver",),
    "object.delivered": ("commit",),
    "commitment.answered": ("commit",),
    RELOAD: ("reload",),
    "resumed": ("route", "infer", "deliver"),
    "requeued": ("route", "infer", "deliver"),
}
"""Event → first word of the names of the steps that have work after it."""


def take_new(
    read: Iterable[tuple[int, Item]], *, after: int, known: Collection[int]
) -> tuple[list[Item], int, set[int]]:
    """Return the events that are new, the number to read after next time, and the numbers that are known then.

    `read` has the events after the number `after`, and `known` what was returned for it the last time.
    """
    events = dict(read)
    new = [event for number, event in events.items() if number not in known]
    return new, max(after, max(events, default=0) - OVERLAP), set(events)


@dataclass(slots=True)
class News:
    """Wakes the steps of this process that have work after new events in the ledger."""

    events: Events
    steps: Callable[[], Sequence[str]]
    wake: Callable[..., None]
    _after: int | None = None
    _known: set[int] = field(default_factory=set)

    def hear(self) -> float:
        """Look for new events once, and return when to look again."""
        if self._after is None:
            self._after = self.events.last()
        read = self.events.names(after=self._after)
        names, self._after, self._known = take_new(read, after=self._after, known=self._known)
        words = {word for name in names for word in HEARD.get(name, ())}
        self.wake(*(step for step in self.steps() if step.partition(" ")[0] in words))
        return LOOK_SECONDS
