"""Make a ledger again that is damaged or lost, from the packs in the spool: they say what was received."""

import time
from collections.abc import Iterator
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

from node.errors import ConfigError
from node.ledger import Ledger, count_sound_rows, read_url
from node.receive import Arrivals
from node.settings import Settings
from node.spool import Spool
from node.storage import open_ledger, open_spool

UNREADABLE = (InvalidDicomError, OSError, ValueError, AttributeError)
LOG_FILES = ("", "-wal", "-shm")
"""Ends of the names of an SQLite database and of its two files beside it."""


def rebuild(settings: Settings) -> Iterator[str]:
    """Rebuild the ledger while no node runs, and yield what was done, sentence by sentence.

    A file is built beside the ledger and takes its place at the end: when it is interrupted, nothing has changed.

    Raises
    ------
    ConfigError
        The ledger is sound and has rows: there is nothing to rebuild.
    """
    spool, address = open_spool(settings), read_url(settings.ledger.url)
    if address.drivername != "sqlite":
        ledger = open_ledger(settings)
        if ledger.rebuilding.count_instances():
            raise ConfigError("ledger.url names a PostgreSQL database with rows; restore it, or name an empty database")
        yield from _read_packs(ledger, spool, settings)
        spool.free_job_numbers()
        return
    file = Path(address.database or "")
    _check_damaged(file)
    new = file.with_name(f"{file.name}.new")
    _remove(new)
    ledger = Ledger(f"sqlite:///{new}")
    sentences = list(_read_packs(ledger, spool, settings))
    ledger.close()
    aside = f"{file.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}"
    for end in LOG_FILES:
        old = file.with_name(file.name + end)
        if old.exists():
            old.rename(file.with_name(aside + end))
            sentences.append(f"{old} is kept as {aside}{end}")
    spool.free_job_numbers()
    new.rename(file)
    yield from sentences


def _read_packs(ledger: Ledger, spool: Spool, settings: Settings) -> Iterator[str]:
    found = Arrivals(ledger.studies, ledger.instances, spool, wake=lambda: None).recover()
    priors = ledger.rebuilding.keep_priors(settings.receive.address.ae_title)
    parked = ledger.rebuilding.park_analysed(spool.studies_with_results())
    uid = device_uid(spool)
    if uid:
        ledger.rebuilding.name_node(uid)
    yield f"{found} instances were found in the packs of {spool.path}"
    if priors:
        yield f"{priors} studies came only because this node asked for them, and are kept as priors"
    yield (
        f"{parked} studies had results already and are parked: nobody knows which results were delivered. "
        "isocenter requeue analyses them again; the same images, plugin and models give the same UIDs and bytes, "
        "but not where a study had several revisions"
    )
    if parked and not uid and not settings.device_uid:
        yield "the UID of this node is not known any more: results that are made again have other UIDs"
    yield "all other studies are analysed when the node starts. Not known any more: jobs, deliveries, refusals, stories"


def device_uid(spool: Spool) -> str:
    """Return the UID of this node as a result in the spool names it (Device Serial Number); empty without one."""
    for file in sorted(spool.objects.glob("*/*")):
        try:
            found = str(dcmread(file, specific_tags=["DeviceSerialNumber"]).get("DeviceSerialNumber") or "")
        except UNREADABLE:
            continue
        if UID(found).is_valid:
            return found
    return ""


def _check_damaged(file: Path) -> None:
    """Raise ConfigError where a ledger is sound and has rows."""
    rows = count_sound_rows(file)
    if rows:
        raise ConfigError(f"the ledger {file} is sound and knows {rows} instances: there is nothing to rebuild")


def _remove(file: Path) -> None:
    for end in LOG_FILES:
        file.with_name(file.name + end).unlink(missing_ok=True)
