"""Between answer and row: what is durable in its pack waits here, and is recorded in groups."""

import threading
import time
from collections import deque
from collections.abc import Callable

import structlog

from node.errors import LedgerUnavailable
from node.faults import fault
from node.ledger import Ledger
from node.records import Arrival, Refusal, StudyState
from node.spool import Spool

log = structlog.get_logger()

GROUP_SECONDS = 0.1
"""How long the first of a group waits for others: one commit for all of them."""
COSTLY_SECONDS = 0.005
"""A group that took longer to write has the next wait longer in proportion, so that ledger work stays a small share."""
LONGEST_WAIT = 10.0
"""No more than so many times GROUP_SECONDS: rows are a second behind at most."""
LEAST_WAIT = 4.0
"""In a hurry a group waits so many times what the last one took: the ledger has a fifth of the time at most."""
GROUP = 1000
"""No more rows than this in one transaction."""
PATIENCE_SECONDS = 10.0
"""How long the ledger may be unwritable before the mouth is closed."""


class Arrivals:
    """Rows to be, in the order in which their instances became durable.

    Should the process die, the packs tell them again: `recover` reads what lies beyond the ledger's marks.
    """

    def __init__(
        self, ledger: Ledger, spool: Spool, *, wake: Callable[[], None], clock: Callable[[], float] = time.time
    ):
        self._ledger = ledger
        self._spool = spool
        self._wake = wake
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: deque[Arrival | Refusal] = deque()
        self._failing_since: float | None = None
        self._took = 0.0
        self._hurry = threading.Event()

    def put(self, one: Arrival | Refusal) -> None:
        """Take what needs a row."""
        self._waiting.append(one)
        self._wake()

    def hurry(self) -> None:
        """Have what waits recorded soon: an association is over, and perhaps a study."""
        self._hurry.set()
        self._wake()

    def check_ledger(self) -> None:
        """Raise LedgerUnavailable while rows cannot be written and too many would pile up."""
        since = self._failing_since
        if since is not None and self._clock() - since > PATIENCE_SECONDS:
            raise LedgerUnavailable(f"the ledger has not been writable for {self._clock() - since:.0f} s")

    def recover(self, of: str | None = None, *, quiet_seconds: float = 0) -> int:
        """Record what packs of processes that died hold beyond the ledger's marks; return how many instances.

        `of`: of this writer alone; `quiet_seconds`: of packs that nobody wrote for so long: what a living process has
        just received waits for its row in there.
        """
        found = 0
        group: list[Arrival] = []
        for arrival in self._spool.unwritten(self._ledger.marks(), of=of, quiet_seconds=quiet_seconds):
            group.append(arrival)
            found += 1
            if len(group) >= GROUP:
                self._ledger.record(group)
                group = []
        if group:
            self._ledger.record(group)
        if found:
            log.info("spool.recovered", instances=found)
        return found

    def miss(self) -> None:
        """At the start, park studies that were being received and have rows whose bytes a power cut took with it."""
        for study in self._ledger.studies(StudyState.RECEIVING):
            if lost := self._ledger.lose(study, self._spool.holds):
                log.error("spool.lost", study=study.study_uid, instances=lost)

    def record(self) -> float | None:
        """Write the rows of all that waits; a group keeps its place when the ledger fails."""
        if not self._waiting:
            self._hurry.clear()
            return None
        wait = GROUP_SECONDS * min(max(self._took / COSTLY_SECONDS, 1.0), LONGEST_WAIT)
        least = min(LEAST_WAIT * self._took, wait)
        time.sleep(least)
        self._hurry.wait(wait - least)
        self._hurry.clear()
        begun = time.monotonic()
        with self._lock:
            due = len(self._waiting)  # what comes while these are written is the next group's, which waits for others
            while due:
                group = [self._waiting[index] for index in range(min(GROUP, due))]
                fault("receive.rows.due")
                try:
                    self._ledger.record(
                        [one for one in group if isinstance(one, Arrival)],
                        [one for one in group if isinstance(one, Refusal)],
                    )
                except LedgerUnavailable as error:
                    self._failing_since = self._failing_since or self._clock()
                    log.warning("ledger.unavailable", reason=str(error), waiting=len(self._waiting))
                    return 1.0
                fault("receive.rows.recorded")
                self._failing_since = None
                for _ in group:
                    self._waiting.popleft()
                due -= len(group)
        self._took = time.monotonic() - begun
        return None
