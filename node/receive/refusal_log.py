"""Tells of associations that failed: in the log, and by a row in the ledger."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import structlog

from node.errors import LedgerUnavailable
from node.plain_text import plain
from node.records import FailedAssociation

log = structlog.get_logger()

REPORT_SECONDS = 60.0
"""A refusal that repeats is logged once in so many seconds, with how often it came since."""
MOST_PEERS = 1024
"""Peers whose refusals are counted; with more, all are forgotten and counted anew."""
MOST_WAITING = 1024
"""Kinds of failure that wait for their rows; with more, the log alone tells of a new kind."""
ROWS_SECONDS = 1.0
"""Rows are written once in so many seconds."""
TITLE_LENGTH = 16
LONGEST_REASON = 400
"""Characters of a reason in a row: PostgreSQL's index takes no long key."""


def _nobody() -> None:
    """Wake nobody."""


@dataclass(slots=True)
class RefusalLog:
    """Logs failed associations, each kind of one address once in `REPORT_SECONDS`, and keeps them until `record`.

    Nobody fills the log, nor the memory.

    Parameters
    ----------
    wake
        Called when there is something to record.
    write
        Writes rows; LedgerUnavailable where they are to be kept and written later.
    clock
        Seconds that only grow, for intervals.
    now
        Seconds since 1970, for rows.
    """

    wake: Callable[[], None] = _nobody
    write: Callable[[Iterable[FailedAssociation]], None] = lambda _rows: None
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    _counts: dict[tuple[str, str], tuple[float, int]] = field(default_factory=dict)
    _rows: dict[tuple[str, ...], FailedAssociation] = field(default_factory=dict)
    _written_at: float = float("-inf")
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def report(self, outcome: str, *, address: str, reason: str, calling: str = "", called: str = "") -> None:
        """Log a failure, or count it where the same was logged a moment ago; and have its row written."""
        self._keep(outcome, plain(calling, TITLE_LENGTH), plain(called, TITLE_LENGTH), address, plain(reason))
        if len(self._counts) >= MOST_PEERS:
            self._counts.clear()
        now = self.clock()
        logged, count = self._counts.get((address, reason), (float("-inf"), 0))
        if now - logged < REPORT_SECONDS:
            self._counts[address, reason] = (logged, count + 1)
            return
        self._counts[address, reason] = (now, 0)
        repeated = {"repeated": count} if count else {}
        titles = {name: title for name, title in (("calling", calling), ("called", called)) if title}
        log.warning(f"association.{outcome}", address=address, reason=reason, **titles, **repeated)

    def record(self) -> float | None:
        """Write the rows of all that waits; return when to call again, or None where nothing waits."""
        if not self._rows:
            return None
        since = self.clock() - self._written_at
        if since < ROWS_SECONDS:
            return ROWS_SECONDS - since
        self.record_now()
        return ROWS_SECONDS if self._rows else None

    def record_now(self) -> None:
        """Write the rows of all that waits; where the ledger is away, they wait on."""
        with self._lock:
            rows, self._rows = self._rows, {}
        self._written_at = self.clock()
        try:
            self.write(rows.values())
        except LedgerUnavailable:
            with self._lock:
                self._rows = rows | self._rows

    def _keep(self, *kind: str) -> None:
        outcome, calling, called, address, reason = kind
        now = self.now()
        with self._lock:
            known = self._rows.get(kind)
            if known is not None:
                self._rows[kind] = replace(known, last_at=now, times=known.times + 1)
            elif len(self._rows) < MOST_WAITING:
                self._rows[kind] = FailedAssociation(
                    outcome=outcome,
                    calling=calling,
                    called=called,
                    address=address,
                    reason=plain(reason, LONGEST_REASON),
                    first_at=now,
                    last_at=now,
                )
        self.wake()
