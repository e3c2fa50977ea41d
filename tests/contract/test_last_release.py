"""What a node of the last release left, ledger and spool, is understood: told, read, recovered, backed up.

`tests/releases/0.2.0` was written by version 0.2.0: a synthetic CT of six slices, which was not suitable for
`ct_lung`, and the report that its stand-in PACS received. A release adds its own folder.
"""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from node.commands.explain import explain
from node.images.stacks import group_into_stacks
from node.ledger import Ledger
from node.ledger.copying import load, save
from node.receive import Arrivals
from node.records import DeliveryState, JobState
from node.spool import Spool
from tests.peers import ROOT

RELEASE = ROOT / "tests" / "releases" / "0.2.0"
STUDY = "2.25.241331018020181337692806619931745832473"
REPORT = "2.25.89588195474364649672151698066738565572"
SLICES = 6


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The ledger, as the last release left it."""
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as made:
        made.executescript((RELEASE / "ledger.sql").read_text(encoding="utf-8"))
    return tmp_path / "ledger.db"


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "spool")
    for pack in RELEASE.glob("*.pack"):
        shutil.copy(pack, spool.packs)
    (spool.objects / STUDY).mkdir()
    shutil.copy(RELEASE / f"{REPORT}.dcm", spool.objects / STUDY)
    return spool


@pytest.fixture
def opened(file: Path) -> Iterator[Ledger]:
    ledger = Ledger(f"sqlite:///{file}")
    yield ledger
    ledger.close()


def test_the_study_is_told_with_its_job_and_its_delivery(opened: Ledger) -> None:
    (job,), (delivery,) = opened.jobs.of(STUDY), opened.deliveries.of(STUDY)
    assert (job.state, job.version, delivery.state) == (JobState.DONE, "1.0.0", DeliveryState.DELIVERED)
    told = "\n".join(explain(opened, STUDY))
    assert f"SR {REPORT} to PACS: delivered" in told
    assert "✓ every CT" in told
    assert "not suitable, because the images cover only 15 mm" in told


def test_its_images_are_read_with_the_notes_of_then(opened: Ledger, spool: Spool) -> None:
    parts = [spool.part10(place, row.note) for row, place in opened.instances.of(STUDY)]
    (ct,) = group_into_stacks(parts).series
    assert ct.volume().array.shape == (SLICES, 16, 16)


def test_rows_that_are_missing_are_recovered_from_its_packs(file: Path, spool: Spool) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("DELETE FROM instance")
        connection.execute("UPDATE pack SET mark = 0")
    ledger = Ledger(f"sqlite:///{file}")
    assert Arrivals(ledger.studies, ledger.instances, spool, wake=lambda: None).recover() == SLICES
    assert len(ledger.instances.of(STUDY)) == SLICES
    ledger.close()


def test_it_is_backed_up_before_the_upgrade_and_restored_after_it(file: Path, tmp_path: Path) -> None:
    save(f"sqlite:///{file}", tmp_path / "copy.db")
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0008",)
    load(tmp_path / "copy.db", f"sqlite:///{tmp_path / 'new.db'}")
    ledger = Ledger(f"sqlite:///{tmp_path / 'new.db'}")
    assert [job.plugin for job in ledger.jobs.of(STUDY)] == ["ct_lung"]
    ledger.close()
