"""A ledger whose file goes away under a running node: nothing is written where nobody finds it."""

from pathlib import Path

import pytest

from node.errors import ConfigError, LedgerLost
from node.ledger import Ledger
from node.receive import Arrivals
from node.records import Refusal
from node.spool import Spool

REFUSED = Refusal(at=0.0, sop_instance_uid="1", sop_class_uid="2", study_uid="3", calling="CT1", peer="", reason="why")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(file: Path) -> Ledger:
    return Ledger(f"sqlite:///{file}")


def test_a_file_that_is_deleted_is_noticed_at_the_next_read_and_write(ledger: Ledger, file: Path) -> None:
    file.unlink()
    with pytest.raises(LedgerLost, match=r"ledger\.db was deleted, moved or replaced .* put the file back"):
        ledger.instances.marks()
    with pytest.raises(LedgerLost), ledger.db.writing():
        pass
    assert not file.exists()


def test_a_file_that_is_replaced_is_noticed(ledger: Ledger, file: Path, tmp_path: Path) -> None:
    Ledger(f"sqlite:///{tmp_path / 'other.db'}").close()
    (tmp_path / "other.db").replace(file)
    with pytest.raises(LedgerLost), ledger.db.writing():
        pass


def test_a_file_that_is_put_back_is_used_again(ledger: Ledger, file: Path, tmp_path: Path) -> None:
    file.rename(tmp_path / "away.db")
    with pytest.raises(LedgerLost), ledger.db.writing():
        pass
    (tmp_path / "away.db").rename(file)
    with ledger.db.writing():
        pass


def test_instances_are_refused_at_once(ledger: Ledger, file: Path, spool: Spool) -> None:
    arrivals = Arrivals(ledger.studies, ledger.instances, spool, wake=lambda: None, group_seconds=0)
    file.unlink()
    arrivals.put(REFUSED)
    arrivals.record()
    with pytest.raises(LedgerLost):
        arrivals.check_ledger()


def test_a_damaged_file_is_said_to_be_damaged(file: Path) -> None:
    file.write_bytes(b"no database at all" * 100)
    with pytest.raises(ConfigError, match="it is damaged: restore it, or run isocenter ledger rebuild: the packs"):
        Ledger(f"sqlite:///{file}")
