"""A backup holds what makes a node, and a node made of it tells the same stories."""

import gzip
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from node.cli import app
from node.ledger import Ledger
from node.operation_records import Identifiers
from node.records import Arrival
from node.settings import PACKAGE

CONFIG = "config/isocenter.toml"


def run(*arguments: str | Path, code: int = 0) -> Result:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == code, done.output
    return done


@pytest.fixture
def node(tmp_path: Path, arrival: Callable[..., Arrival]) -> Path:
    """The folder of a node that has a study, a plugin, a model and a file in its spool."""
    run("init", tmp_path / "node", "--pacs", "ORTHANC@127.0.0.1:4242")
    (tmp_path / "node" / CONFIG).open("a").write("# mine\n")
    ledger = Ledger(f"sqlite:///{tmp_path / 'node/data/ledger.db'}")
    ledger.instances.record([arrival(1)])
    ledger.studies.identify("1.2.1", Identifiers(patient_id="4711", accession_number="A1", modalities="CT"))
    ledger.close()
    shutil.copytree(PACKAGE / "plugins" / "template", tmp_path / "node/plugins/template")
    (tmp_path / "node/triton_models/mine").mkdir()
    (tmp_path / "node/triton_models/mine/config.pbtxt").write_text('name: "mine"')
    (tmp_path / "node/data/spool/packs").mkdir(parents=True)
    (tmp_path / "node/data/spool/packs/a.pack").write_bytes(b"images")
    return tmp_path / "node"


def test_a_node_made_of_a_backup_elsewhere_tells_the_study(node: Path, tmp_path: Path) -> None:
    run("backup", tmp_path / "b.tar.gz", "--config", node / CONFIG, "--models", "--images")
    assert (tmp_path / "b.tar.gz").stat().st_mode & 0o077 == 0
    shutil.rmtree(node)
    new = tmp_path / "new"
    run("restore", tmp_path / "b.tar.gz", "--config", new / CONFIG)
    assert "study 1.2.1" in run("explain", "A1", "--config", new / CONFIG).output
    assert (new / CONFIG).read_text().endswith("# mine\n")
    assert (new / "plugins/template/README.md").is_file()
    assert (new / "triton_models/mine/config.pbtxt").is_file()
    assert (new / "data/spool/packs/a.pack").read_bytes() == b"images"
    left = {path.name for path in (new / "config").iterdir()}
    assert left == {"isocenter.toml", "routes.toml"}


def test_models_and_images_are_in_it_where_asked_for_and_their_absence_is_said(node: Path, tmp_path: Path) -> None:
    done = run("backup", tmp_path / "b.tar.gz", "--config", node / CONFIG)
    assert done.output.count("not in it:") == 2
    run("restore", tmp_path / "b.tar.gz", "--config", tmp_path / "new" / CONFIG)
    assert not list((tmp_path / "new/triton_models").iterdir())
    assert not (tmp_path / "new/data/spool/packs").exists()


def test_only_the_ledger_comes_back_beside_a_spool_that_is_whole(node: Path, tmp_path: Path) -> None:
    run("backup", tmp_path / "b.tar.gz", "--config", node / CONFIG)
    (node / "data/ledger.db").unlink()
    run("restore", tmp_path / "b.tar.gz", "--config", node / CONFIG, "--ledger-only")
    assert "study 1.2.1" in run("explain", "A1", "--config", node / CONFIG).output
    assert (node / "data/spool/packs/a.pack").is_file()


def test_neither_a_backup_nor_a_node_is_overwritten(node: Path, tmp_path: Path) -> None:
    file, config = tmp_path / "b.tar.gz", tmp_path / "new" / CONFIG
    run("backup", file, "--config", node / CONFIG, "--images")
    assert "exists already" in run("backup", file, "--config", node / CONFIG, code=2).output
    assert "there is a configuration already" in run("restore", file, "--config", node / CONFIG, code=2).output
    assert (
        "there is a ledger already" in run("restore", file, "--config", node / CONFIG, "--ledger-only", code=2).output
    )
    shutil.copytree(node / "data/spool", tmp_path / "new/data/spool")
    assert "is there already" in run("restore", file, "--config", config, code=2).output
    assert not config.exists()
    assert not (tmp_path / "new/data/ledger.db").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.REGTYPE])
def test_an_archive_that_leads_out_of_its_folder_is_refused(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("../out" if kind == tarfile.REGTYPE else "config")
    member.type, member.linkname = kind, "/etc"
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        tar.addfile(member)
    done = run("restore", tmp_path / "b.tar", "--config", tmp_path / "new" / CONFIG, code=2)
    assert f"{member.name} is no file of a backup" in done.output
    assert not (tmp_path / "new" / "out").exists()


@pytest.mark.parametrize("harm", ["cut", "changed", "no archive"])
def test_a_backup_that_is_not_whole_restores_nothing(node: Path, tmp_path: Path, harm: str) -> None:
    file = tmp_path / "b.tar.gz"
    run("backup", file, "--config", node / CONFIG)
    content = gzip.decompress(file.read_bytes())
    harmed = {"cut": content[:50_000], "changed": content.replace(b"# mine", b"# mice"), "no archive": b"x" * 1000}
    assert harmed[harm] != content
    file.write_bytes(gzip.compress(harmed[harm]))
    done = run("restore", file, "--config", tmp_path / "new" / CONFIG, code=2)
    assert "no whole backup" in done.output or "config/isocenter.toml is not as it was written" in done.output
    assert not any((tmp_path / "new").rglob("*.*"))
