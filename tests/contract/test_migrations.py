"""An opened ledger has this program's schema, whoever made it; of several programs at once, one migrates it."""

import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from node.errors import ConfigError
from node.ledger import Ledger, database, migrations
from node.ledger.schema import tables
from node.records import StudyState

ONLY_FOR_READERS = {"modify_comment", "add_table_comment", "remove_table_comment"}


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    engine = database._engine(database.read_url(url), seconds=5)
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        yield connection
    engine.dispose()


def differences(url: str) -> list[object]:
    """What the tables of schema.py have and the migrations do not make, or the other way round."""
    with connected(url) as connection:
        found = compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), tables)
    flat = [operation for change in found for operation in (change if isinstance(change, list) else [change])]
    return [operation for operation in flat if operation[0] not in ONLY_FOR_READERS]


def made_before_there_were_migrations(url: str) -> None:
    """A ledger of the first version: its tables, a row, and no word of Alembic."""
    with connected(url) as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(migrations._folder()))
        command.upgrade(config, migrations.FIRST)
        connection.execute(text("DROP TABLE alembic_version"))
        connection.execute(text("INSERT INTO study VALUES ('1.2.1', 'stable', 3, 17.5, 'quiet')"))


def open_at_once(url: str, ready: object) -> None:
    ready.wait()  # type: ignore[attr-defined]
    Ledger(url).close()


def test_migrations_make_the_tables_of_the_schema(empty_url: str) -> None:
    Ledger(empty_url).close()
    assert differences(empty_url) == []


def test_that_comparison_sees_what_is_missing(empty_url: str) -> None:
    Ledger(empty_url).close()
    with connected(empty_url) as connection:
        connection.execute(text("DROP INDEX delivery_in_state"))
        connection.execute(text("ALTER TABLE job ADD COLUMN more INTEGER"))
    assert len(differences(empty_url)) == 2


def test_migrations_form_one_chain() -> None:
    """Two that follow the same one, from two branches, are to be put in order."""
    assert migrations._script().get_heads() == [migrations.newest()]
    assert migrations._script().get_base() == migrations.FIRST


def test_a_ledger_of_the_first_version_is_migrated_with_its_rows(empty_url: str) -> None:
    made_before_there_were_migrations(empty_url)
    assert differences(empty_url)
    ledger = Ledger(empty_url)
    (study,) = ledger.studies.in_state(StudyState.STABLE)
    assert (study.study_uid, study.revision, study.changed_at) == ("1.2.1", 3, 17.5)
    ledger.close()
    assert differences(empty_url) == []


def test_each_ledger_has_a_uid_of_its_own_and_keeps_it(empty_url: str, tmp_path: Path) -> None:
    made_before_there_were_migrations(empty_url)
    first, again = (_device_uid(empty_url) for _ in range(2))
    assert first == again
    assert re.fullmatch(r"2\.25\.[1-9]\d{20,38}", first)
    assert first != _device_uid(f"sqlite:///{tmp_path / 'other.db'}")


def _device_uid(url: str) -> str:
    ledger = Ledger(url)
    try:
        return ledger.queries.device_uid()
    finally:
        ledger.close()


def test_an_instance_of_an_older_ledger_is_one_of_its_study_afterwards(empty_url: str) -> None:
    with connected(empty_url) as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(migrations._folder()))
        command.upgrade(config, "0008")
        old = {"sop_instance_uid": "1.2.9", "sop_class_uid": "1", "study_uid": "1.2.1", "series_uid": "1.2.1.1"}
        old |= {"modality": "CT", "transfer_syntax_uid": "1", "calling": "CT1", "peer": "", "received_at": 17.5}
        old |= {"checksum": 7, "pack": "a.pack", "offset": 32, "length": 900, "lost": True, "note": "noted"}
        connection.execute(tables.tables["instance"].insert().values(old))
    Ledger(empty_url).close()
    with connected(empty_url) as connection:
        key = inspect(connection).get_pk_constraint("instance")["constrained_columns"]
        assert key == ["sop_instance_uid", "study_uid"]
        connection.execute(tables.tables["instance"].insert().values(old | {"study_uid": "1.2.2", "lost": False}))
        rows = connection.execute(tables.tables["instance"].select()).mappings().all()
    assert {row["study_uid"]: (row["received_at"], row["lost"], row["note"]) for row in rows} == {
        "1.2.1": (17.5, True, "noted"),
        "1.2.2": (17.5, False, "noted"),
    }


def test_a_ledger_of_a_newer_program_is_left_alone(empty_url: str) -> None:
    Ledger(empty_url).close()
    with connected(empty_url) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(
        ConfigError, match=rf"a newer isocenter wrote it \(schema 9999; this one knows {migrations.newest()}\)"
    ):
        Ledger(empty_url)


def test_a_migration_that_fails_leaves_the_ledger_as_it_was(empty_url: str) -> None:
    made_before_there_were_migrations(empty_url)
    with connected(empty_url) as connection:
        connection.execute(text("CREATE INDEX delivery_in_state ON delivery (state)"))
    with pytest.raises(ConfigError, match="already exists"):
        Ledger(empty_url)
    with connected(empty_url) as connection:
        assert "asks" not in [column["name"] for column in inspect(connection).get_columns("delivery")]
        assert not inspect(connection).has_table("alembic_version")
        connection.execute(text("DROP INDEX delivery_in_state"))
    Ledger(empty_url).close()
    assert differences(empty_url) == []


@pytest.mark.parametrize("old", [True, False])
def test_programs_that_start_at_once_migrate_a_ledger_once(empty_url: str, old: bool) -> None:
    if old:
        made_before_there_were_migrations(empty_url)
    spawn = get_context("spawn")
    ready = spawn.Barrier(4)
    programs = [spawn.Process(target=open_at_once, args=(empty_url, ready)) for _ in range(4)]
    for program in programs:
        program.start()
    for program in programs:
        program.join(60)
    assert [program.exitcode for program in programs] == [0] * 4
    assert differences(empty_url) == []


def test_a_program_that_starts_waits_for_one_that_migrates(empty_url: str) -> None:
    """Longer than a statement waits for another's transaction."""
    faults: list[ConfigError] = []

    def start() -> None:
        try:
            Ledger(empty_url, busy_seconds=0.05).close()
        except ConfigError as error:
            faults.append(error)

    other = threading.Thread(target=start)
    with held(empty_url):
        other.start()
        other.join(0.5)
        assert other.is_alive(), "it waits"
    other.join(30)
    assert faults == []
    assert differences(empty_url) == []


@contextmanager
def held(url: str) -> Iterator[None]:
    """Another program is migrating."""
    if url.startswith("sqlite"):
        holder = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        holder.execute("PRAGMA journal_mode = WAL")
        holder.execute("BEGIN IMMEDIATE")
        yield
        holder.rollback()
        holder.close()
        return
    with psycopg.connect(url) as connection:
        connection.execute(f"SELECT pg_advisory_xact_lock({migrations.LOCK})")
        yield
