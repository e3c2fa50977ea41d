"""A ledger that is lost or damaged is made again from the packs, and nothing is sent again unasked."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from node.app import Node
from node.commands.rebuild_ledger import rebuild
from node.errors import ConfigError
from node.ledger import Ledger
from node.records import StudyState
from node.settings import Settings
from node.spool import Spool
from node.testing import ct_series
from tests.packs import content, filled, numbered

DEVICE = "2.25.4711"
ANALYSED, NEW, PRIOR = "1.2.1", "1.2.2", "1.2.3"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "routes.toml").touch()
    return Settings(
        routes=tmp_path / "routes.toml",
        plugins=[],
        spool={"path": tmp_path / "spool"},
        ledger={"url": f"sqlite:///{tmp_path / 'ledger.db'}"},
    )


@pytest.fixture
def packs(spool: Spool) -> None:
    """Packs of three studies, of which one has results and one was fetched as a prior."""
    filled(spool, 3)
    for number, (study_uid, originator) in enumerate([(NEW, "WORKSTATION"), (PRIOR, "ISOCENTER")], 4):
        pack = spool.open_pack()
        pack.append(replace(numbered(number), study_uid=study_uid, originator=originator), content(number))
        pack.close()
    result = ct_series(slices=1)[0]
    result.DeviceSerialNumber = DEVICE
    spool.keep(ANALYSED, "0.dcm", b"half a result")
    spool.keep(ANALYSED, "1.dcm", lambda file: result.save_as(file, enforce_file_format=True))


def lose(file: Path) -> None:
    file.unlink()


def damage(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:4096] + b"\xff" * 8192)


def empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("harm", [lose, damage, empty])
def test_all_that_was_received_is_known_again(
    settings: Settings, packs: None, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    file = tmp_path / "ledger.db"
    Ledger(settings.ledger.url).close()
    harm(file)
    sentences = list(rebuild(settings))
    assert sentences[0].startswith("5 instances were found in the packs")
    ledger = Ledger(settings.ledger.url)
    states = {uid: found.state for uid in (ANALYSED, NEW, PRIOR) if (found := ledger.studies.find(uid)) is not None}
    assert states == {ANALYSED: StudyState.PARKED, NEW: StudyState.RECEIVING, PRIOR: StudyState.PRIOR}
    assert len(ledger.instances.of(ANALYSED)) == 3
    assert ledger.queries.device_uid() == DEVICE, "results that are made again have the UIDs that the PACS knows"
    (parked,) = ledger.queries.parked()
    assert f"isocenter requeue --study {ANALYSED} analyses it again" in parked[2]
    assert ledger.queries.requeue(ANALYSED)["studies"] == 1
    assert bool(list(tmp_path.glob("ledger.db.damaged-*"))) == (harm is not lose)


def test_a_sound_ledger_is_left_alone(settings: Settings, packs: None, tmp_path: Path) -> None:
    list(rebuild(settings))
    before = (tmp_path / "ledger.db").read_bytes()
    with pytest.raises(ConfigError, match="is sound and knows 5 instances: there is nothing to rebuild"):
        list(rebuild(settings))
    assert (tmp_path / "ledger.db").read_bytes() == before


def test_what_an_interrupted_rebuild_has_left_is_begun_anew(settings: Settings, packs: None, tmp_path: Path) -> None:
    (tmp_path / "ledger.db.new").write_bytes(b"half a file")
    assert next(iter(rebuild(settings))).startswith("5 instances")


def test_a_node_does_not_start_anew_where_results_show_that_a_ledger_is_gone(settings: Settings, packs: None) -> None:
    with pytest.raises(ConfigError, match=r"is not there, and the spool .* holds results: put the ledger back, or run"):
        Node(settings)
    list(rebuild(settings))
    Node(settings).ledger.close()
