"""The file of an SQLite ledger: whether it is still the file that was opened."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL

from node.errors import LedgerLost

DAMAGED = ("file is not a database", "database disk image is malformed")
"""What SQLite says of a damaged file (SQLITE_NOTADB, SQLITE_CORRUPT)."""


@dataclass(frozen=True, slots=True)
class LedgerFile:
    """The file that was opened, by device and inode.

    A file that is deleted or replaced while it is open can still be written, and all that is written is lost.
    """

    path: Path
    identity: tuple[int, int]

    @classmethod
    def of(cls, url: URL) -> "LedgerFile | None":
        """Return the file of a ledger that was opened; None for PostgreSQL."""
        if url.drivername != "sqlite":
            return None
        path = Path(url.database or "")
        return cls(path, _identity(path))

    def check(self) -> None:
        """Raise LedgerLost where the path no longer leads to the file."""
        try:
            same = _identity(self.path) == self.identity
        except OSError:
            same = False
        if not same:
            raise LedgerLost(
                f"the ledger {self.path} was deleted, moved or replaced while the node ran: stop the node, put the "
                "file back, start the node again"
            )


def count_sound_rows(file: Path) -> int:
    """Return how many instances an SQLite ledger knows; 0 where there is none, or its file is damaged."""
    if not file.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)) as connection:
            if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                return 0
            return int(connection.execute("SELECT count(*) FROM instance").fetchone()[0])
    except sqlite3.DatabaseError:
        return 0


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
