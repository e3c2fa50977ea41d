"""Purge finished studies when their retention ends: rows first, then files, so that no row names a missing file."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from node.clock import DAY_SECONDS
from node.ledger.instances import Instances
from node.ledger.retention import Retention
from node.spool import Spool

log = structlog.get_logger()

EVERY_SECONDS = 3600.0


@dataclass(slots=True)
class ClockHold:
    """Holds purging back for a day after the clock went forward by a day or more: a wrong clock deletes nothing.

    A node that was down, or to which nothing came, for a day looks the same at its start: it purges a day later.

    Parameters
    ----------
    newest_change
        Returns when a study changed last, None without one: what the first look is compared with.
    """

    newest_change: Callable[[], float | None]
    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic
    _difference: float | None = field(init=False, default=None)
    _until: float = field(init=False, default=-math.inf)

    def holds(self) -> bool:
        """Compare the clock with the monotonic clock, which nobody can set, and return whether to wait."""
        wall, steady = self.wall(), self.steady()
        if self._difference is None:
            newest = self.newest_change()
            step = 0.0 if newest is None else wall - newest
        else:
            step = wall - steady - self._difference
        self._difference = wall - steady
        if step >= DAY_SECONDS:
            self._until = steady + DAY_SECONDS
            log.warning("purge.held", seconds=DAY_SECONDS, reason=f"the clock is {step / DAY_SECONDS:.1f} days further")
        return steady < self._until


def purging(
    retention: Retention, instances: Instances, spool: Spool, *, keep_seconds: float, tell_seconds: float
) -> Callable[[], float]:
    """Return the work of the step that purges, which is held back after a step of the clock: see `ClockHold`."""
    hold = ClockHold(retention.newest_change)

    def work() -> float:
        if hold.holds():
            return EVERY_SECONDS
        return purge(retention, instances, spool, keep_seconds=keep_seconds, tell_seconds=tell_seconds)

    return work


def purge(
    retention: Retention,
    instances: Instances,
    spool: Spool,
    *,
    keep_seconds: float,
    tell_seconds: float,
    clock: Callable[[], float] = time.time,
) -> float:
    """Purge what was finished so long ago, forget stories of what was purged so long ago; return when to look again.

    A crash between rows and files leaves files that no row needs; the next time finds them, since it looks at the files
    and asks the ledger whether they may go.
    """
    before = clock() - keep_seconds
    studies = 0
    while purged := retention.purge(before=before):
        studies += len(purged)
    while retention.forget(before=clock() - tell_seconds):
        pass
    objects, packs = drop_files(retention, instances, spool)
    if studies or objects or packs:
        log.info("spool.purged", studies=studies, objects=objects, packs=packs)
    return EVERY_SECONDS


def drop_files(retention: Retention, instances: Instances, spool: Spool) -> tuple[int, int]:
    """Delete the files that no row needs; return how many objects and packs."""
    return _drop_objects(retention, spool), _drop_packs(retention, instances, spool)


def _drop_objects(retention: Retention, spool: Spool) -> int:
    """Delete what was composed for purged studies; what was composed since, of a study that came again, stays."""
    folders = sorted(folder.name for folder in spool.objects.iterdir() if folder.is_dir())
    return sum(spool.drop_objects(folder, until=at) for folder, at in retention.purged(folders).items())


def _drop_packs(retention: Retention, instances: Instances, spool: Spool) -> int:
    """Delete packs that no row points into and that hold nothing more to recover, and forget those that are gone.

    A pack with bytes that cannot be read is kept for a person; `isocenter check` reports it.
    """
    marks = instances.marks()
    needed = instances.pack_counts(marks)
    idle = [name for name in spool.idle_packs() if name not in needed and not spool.size(name) > marks.get(name, 0)]
    spool.drop_packs(idle)
    there = {path.name for path in spool.packs.iterdir()}
    gone = [name for name in marks if name not in needed and name not in there]
    retention.forget_packs(gone)
    return len(idle)
