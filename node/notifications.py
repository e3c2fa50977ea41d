"""Wake steps after events of other processes: the history of all studies says which steps have work now.

Within a process, steps wake each other. This module reads what a command, or a process on another machine, has written
into the ledger. An event that is missed is harmless: every step also looks into the ledger now and then.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from node.ledger.events import Events

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
        new = dict(self.events.names(after=self._after))
        words = {word for number, name in new.items() if number not in self._known for word in HEARD.get(name, ())}
        self._known = set(new)
        self._after = max(self._after, max(new, default=0) - OVERLAP)
        self.wake(*(step for step in self.steps() if step.partition(" ")[0] in words))
        return LOOK_SECONDS
