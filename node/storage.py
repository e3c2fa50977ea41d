"""Ledger and spool as the settings name them: what every process of a node opens."""

from importlib import import_module
from typing import Any

from node.errors import ConfigError
from node.ledger import JobQueue, Ledger, conninfo
from node.settings import Settings
from node.spool import Spool


def open_ledger(settings: Settings) -> Ledger:
    """Open the ledger, made where it does not exist; ConfigError where it cannot be."""
    if settings.engine.kind == "local":
        return Ledger(settings.ledger.url)
    return Ledger(settings.ledger.url, queue=JobQueue(procrastinate(settings).schema()))


def procrastinate(settings: Settings) -> Any:
    """Import what speaks to procrastinate, which is an optional extra; ConfigError where it cannot be had."""
    if conninfo(settings.ledger.url) is None:
        raise ConfigError(
            'engine.kind "procrastinate" needs a PostgreSQL ledger; set ledger.url to postgresql://…, or engine.kind '
            'to "local"'
        )
    try:
        return import_module("node.engine.procrastinate")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f'engine.kind "procrastinate" needs {error.name}, which is not installed: pip install '
            "'isocenter[procrastinate]'"
        ) from error


def open_spool(settings: Settings, *, made: bool = False) -> Spool:
    """Open the spool folder; ConfigError where it cannot be used.

    Who knows that it was `made` makes none anew: it may be away, and a new one would hide what is in it.
    """
    return Spool(
        settings.spool.path,
        free_mark=settings.spool.free_mark_mb * 2**20,
        synced=settings.receive.durability == "power",
        made=made,
    )
