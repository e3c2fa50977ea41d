"""Instances that are durable in their packs wait here for their rows, which are written in groups."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

import structlog

from node.completeness import Ending, PackEnd
from node.errors import LedgerLost, LedgerUnavailable
from node.faults import fault
from node.ledger.instances import Instances
from node.ledger.studies import Studies
from node.records import Arrival, Refusal, StudyState
from node.spool import Spool

log = structlog.get_logger()

GROUP_SECONDS = 0.1
"""How long the first row of a group waits for others: one transaction for all of them."""
GROUP_SIZE = 1000
"""The most rows in one transaction."""
COSTLY_SECONDS = 0.005
"""If a group took longer than this to write, the next group is gathered longer in proportion."""
LONGEST_WAIT = 10.0
"""At most so many times `GROUP_SECONDS`: rows are a second behind at most."""
LEAST_WAIT = 4.0
"""A group is gathered at least so many times as long as the last group took to write, even if rows are wanted soon:
writing rows then takes at most a fifth of the time."""
PATIENCE_SECONDS = 10.0
"""How long the ledger may be unwritable before instances are refused."""
RETRY_SECONDS = 1.0
"""When to try again after the ledger could not be written."""


class Arrivals:
    """Rows that are still to be written, in the order in which their instances became durable.

    If the process dies, they are read from the packs again: `recover` reads what lies beyond the ledger's marks.

    Parameters
    ----------
    wake
        Called when there is something to record.
    group_seconds, group_size
        How long a group of rows is gathered, and how many rows it has at most.
    """

    def __init__(
        self,
        studies: Studies,
        instances: Instances,
        spool: Spool,
        *,
        wake: Callable[[], None],
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
        group_seconds: float = GROUP_SECONDS,
        group_size: int = GROUP_SIZE,
    ):
        self._studies = studies
        self._instances = instances
        self._spool = spool
        self._wake = wake
        self._clock, self._steady = clock, steady
        self._group_seconds = group_seconds
        self._group_size = group_size
        self._lock = threading.Lock()
        self._waiting: deque[Arrival | Refusal | PackEnd] = deque()
        self._failing_since: float | None = None
        self._lost: LedgerLost | None = None
        self._took = 0.0
        self._soon = threading.Event()

    def put(self, arrival: Arrival | Refusal | PackEnd) -> None:
        """Have the row of an instance, of its refusal, or of the end of its pack written with the next group."""
        self._waiting.append(arrival)
        self._wake()

    def record_soon(self) -> None:
        """End the gathering of the current group: an association is over, and perhaps a study."""
        self._soon.set()
        self._wake()

    def check_ledger(self) -> None:
        """Raise LedgerUnavailable where rows could not be written for `PATIENCE_SECONDS`, LedgerLost at once."""
        if self._lost is not None:
            raise LedgerLost(str(self._lost))
        since = self._failing_since
        if since is not None and self._steady() - since > PATIENCE_SECONDS:
            raise LedgerUnavailable(f"the ledger has not been writable for {self._steady() - since:.0f} s")

    def recover(self, of: str | None = None, *, quiet_seconds: float = 0) -> int:
        """Record what packs without a writer hold beyond the ledger's marks; return the number of instances.

        Parameters
        ----------
        of
            The writer whose packs are read; all, if None.
        quiet_seconds
            Only packs that were not written for so long are read: in others, instances that a living process has just
            received wait for their rows.
        """
        found = 0
        group: list[Arrival] = []
        for arrival in self._spool.unwritten(self._instances.marks(), of=of, quiet_seconds=quiet_seconds):
            group.append(arrival)
            found += 1
            if len(group) >= self._group_size:
                self._instances.record(group, ends=self._ends(arrival.place.pack for arrival in group))
                group = []
        left = self._spool.without_writer(self._instances.unended(), of=of, quiet_seconds=quiet_seconds)
        ends = self._ends([*(arrival.place.pack for arrival in group), *left])
        if group or ends:
            self._instances.record(group, ends=ends)
        if found:
            log.info("spool.recovered", instances=found)
        return found

    def _ends(self, packs: Iterable[str]) -> list[PackEnd]:
        """Return how associations ended whose process is dead: released, if their last pack says so.

        They ended when the pack was last written, not now: a sender may have called again meanwhile, and made it good.
        """
        now = self._clock()
        return [
            PackEnd(
                at=min(now, self._spool.written_at(name)),
                pack=name,
                how=Ending.RELEASED if self._spool.is_whole(name) else Ending.BROKEN,
            )
            for name in dict.fromkeys(packs)
        ]

    def miss(self) -> None:
        """Park studies in reception that have rows whose bytes are lost, as after a power cut; called at start."""
        for study in self._studies.in_state(StudyState.RECEIVING):
            if lost := self._studies.lose(study, self._spool.holds):
                log.error("spool.lost", study=study.study_uid, instances=lost)

    @property
    def unrecorded(self) -> int:
        """How many refusals are in memory only. A restart forgets which they were; their packs tell that some were."""
        return sum(isinstance(row, Refusal) for row in list(self._waiting))

    def record(self) -> float | None:
        """Gather a group and write the rows of all that waits; return when to try again where the ledger fails.

        Rows keep their order when the ledger fails.
        """
        if not self._waiting:
            self._soon.clear()
            return None
        wait = self._group_seconds * min(max(self._took / COSTLY_SECONDS, 1.0), LONGEST_WAIT)
        least = min(LEAST_WAIT * self._took, wait)
        time.sleep(least)
        self._soon.wait(wait - least)
        self._soon.clear()
        begun = time.monotonic()
        with self._lock:
            due = len(self._waiting)  # what comes while these are written belongs to the next group
            while due:
                group = [self._waiting[index] for index in range(min(self._group_size, due))]
                fault("receive.rows.due")
                try:
                    self._instances.record(
                        [row for row in group if isinstance(row, Arrival)],
                        [row for row in group if isinstance(row, Refusal)],
                        [row for row in group if isinstance(row, PackEnd)],
                    )
                except LedgerUnavailable as error:
                    self._lost = error if isinstance(error, LedgerLost) else None
                    self._failing_since = self._failing_since or self._steady()
                    log.warning(
                        "ledger.unavailable", reason=str(error), waiting=len(self._waiting), refused=self.unrecorded
                    )
                    return RETRY_SECONDS
                fault("receive.rows.recorded")
                self._failing_since = self._lost = None
                for _ in group:
                    self._waiting.popleft()
                due -= len(group)
        self._took = time.monotonic() - begun
        return None
