"""Settle studies: a study becomes stable by what has arrived of it and by how long it has been quiet."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import structlog

from node.completeness import Ending, PackState, StudyEvidence
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

    def __call__(self, arrived: Sequence[Series], *, released: bool, receiving: bool, lacking: bool) -> QuietTime:
        """Judge a study.

        Parameters
        ----------
        released
            Whether every association that brought it was released, and all that they brought is here.
        receiving
            Whether an association still brings it.
        lacking
            Whether something of it is known to be missing.
        """


def settle(
    studies: Studies, instances: Instances, spool: Spool, patience: Judge, *, clock: Callable[[], float] = time.time
) -> float | None:
    """Settle every study that is complete or quiet; return when to look again, None while nothing is being received.

    Its packs are synced first: a stable study is durable in every mode of `receive.durability`. A study whose bytes are
    lost is parked.
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
    evidence = instances.evidence(study.study_uid)
    packs = Packs.of(evidence, instances, spool)
    if packs.unrecorded:
        return LOOK_AGAIN_SECONDS
    arrived = [header for series in instances.series(study.study_uid) for header in stand_ins(spool, series)]
    caveat = evidence.caveat
    wanted = patience(arrived, released=packs.released, receiving=packs.receiving, lacking=bool(caveat))
    wait = max(study.changed_at, evidence.at) + wanted.seconds - clock()
    if wait > 0:
        return wait
    spool.sync_packs(instances.packs(study.study_uid))
    because = "; ".join(filter(None, [wanted.because, caveat]))
    return None if studies.settle(study, because, caveat=caveat) else 0.0


@dataclass(frozen=True, slots=True)
class Packs:
    """The packs in which a study comes: what the spool tells of them, beside their rows.

    A pack that was begun later and has no row yet may be the study's too: an association goes on in another pack when
    one is full, and several may bring one study.

    Parameters
    ----------
    released
        Every association was released, or made good by a later one, and all that they brought has its row.
    receiving
        An association still brings the study.
    unrecorded
        Rows are still to come, or the row that tells how an association ended, or an instance is just being written.
    """

    released: bool
    receiving: bool
    unrecorded: bool

    @classmethod
    def of(cls, evidence: StudyEvidence, instances: Instances, spool: Spool) -> "Packs":
        """Look at the packs of a study."""
        failed = evidence.failed
        counting = [pack for pack in evidence.packs if not pack.failed or pack in failed]  # the others were made good
        opened = {pack.name for pack in evidence.packs if spool.is_open(pack.name)}
        later = spool.open_packs(since=min((pack.name for pack in evidence.packs), default=""))
        unknown = later - instances.known_packs(later)
        over = all(spool.is_over(pack.name, pack.mark) for pack in counting)
        left = all(pack.ended is Ending.RELEASED or not pack.association for pack in counting)
        return cls(
            released=over and left and not failed and not unknown,
            receiving=bool(opened) or bool(unknown and any(pack.ended is Ending.CONTINUED for pack in counting)),
            unrecorded=any(_unrecorded(pack, spool, opened) for pack in counting),
        )


def _unrecorded(pack: PackState, spool: Spool, opened: Collection[str]) -> bool:
    """Return whether rows of a pack are still to be written; they soon are, whether its writer lives or is dead."""
    size = spool.size(pack.name)
    if pack.name in opened:
        return size > pack.mark
    return bool(pack.association) and pack.ended is None and size > 0


def stand_ins(spool: Spool, series: SeriesCount) -> list[Series]:
    """Return what can be said of a series by its first instance: that instance's frames, as often as instances came.

    Nothing, where its pack cannot be read: the study settles when it is quiet, and is parked for it when it is planned.
    """
    try:
        sample = _sample(spool.part10(series.sample))
    except OSError:
        return []
    return [replace(header, frames=header.frames * series.instances) for header in sample]


@lru_cache(maxsize=1000)
def _sample(place: Part10) -> tuple[Series, ...]:
    try:
        return tuple(group_into_stacks([place]).series)
    except NotUnderstood:
        return ()
