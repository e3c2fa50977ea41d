"""The database under the ledger: transactions, and the only function by which a row changes its state."""

import os
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    NullPool,
    Table,
    create_engine,
    insert,
    select,
    update,
)
from sqlalchemy import (
    event as engine_event,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from node.errors import ConfigError, LedgerRefused, LedgerUnavailable
from node.faults import fault
from node.ledger.job_queue import JobQueue
from node.ledger.ledger_file import DAMAGED, LedgerFile
from node.ledger.migrations import upgrade
from node.ledger.schema import (
    event,
    study,
)

PRIVATE_FILE = 0o600
BUSY_SECONDS = 5.0
"""How long a statement waits for another process's transaction."""
MIGRATION_SECONDS = 600.0
"""How long a program that starts waits for another that is migrating the ledger."""
EVENTS = "events"
"""Where a connection keeps the events of its transaction until it is committed."""
LOOKUP = 500
"""UIDs in one statement; old builds of SQLite bind at most 999."""
DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
SESSION = {"lock_timeout": f"{BUSY_SECONDS:.0f}s", "idle_in_transaction_session_timeout": "60s"}
"""A process that hangs in a transaction must not hold up the others: PostgreSQL ends it."""
POSTGRESQL = {
    "application_name": "isocenter",
    "connect_timeout": "5",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
    "options": " ".join(f"-c {name}={value}" for name, value in SESSION.items()),
}
"""Defaults of a connection to PostgreSQL: the loss of a server is noticed within half a minute."""


Item = TypeVar("Item")


class Database:
    """Transactions on the ledger's tables, which the parts of the ledger share.

    Several processes and threads use it at once. On SQLite one writes at a time. On PostgreSQL (READ COMMITTED) whoever
    changes more of a study than one row holds the study's row first, see `hold`.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], float] = time.time,
        queue: JobQueue | None = None,
        busy_seconds: float = BUSY_SECONDS,
    ) -> None:
        self.clock = clock
        self.listener: Callable[[str, str, str, Mapping[str, Any]], None] = lambda *_: None
        self.queue = queue
        address = read_url(url)
        shown = address.render_as_string()
        self._engine = _engine(address, seconds=busy_seconds)
        once = _engine(address, seconds=MIGRATION_SECONDS, poolclass=NullPool)
        try:
            upgrade(once)
            if queue is not None:
                queue.prepare(once)
        except DBAPIError as error:
            mend = _mend(address, error)
            raise ConfigError(f"ledger.url {shown} cannot be opened: {_said(error)}; {mend}") from error
        except ConfigError as error:
            raise ConfigError(f"ledger.url {shown} cannot be opened: {error}") from error
        self._file = LedgerFile.of(address)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def add_event(self, connection: Connection, study_uid: str, name: str, detail: str, **facts: object) -> None:
        """Add an event to the history of a study; `listener` is called with it and the facts once it is committed."""
        connection.execute(insert(event).values(at=self.clock(), study_uid=study_uid, name=name, detail=detail))
        connection.info.setdefault(EVENTS, []).append((study_uid, name, detail, facts))

    def announce(self, connection: Connection, jobs: Iterable[Any]) -> None:
        """Put the ids of waiting jobs into the engine's queue, if it has one; a rollback takes them back."""
        if self.queue is not None:
            self.queue.put(connection, jobs, now=self.clock())

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a connection to read with; LedgerUnavailable while the database cannot be used."""
        self._check_file()
        with _database_errors(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction, committed at the end of the block; LedgerRefused where the database refuses a value."""
        self._check_file()
        with (
            _database_errors(),
            self._engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            events = connection.info[EVENTS] = []
            yield connection
            fault("ledger.commit")
        for happened in events:
            self.listener(*happened)

    def _check_file(self) -> None:
        if self._file is not None:
            self._file.check()


class LedgerPart:
    """A part of the ledger, on the database that all parts share."""

    def __init__(self, db: Database) -> None:
        self.db = db


def read_url(text: str) -> URL:
    """Read `sqlite:////path` or `postgresql://user:password@host/name`; ConfigError where it is neither."""
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise ConfigError(
            "ledger.url is no database URL such as sqlite:////path/ledger.db or postgresql://user@host/name"
        ) from error
    shown = url.render_as_string()
    driver = DRIVERS.get(url.drivername.partition("+")[0])
    if driver is None:
        raise ConfigError(f"ledger.url {shown!r}: only sqlite:///… and postgresql://… are understood")
    if driver == "sqlite" and url.database in (None, "", ":memory:"):
        raise ConfigError(f"ledger.url {shown!r} names no file; the rows must outlive the program")
    return url.set(drivername=driver)


def conninfo(url: str) -> str | None:
    """Return the connection string of libpq for a PostgreSQL ledger, with the node's own options; None for SQLite."""
    address = read_url(url)
    if address.drivername == "sqlite":
        return None
    from psycopg.conninfo import make_conninfo

    own = {name: value for name, value in POSTGRESQL.items() if name not in address.query}
    return make_conninfo(address.set(drivername="postgresql").render_as_string(hide_password=False), **own)


def _engine(url: URL, *, seconds: float, **options: Any) -> Engine:
    if url.drivername == "sqlite":
        _keep_private(Path(url.database or ""))
        engine = create_engine(url, connect_args={"timeout": seconds}, **options)
        engine_event.listen(engine, "connect", _prepare_sqlite)
        engine_event.listen(engine, "begin", _begin_sqlite)
        return engine
    own = {name: value for name, value in POSTGRESQL.items() if name not in url.query}
    if "poolclass" not in options:
        options |= {"pool_size": 4, "max_overflow": 28, "pool_timeout": seconds, "pool_pre_ping": True}
    return create_engine(url, connect_args=own, isolation_level="READ COMMITTED", **options)


def insert_or(connection: Connection, table: Table) -> Any:
    """Return the INSERT of the database at hand, which has `on_conflict_do_nothing` and `on_conflict_do_update`."""
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert

        return insert(table)
    from sqlalchemy.dialects.postgresql import insert as insert_into_postgresql

    return insert_into_postgresql(table)


def groups(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield items in lists of at most `size`."""
    left = iter(items)
    while some := list(islice(left, size)):
        yield some


def hold(connection: Connection, study_uids: Iterable[str]) -> None:
    """Hold the rows of studies until the transaction ends, so that all that is of a study changes in turn.

    Always in the order of their UIDs: two transactions that need the same rows wait, but cannot deadlock. SQLite has
    one writer at a time, and no such clause.
    """
    uids = sorted(study_uids)
    for start in range(0, len(uids), LOOKUP):
        some = select(study.c.study_uid).where(study.c.study_uid.in_(uids[start : start + LOOKUP]))
        connection.execute(some.order_by(study.c.study_uid).with_for_update())


@contextmanager
def _database_errors() -> Iterator[None]:
    try:
        yield
    except (IntegrityError, DataError) as error:
        raise LedgerRefused(f"the ledger cannot hold it: {_said(error)}") from error
    except DBAPIError as error:
        raise LedgerUnavailable(f"the ledger cannot be used just now: {_said(error)}") from error
    except NoConnectionFree as error:
        raise LedgerUnavailable("the ledger cannot be used just now: all connections to it are in use") from error


def _said(error: DBAPIError) -> str:
    """Return the first line of a database error; the other lines repeat it, or quote values."""
    return str(error.orig).strip().partition("\n")[0]


def _mend(url: URL, error: DBAPIError) -> str:
    if any(words in _said(error) for words in DAMAGED):
        return (
            "it is damaged: restore it, or run isocenter ledger rebuild: the packs of the spool say what was received"
        )
    if url.drivername == "sqlite":
        return "name a writable place"
    return "start the server, or correct the URL, and see that the user may create tables"


def _keep_private(file: Path) -> None:
    """Have only the owner read the ledger: it names patients. SQLite gives its log the same permissions."""
    with suppress(OSError):  # the connection says why the file cannot be opened; another user's file stays as it is
        if file.exists():  # and is not opened here: to close it would end SQLite's locks in this process (fcntl(2))
            file.chmod(PRIVATE_FILE)
        else:
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, PRIVATE_FILE))


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we begin transactions ourselves, see _begin_sqlite
    _keep_a_log(connection, until=time.monotonic() + BUSY_SECONDS)
    for pragma in ("synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _keep_a_log(connection: Any, *, until: float) -> None:
    """Have a file written ahead (WAL); of programs that make a new one at once, SQLite lets all but one fail here."""
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    """Take SQLite's write lock at the start: a transaction that reads first could not be upgraded under load."""
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def make_move(
    connection: Connection,
    table: Table,
    which: Any,
    move: str,
    moves: Mapping[Any, StrEnum],
    values: Mapping[str, object],
) -> list[Any]:
    """Make one move wherever the transition table allows it, and return the rows that made it."""
    by_target: defaultdict[StrEnum, list[StrEnum]] = defaultdict(list)
    for (source, name), target in moves.items():
        if name == move:
            by_target[target].append(source)
    moved: list[Any] = []
    for target, sources in by_target.items():
        statement = update(table).where(which, table.c.state.in_(sources)).values({**values, "state": target})
        moved.extend(connection.execute(statement.returning(*table.c)).all())
    return moved
