"""What holds images and names is for the node's user alone, and a demo empties no other folder than its own."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.commands.demo import prepare
from node.errors import ConfigError
from node.ledger import Ledger
from node.spool import Pack, Spool


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    umask = os.umask(0o022)
    yield
    os.umask(umask)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_folders_of_a_spool_are_closed_to_others_those_of_an_older_version_too(tmp_path: Path) -> None:
    (tmp_path / "spool/packs").mkdir(parents=True)
    spool = Spool(tmp_path / "spool")
    assert {mode(folder) for folder in (spool.packs, spool.objects, spool.decoded)} == {0o700}
    Pack(spool.packs / "a.pack")
    assert mode(spool.packs / "a.pack") == 0o600


def test_a_ledger_is_closed_to_others_one_of_an_older_version_too(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    for _ in range(2):
        Ledger(f"sqlite:///{file}").close()
        assert mode(file) == 0o600
        file.chmod(0o644)


def test_a_demo_leaves_the_folder_of_a_node_alone(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    for name in ("isocenter.toml", "ledger.db", "spool/images"):
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match="is not empty and no demo's folder"):
        prepare(tmp_path)
    assert (tmp_path / "ledger.db").exists()
    assert (tmp_path / "spool/images").exists()


def test_a_demo_empties_what_an_earlier_demo_left(tmp_path: Path) -> None:
    prepare(tmp_path / "demo")
    (tmp_path / "demo/ledger.db").touch()
    (tmp_path / "demo/routes.toml").touch()
    prepare(tmp_path / "demo")
    assert not (tmp_path / "demo/ledger.db").exists()
