"""A ledger in use is copied into one file, and a ledger is made of such a file; from either database to either."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from node.errors import ConfigError
from node.ledger import Ledger
from node.ledger.copying import closing_engine, load, save
from node.ledger.schema import process, tables


def rows(url: str) -> dict[str, list[str]]:
    with closing_engine(url) as engine, engine.connect() as connection:
        return {
            table.name: sorted(str(tuple(row)) for row in connection.execute(select(table)))
            for table in tables.sorted_tables
            if table is not process
        }


def test_a_ledger_of_either_database_is_copied_while_in_use_and_made_again_in_either(
    ledger: Ledger, ledger_url: str, empty_url: str, finish: Callable[..., None], tmp_path: Path
) -> None:
    finish()
    ledger.processes.report("host:17", roles="work", version="1", started_at=0, detail="")
    before = rows(ledger_url)
    with ledger.db.writing() as connection:  # another process is in the middle of something
        ledger.db.add_event(connection, "1.2.1", "half.done", "")
        save(ledger_url, tmp_path / "copy.db")
    assert [path.name for path in tmp_path.glob("copy.db*")] == ["copy.db"]
    load(tmp_path / "copy.db", empty_url)
    assert rows(empty_url) == before
    again = Ledger(empty_url)
    assert not again.processes.all()
    last = again.events.last()
    again.events.add("", "goes.on", "")
    assert again.events.last() > last
    again.close()
    with pytest.raises(ConfigError, match=r"there is a ledger already|with a ledger"):
        load(tmp_path / "copy.db", empty_url)


def test_a_ledger_that_is_not_there_or_damaged_is_not_copied(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no ledger"):
        save(f"sqlite:///{tmp_path / 'none.db'}", tmp_path / "copy.db")
    (tmp_path / "bad.db").write_bytes(b"no database" * 1000)
    with pytest.raises(ConfigError, match=r"bad\.db cannot be copied"):
        save(f"sqlite:///{tmp_path / 'bad.db'}", tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()
