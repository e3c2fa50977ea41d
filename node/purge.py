"""Purge finished studies when their retention ends: rows first, then files, so that no row names a missing file."""

import time
from collections.abc import Callable

import structlog

from node.ledger.instances import Instances
from node.ledger.retention import Retention
from node.spool import Spool

log = structlog.get_logger()

EVERY_SECONDS = 3600.0


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
