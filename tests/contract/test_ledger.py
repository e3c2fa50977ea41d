"""The ledger as a file or a database: URL, durability, restart, two processes. For every database."""

from dataclasses import replace
from pathlib import Path

import pytest

from node.errors import ConfigError
from node.ledger import Ledger
from node.records import (
    StudyState,
)
from tests.ledger_rows import STUDY, Arrive, Make, Want, claimed, refusal, study


def test_all_of_it_survives_a_restart(ledger_url: str, arrival: Arrive, wanted: Want, result: Make) -> None:
    first = Ledger(ledger_url)
    first.instances.record([arrival(1)], [refusal()])
    first.studies.settle(study(first), "quiet")
    first.studies.plan(study(first), [], [wanted()])
    first.jobs.finish(claimed(first), [result(1)])
    before = (
        study(first),
        first.instances.of(STUDY),
        first.jobs.of(STUDY),
        first.deliveries.of(STUDY),
        first.events.read(),
    )
    first.close()
    again = Ledger(ledger_url)
    assert before == (
        study(again), again.instances.of(STUDY), again.jobs.of(STUDY), again.deliveries.of(STUDY), again.events.read(),
    )  # fmt: skip
    assert again.instances.marks() == {"a.pack": arrival(1).end}
    assert again.queries.refusals() == [refusal()]
    again.close()


def test_what_is_committed_is_on_the_disk(ledger: Ledger) -> None:
    """SQLite: WAL with synchronous FULL. A commit survives the loss of power."""
    with ledger.db.reading() as connection:
        if connection.dialect.name == "postgresql":
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
            assert connection.exec_driver_sql("SHOW transaction_isolation").scalar() == "read committed"
            return
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "is no database URL such as sqlite:////path/ledger.db"),
        ("mysql://host/db", r"only sqlite:///… and postgresql://… are understood"),
        ("sqlite://", "names no file; the rows must outlive the program"),
        (
            "postgresql://me:secret@127.0.0.1:1/ledger",
            r"me:\*\*\*@127.0.0.1:1/ledger cannot be opened: .*start the server",
        ),
        ("sqlite:////proc/nowhere/ledger.db", "cannot be opened: unable to open database file; name a writable place"),
    ],
)
def test_a_url_that_names_no_ledger_is_an_error(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        Ledger(url)
    assert str(error.value).startswith("ledger.url ")
    assert "secret" not in str(error.value)


def test_a_file_that_is_no_ledger_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database " * 100)
    with pytest.raises(ConfigError, match="file is not a database"):
        Ledger(f"sqlite:///{tmp_path / 'notes.txt'}")


def test_two_processes_share_a_ledger(ledger: Ledger, ledger_url: str, arrival: Arrive) -> None:
    other = Ledger(ledger_url)
    ledger.instances.record([arrival(1)])
    assert not other.instances.record([arrival(1)])
    assert other.studies.settle(study(other), "")
    assert not ledger.studies.settle(replace(study(ledger), state=StudyState.RECEIVING), "")
    other.close()


def test_the_story_can_be_followed_from_any_event_on(ledger: Ledger) -> None:
    ledger.events.add(STUDY, "study.remark", "one")
    ((first, event),) = ledger.events.read(STUDY)
    assert (event.name, event.detail) == ("study.remark", "one")
    ledger.events.add("1.2.2", "study.remark", "two")
    assert [event.detail for _, event in ledger.events.read(after=first)] == ["two"]
    assert ledger.events.read(STUDY, after=first) == []
