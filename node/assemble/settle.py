"""Take studies for stable: by what has arrived of them, and how long they have been quiet."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Protocol

import structlog

from node.errors import BytesLost, NotUnderstood, SpoolAway, SpoolFull
from node.faults import fault
from node.images.part10 import Part10
from node.images.series import Series
from node.images.stacks import group_into_stacks
from node.ledger.instances import Instances
from node.ledger.studies import Studies
from node.records import QuietTime, SeriesCount, Study, StudyState
from node.spool import Spool

log = structlog.get_logger()

LOOK_AGAIN_SECONDS = 1.0
"""How often a study that is still growing is looked at: an association elsewhere may have been released."""


class Judge(Protocol):
    """Says how long to wait for more of a study, from stand-ins of the series that have arrived."""

    def __call__(self, arrived: Sequence[Series], *, released: bool) -> QuietTime:
        """Judge a study; `released` says whether every association that brought it is over."""


def settle(
    studies: Studies, instances: Instances, spool: Spool, patience: Judge, *, clock: Callable[[], float] = time.time
) -> float | None:
    """Settle every study that is complete or quiet; return when to look again, None while nothing is being received.

    Its packs are synced first: what is stable is durable, whatever was promised to its sender. A study whose bytes are
    gone is parked.
    """
    waits: list[float] = []
    for study in studies.in_state(StudyState.RECEIVING):
        try:
            wait = _settle_one(studies, instances, spool, patience, study, clock)
        except BytesLost as error:
            log.error("study.lost", study=study.study_uid, reason=str(error))
            studies.lose(study, spool.holds)
            continue
        except (SpoolFull, SpoolAway) as error:
            log.error("study.unsynced", study=study.study_uid, reason=str(error))
            wait = LOOK_AGAIN_SECONDS
        if wait is not None:
            waits.append(min(max(wait, 0.0), LOOK_AGAIN_SECONDS))
        else:
            fault("assemble.settled")
    return min(waits, default=None)


def _settle_one(
    studies: Studies, instances: Instances, spool: Spool, patience: Judge, study: Study, clock: Callable[[], float]
) -> float | None:
    """Settle one study, or return how long it must wait."""
    marks = instances.packs(study.study_uid)
    arrived = [one for series in instances.series(study.study_uid) for one in stand_ins(spool, series)]
    wanted = patience(arrived, released=_released(instances, spool, marks))
    wait = study.changed_at + wanted.seconds - clock()
    if wait > 0:
        return wait
    spool.sync_packs(marks)
    return None if studies.settle(study, wanted.because) else 0.0


def _released(instances: Instances, spool: Spool, marks: Mapping[str, int]) -> bool:
    """Say whether every association that brought a study is over, and all that they brought has its row.

    A pack that was begun later and has no row yet may be the study's too: an association goes on in another pack when
    one is full, and several may bring one study.
    """
    if not all(spool.is_over(pack, mark) for pack, mark in marks.items()):
        return False
    later = spool.open_packs(since=min(marks, default=""))
    return later <= instances.pack_counts(later).keys()


def stand_ins(spool: Spool, series: SeriesCount) -> list[Series]:
    """Return what can be said of a series by its first instance: that instance's frames, as often as instances came.

    Nothing, where its pack cannot be read: the study settles when it is quiet, and is parked for it when it is planned.
    """
    try:
        sample = _sample(spool.part10(series.sample))
    except OSError:
        return []
    return [replace(one, frames=one.frames * series.instances) for one in sample]


@lru_cache(maxsize=1000)
def _sample(place: Part10) -> tuple[Series, ...]:
    try:
        return tuple(group_into_stacks([place]).series)
    except NotUnderstood:
        return ()
