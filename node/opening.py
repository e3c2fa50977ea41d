"""Ledger and spool as the settings name them: what every process of a node opens."""

from node.ledger import Ledger
from node.settings import Settings
from node.spool import Spool


def open_ledger(settings: Settings) -> Ledger:
    """Open the ledger, made where it does not exist; ConfigError where it cannot be."""
    return Ledger(settings.ledger.url)


def open_spool(settings: Settings) -> Spool:
    """Open the spool folder; ConfigError where it cannot be used."""
    return Spool(
        settings.spool.path,
        free_mark=settings.spool.free_mark_mb * 2**20,
        synced=settings.receive.durability == "power",
    )
