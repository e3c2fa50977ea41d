"""Notices when the clock of the machine is set: durations then differ from the times in the rows."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

log = structlog.get_logger()

DAY_SECONDS = 86400.0
LOOK_SECONDS = 5.0
"""How often the clock is compared with the monotonic clock, which nobody can set."""
LEAST_STEP_SECONDS = 2.0
"""A smaller difference is drift, or a clock that is being slewed."""


@dataclass(slots=True)
class ClockWatch:
    """Compares the clock with the monotonic clock; after a step, corrects times in the ledger.

    Each step of the flow has it look first, so that no work is begun by a clock that was just set.

    Parameters
    ----------
    bring_back
        Corrects times that lie in the future, and returns how many there were.
    carry_over
        After a step forward of so many seconds: has quiet times and leases last as long as if the clock had not been
        set; returns how many there were.
    wake
        Called afterwards: work that was due in a day may be due now.
    """

    bring_back: Callable[[], int]
    carry_over: Callable[[float], int]
    wake: Callable[[], object]
    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic
    _difference: float | None = field(init=False, default=None)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def look(self) -> float:
        """Look at the clock once, and return in how many seconds to look again.

        The first time, it may have been set while the node was down.
        """
        with self._lock:
            before, now = self._difference, self.wall() - self.steady()
            if before is None or abs(now - before) >= LEAST_STEP_SECONDS:
                self._correct(None if before is None else now - before)
            self._difference = now
        return LOOK_SECONDS

    def _correct(self, step: float | None) -> None:
        found = self.bring_back()
        if step is not None and step > 0:
            found += self.carry_over(step)
        if step is not None:
            log.warning("clock.set", seconds=round(step, 1), times_corrected=found)
        elif found:
            log.warning("clock.was_set_back", times_corrected=found)
        self.wake()
