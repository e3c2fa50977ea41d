"""Ledger, spool and the courier of job ids, as the settings name them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from node.errors import ConfigError
from node.ledger import JobQueue, Ledger, conninfo, read_url
from node.records import JOB_QUEUE, JOB_TASK
from node.settings import Settings

if TYPE_CHECKING:
    from node.engine import Courier
    from node.spool import Spool

# Spool and engine are imported where they are opened: `isocenter explain` needs the ledger only, and starts at once.
# procrastinate is an optional extra.


def open_ledger(settings: Settings) -> Ledger:
    """Open the ledger, and create it if it does not exist; ConfigError if it cannot be opened."""
    if settings.engine.kind == "local":
        return Ledger(settings.ledger.url)
    with _needs_procrastinate(settings):
        from node.engine.procrastinate import schema
    return Ledger(settings.ledger.url, queue=JobQueue(schema()))


def check_ledger_is_there(settings: Settings, spool: "Spool") -> None:
    """Raise ConfigError where the ledger's file is gone, and results in the spool show that there was one.

    A new ledger would have everything analysed and sent again.
    """
    address = read_url(settings.ledger.url)
    file = Path(address.database or "")
    if address.drivername == "sqlite" and not file.exists() and any(spool.objects.iterdir()):
        raise ConfigError(
            f"the ledger {file} is not there, and the spool {spool.path} holds results: put the ledger back, or run "
            "isocenter ledger rebuild"
        )


def open_courier(settings: Settings) -> "Courier | None":
    """Return what brings job ids from other processes to this one; None if the engine is "local".

    Raises
    ------
    ConfigError
        The engine needs what is not there: a PostgreSQL ledger, or procrastinate.
    """
    if settings.engine.kind == "local":
        return None
    with _needs_procrastinate(settings):
        from node.engine.procrastinate import Procrastinate
    return Procrastinate(conninfo(settings.ledger.url) or "", JOB_QUEUE, JOB_TASK)


def open_spool(settings: Settings, *, made: bool = False) -> "Spool":
    """Open the spool folder; ConfigError if it cannot be used.

    With `made`, the folder must exist and is not created: if it is away for now, a new folder would hide what is in it.
    """
    from node.spool import Spool

    return Spool(
        settings.spool.path,
        free_mark=settings.spool.free_mark_mb * 2**20,
        synced=settings.receive.durability == "power",
        made=made,
    )


@contextmanager
def _needs_procrastinate(settings: Settings) -> Iterator[None]:
    if conninfo(settings.ledger.url) is None:
        raise ConfigError(
            'engine.kind "procrastinate" needs a PostgreSQL ledger; set ledger.url to postgresql://…, or engine.kind '
            'to "local"'
        )
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(
            f'engine.kind "procrastinate" needs {error.name}, which is not installed: pip install '
            "'isocenter[procrastinate]'"
        ) from error
