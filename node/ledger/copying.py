"""A consistent copy of a ledger that is in use, as one SQLite file; and a ledger made of such a copy.

The copy of a PostgreSQL ledger is an SQLite file, too: no program of the server is needed, and a node can move from
one kind of database to the other.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, Integer, NullPool, create_engine, delete, func, insert, inspect, select
from sqlalchemy.exc import DBAPIError

from node.errors import ConfigError, LedgerUnavailable
from node.ledger.database import read_url
from node.ledger.ledger import Ledger
from node.ledger.schema import node, process, tables

BATCH = 1000
SOUND = ("ok",)


def save(url: str, file: Path) -> None:
    """Write a copy of a ledger into a new file, as it is at one moment, whatever is written to it meanwhile.

    Raises
    ------
    ConfigError
        There is no ledger at the URL, or it is damaged.
    LedgerUnavailable
        The database does not answer.
    """
    address = read_url(url)
    if address.drivername == "sqlite":
        _copy_file(Path(address.database or ""), file)
        return
    Ledger(url).close()  # now it has this program's schema
    Ledger(f"sqlite:///{file}").close()
    with _at_one_moment(url) as source, _filled(f"sqlite:///{file}") as target:
        _copy_rows(source, target)
    with closing(sqlite3.connect(file)) as copy:
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it


def load(file: Path, url: str) -> None:
    """Make a ledger of a copy, with this program's schema; no process is noted to run on it.

    Raises
    ------
    ConfigError
        There is a ledger at the URL already, the copy is damaged, or a newer program has written it.
    """
    check_empty(url)
    address = read_url(url)
    if address.drivername == "sqlite":
        _copy_file(file, Path(address.database or ""))
        Ledger(url).close()
    else:
        Ledger(f"sqlite:///{file}").close()
        Ledger(url).close()
        with _at_one_moment(f"sqlite:///{file}") as source, _filled(url) as target:
            _copy_rows(source, target)
            _go_on_counting(target)
    with _filled(url) as target:
        target.execute(delete(process))


def check_empty(url: str) -> None:
    """Raise ConfigError where a URL names a ledger that has been used."""
    address = read_url(url)
    if address.drivername == "sqlite":
        if Path(address.database or "").exists():
            raise ConfigError(f"there is a ledger already: {address.database}; move it away, or name another place")
        return
    with closing_engine(url) as engine, _database_there(url), engine.connect() as connection:
        if inspect(connection).has_table("study"):
            raise ConfigError(
                f"ledger.url {address.render_as_string()} names a database with a ledger; name an empty one"
            )


def _copy_file(source: Path, target: Path) -> None:
    if not source.is_file():
        raise ConfigError(f"there is no ledger {source}; correct ledger.url")
    target.touch(mode=0o600, exist_ok=False)
    try:
        with closing(sqlite3.connect(source, timeout=60)) as original, closing(sqlite3.connect(target)) as copy:
            original.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
            if copy.execute("PRAGMA quick_check(1)").fetchone() != SOUND:
                raise ConfigError(f"the ledger {source} is damaged; isocenter ledger rebuild makes it again")
    except sqlite3.DatabaseError as error:
        target.unlink(missing_ok=True)
        raise ConfigError(f"the ledger {source} cannot be copied: {error}") from error


@contextmanager
def closing_engine(url: str) -> Iterator[Engine]:
    """Open a database without a pool, and close it at the end of the block."""
    engine = create_engine(read_url(url), poolclass=NullPool)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def _database_there(url: str) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        said = str(error.orig).strip().partition("\n")[0]
        raise LedgerUnavailable(f"the ledger {read_url(url).render_as_string()} cannot be used: {said}") from error


@contextmanager
def _at_one_moment(url: str) -> Iterator[Connection]:
    """Open a transaction that reads everything as it was when it began."""
    with closing_engine(url) as engine, _database_there(url), engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            yield connection


@contextmanager
def _filled(url: str) -> Iterator[Connection]:
    """Open a transaction that is committed at the end of the block."""
    with closing_engine(url) as engine, _database_there(url), engine.begin() as connection:
        yield connection


def _copy_rows(source: Connection, target: Connection) -> None:
    """Copy all rows of all tables, those that others refer to first; the UID of the node is that of the source."""
    target.execute(delete(node))
    for table in tables.sorted_tables:
        rows = source.execution_options(yield_per=BATCH).execute(select(table)).mappings()
        for some in rows.partitions(BATCH):
            target.execute(insert(table), [dict(row) for row in some])


def _go_on_counting(connection: Connection) -> None:
    """Have PostgreSQL number new rows after the copied ones."""
    for table in tables.sorted_tables:
        (key, *more) = table.primary_key.columns
        if more or not isinstance(key.type, Integer):
            continue
        sequence = func.pg_get_serial_sequence(table.name, key.name)
        last = connection.execute(select(func.max(key))).scalar()
        if last is not None and connection.execute(select(sequence)).scalar():
            connection.execute(select(func.setval(sequence, last)))
