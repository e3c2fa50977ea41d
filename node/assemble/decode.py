"""Decode compressed images while others of their study still arrive, so that its job need not decode them."""

import os
from collections.abc import Callable, Sequence
from functools import cache

import structlog

from node.assemble.settle import stand_ins
from node.errors import NodeError
from node.images.decoded import claim, drop, give_up, keep, sizes
from node.images.header_summary import read_summary
from node.images.part10 import Part10
from node.images.pixels import NATIVE, decode_early, early_bytes
from node.images.series import Series
from node.ledger.instances import Instances
from node.spool import Spool

log = structlog.get_logger()

BATCH = 16
"""Images that one process decodes: soon done, so that it does not go on when the job of their study has begun."""
LOWEST_PRIORITY = 19


def decode_due(
    instances: Instances,
    spool: Spool,
    wants: Callable[[Series], bool],
    decode: Callable[[Sequence[Part10]], object],
    *,
    limit: int,
) -> float | None:
    """Have the next images decoded of what is being received and wanted; return when to look again.

    `decode` does so in a process of its own, and leaves out what it cannot. All values together take no more than
    `limit` bytes, nor than stays free beyond the spool's mark. While there is no room nothing is decoded: what is there
    belongs to studies whose jobs come earlier. It goes when no job of its study waits or runs any more.
    """
    found = sizes(spool.decoded)
    kept = {pack: found[pack] for pack in instances.packs_in_use(found)}
    drop(spool.decoded, found.keys() - kept.keys())
    taken = sum(sum(files.values()) for files in kept.values())
    room = min(limit - taken, (spool.room - taken) // 2)
    if room < 0:
        log.warning("decoded.dropped", bytes=taken)
        drop(spool.decoded, kept)
        return None
    batch = _claimed(instances, spool, wants, kept, room)
    if not batch:
        return None
    try:
        decode(batch)
    except NodeError as error:
        log.warning("decode.ended", instances=len(batch), reason=str(error))
    return 0.0


def _claimed(
    instances: Instances, spool: Spool, wants: Callable[[Series], bool], kept: dict[str, dict[str, int]], room: int
) -> list[Part10]:
    """Claim the next images to decode, and return them."""
    wanted = cache(lambda study_uid: _wanted(instances, spool, wants, study_uid))
    batch: list[Part10] = []
    for row, place in instances.compressed(list(NATIVE)):
        if str(place.offset) in kept.get(place.pack, ()) or row.series_uid not in wanted(row.study_uid):
            continue
        note, part = read_summary(row.note), spool.part10(place, row.note)
        size = early_bytes(note.values) if note else 0
        if size > room or len(batch) == BATCH:
            break
        if size and claim(part, size):
            batch.append(part)
            room -= size
    return batch


def _wanted(instances: Instances, spool: Spool, wants: Callable[[Series], bool], study_uid: str) -> set[str]:
    """Return the series of a study that are wanted, by what has arrived of them."""
    found = set()
    for series in instances.series(study_uid):
        try:
            if any(map(wants, stand_ins(spool, series))):
                found.add(series.series_uid)
        except NodeError:  # its first instance cannot be read, as its study will tell
            continue
    return found


def decode(parts: Sequence[Part10]) -> None:
    """Decode images that were claimed, and keep their values; in a process that lets every other go first.

    What cannot be decoded is left to the job, which says why.
    """
    os.nice(LOWEST_PRIORITY)
    for part in parts:
        try:
            keep(part, decode_early(part))
        except (NodeError, OSError):
            give_up(part)
