"""What administrators get wrong: `isocenter check` says each in one sentence, and ends with 2; no server is started."""

import re
import socket
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from node.cli import app
from node.triton.server import Wheel
from tests.mistakes import make_mistake

MAIN, ROUTES = "isocenter.toml", "routes.toml"
CONFIG = """
plugins = ["plugins"]
[receive]
address = "ISOCENTER@127.0.0.1:0"
accept_from = []
[spool]
path = "spool"
free_mark_mb = 0
[ledger]
url = "sqlite:///ledger.db"
[triton]
model_repository = "models"
[destinations.PACS]
address = "PACS@127.0.0.1:1"
"""
ROUTE = """
[[route]]
name = "chest"
when.Modality = "CT"
plugins = ["spleen"]
to = ["PACS"]
"""
MANIFEST = 'name = "spleen"\nversion = "1"\ntitle = "S"\nkind = "A"\n[series.ct]\nwhen.Modality = "CT"\n'
LEDGER = "sqlite:///ledger.db"

MISTAKES: dict[str, Any] = {
    "no quotes": (MAIN, '"spool"', "spool", r"isocenter\.toml is not TOML: .*line 7"),
    "misspelt key": (
        MAIN,
        "accept_from",
        "accept_form",
        r"receive\.accept_form; did you mean accept_from\? \(line 5\)",
    ),
    "misspelt table": (MAIN, "[triton]", "[trition]", r"unknown key trition; did you mean triton\? \(line 11\)"),
    "key of another table": (MAIN, "free_mark_mb = 0", "keep_days = -1", r"spool\.keep_days: .*greater .*\(line 8\)"),
    "address without a port": (
        MAIN,
        "PACS@127.0.0.1:1",
        "PACS@127.0.0.1",
        r"destinations\.PACS\.address: .*AE@host:port.*\(line 14\)",
    ),
    "address with a port that is none": (MAIN, "0.1:0", "0.1:99999", r"receive\.address: .*\(line 4\)"),
    "AE title too long": (MAIN, "ISOCENTER@", "ISOCENTER_HOSPITAL@", r"receive\.address: .*16 .*\(line 4\)"),
    "caller without a host": (MAIN, "[]", '["CT1"]', r"receive\.accept_from\.0: 'CT1' is not of the form.*\(line 5\)"),
    "profile that is none": (
        MAIN,
        "[destinations.PACS]",
        '[destinations.PACS]\nprofile = "orthank"',
        r"destinations\.PACS\.profile: Input should be 'orthanc'.*\(line 14\)",
    ),
    "no folder of plugins": (
        MAIN,
        '["plugins"]',
        '["plugin"]',
        r"plugins: there is no folder .*plugin; correct the path",
    ),
    "no routes": (ROUTES, ..., "", r"routes\.toml has no route"),
    "no file of routes": (ROUTES, ..., None, r"routes\.toml: there is no such file"),
    "two routes of one name": (ROUTES, ..., ROUTE * 2, r"two routes are called 'chest'"),
    "misspelt plugin": (ROUTES, '"spleen"', '"splen"', r"names the plugin 'splen'; there .*; did you mean spleen\?"),
    "misspelt destination": (ROUTES, '"PACS"', '"PACS1"', r"names the destination 'PACS1'; .*; did you mean PACS\?"),
    "misspelt attribute": (ROUTES, "Modality", "Modalty", r"route\.0\.when\.Modalty: .*DICOM keyword.*\(line 4\)"),
    "condition that is none": (ROUTES, '"CT"', "{ like = 1 }", r"unknown key route\.0\.when\.Modality\.like"),
    "broken regular expression": (ROUTES, '"CT"', '{ matches = "(" }', r"'\(' is no regular expression: .*\(line 4\)"),
    "spool that cannot be made": (MAIN, '"spool"', '"/proc/spool"', r"spool\.path /proc/spool cannot be used"),
    "spool that is a file": (MAIN, '"spool"', '"routes.toml"', r"spool\.path .*routes\.toml cannot be used"),
    "disk full": (MAIN, "free_mark_mb = 0", "free_mark_mb = 999999999", r"make room, or lower spool\.free_mark_mb"),
    "ledger in no folder": (
        MAIN,
        LEDGER,
        "sqlite:///nowhere/ledger.db",
        r"nowhere/ledger\.db cannot be opened: .*writable place",
    ),
    "ledger that is no database": (MAIN, LEDGER, "sqlite:///routes.toml", r"file is not a database"),
    "ledger of an unknown kind": (MAIN, LEDGER, "mysql://a@b/c", r"ledger\.url"),
    "database that does not answer": (
        MAIN,
        LEDGER,
        "postgresql://node:secret@127.0.0.1:1/node",
        r"node:\*+@127\.0\.0\.1:1/node cannot be opened: .*start the server",
    ),
    "no model": (MAIN, "[triton]", "[triton]", r"models names spleen, which is not in .*models; put its folder there"),
    "Triton that does not answer": (
        MAIN,
        "[triton]",
        '[triton]\nurls = ["127.0.0.1:1"]',
        r"Triton at 127\.0\.0\.1:1 cannot be reached: .*triton\.urls",
    ),
    "destination that is down": (MAIN, "[triton]", "[triton]", r"destination PACS: .*mend destinations\.PACS\.address"),
    "host that is not known": (MAIN, "PACS@127.0.0.1", "PACS@no.invalid", r"destination PACS: .*no\.invalid"),
    "priors from nowhere": (MAIN, "[triton]", '[priors]\nask = "OLD"\n[triton]', r"priors\.ask names .*'OLD'"),
}
"""A mistake → its file, what is replaced there (... is all of it; None removes the file) and by what, what is said."""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Result]:
    """Run a command on a node that is not running, whose model and destination are missing."""
    folder = tmp_path / "plugins" / "spleen"
    folder.mkdir(parents=True)
    (tmp_path / "models").mkdir()
    (folder / "plugin.toml").write_text(MANIFEST.replace("[series.ct]", 'models = ["spleen"]\n[series.ct]'))
    (folder / "plugin.py").write_text("def run(ct, triton):\n    return []\n")
    (tmp_path / ROUTES).write_text(ROUTE)
    (tmp_path / MAIN).write_text(CONFIG)
    return lambda *words: CliRunner().invoke(app, [*words, "--config", str(tmp_path / MAIN)])


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_of_an_administrator_is_one_sentence(
    tmp_path: Path, run: Callable[..., Result], mistake: str
) -> None:
    file, before, after, sentence = MISTAKES[mistake]
    make_mistake(tmp_path / file, before, after)
    done = run("check")
    assert done.exit_code == 2, done.output
    assert any(re.search(sentence, line) for line in done.output.splitlines()), done.output
    assert "secret" not in done.output


def test_a_python_without_its_shared_library_is_said(
    tmp_path: Path, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = tmp_path / "stub"
    error = "stub: error while loading shared libraries: libpython3.11.so.1.0: no such file"
    stub.write_text(f"#!/bin/sh\necho '{error}' >&2; exit 127\n")
    stub.chmod(0o755)
    wheel = replace(Wheel.find(), stub=stub)
    monkeypatch.setattr(Wheel, "find", lambda: wheel)
    said = run("check").output
    assert re.search(r"mend  Triton cannot run models .*libpython3\.11.*apt install libpython3\.", said), said


def test_a_missing_configuration_and_a_port_in_use_are_said_before_anything_starts(
    tmp_path: Path, run: Callable[..., Result]
) -> None:
    (tmp_path / MAIN).rename(tmp_path / "other.toml")
    missing = run("check")
    assert (missing.exit_code, "isocenter.toml: there is no such file" in missing.output) == (2, True)
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (tmp_path / MAIN).write_text(CONFIG.replace("0.1:0", f"0.1:{port}"))
        done = run("check")
        assert done.exit_code == 2
        assert f"{port}" in done.output
        assert "in use" in done.output
