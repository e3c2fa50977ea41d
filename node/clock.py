"""Notices when the clock of the machine is set: durations then differ from the times in the rows."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

log = structlog.get_logger()

LOOK_SECONDS = 5.0
"""How often the clock is compared with the monotonic clock, which nobody can set."""
LEAST_STEP_SECONDS = 2.0
"""A smaller difference is drift, or a clock that is being slewed."""


@dataclass(slots=True)
class ClockWatch:
    """Compares the clock with the monotonic clock; after a step back, corrects times that lie in the future.

    Parameters
    ----------
    bring_back
        Corrects these times, and returns how many there were.
    wake
        Called afterwards: work that was due in a day may be due now.
    """

    bring_back: Callable[[], int]
    wake: Callable[[], object]
    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic
    _difference: float | None = field(init=False, default=None)

    def look(self) -> float:
        """Look at the clock once, and return in how many seconds to look again.

        The first time, it may have been set while the node was down.
        """
        before, now = self._difference, self.wall() - self.steady()
        if before is None or abs(now - before) >= LEAST_STEP_SECONDS:
            found = self.bring_back()
            if before is not None:
                log.warning("clock.set", seconds=round(now - before, 1), times_brought_back=found)
            elif found:
                log.warning("clock.was_set_back", times_brought_back=found)
            self.wake()
        self._difference = now
        return LOOK_SECONDS
