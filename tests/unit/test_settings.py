"""config/isocenter.toml: every key has a default, every fault names the file and the key."""

import os
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from node.errors import ConfigError
from node.profiles import PROFILES, Profile
from node.records import Address
from node.settings import Destination, Receive, Settings
from node.toml_files import model_in

CONFIG = Path(__file__).parents[2] / "config" / "isocenter.toml"


@pytest.fixture(autouse=True)
def _no_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ISOCENTER_")]:
        monkeypatch.delenv(name)


def read(folder: Path, text: str = "") -> Settings:
    path = folder / "isocenter.toml"
    path.write_text(text)
    return Settings.read(path)


def keys(model: type[BaseModel], prefix: str = "") -> set[str]:
    """Every key of a table and of those below it."""
    found = set()
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found |= keys(inner, f"{prefix}{name}.")
        elif model_in(inner) is None:  # tables that may be absent stand there as comments
            found.add(prefix + name)
    return found


def written(content: dict[str, Any], prefix: str = "") -> set[str]:
    found = set()
    for name, value in content.items():
        found |= written(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name}
    return found


def test_an_empty_file_is_a_whole_configuration(tmp_path: Path) -> None:
    settings = read(tmp_path)
    assert str(settings.receive.address) == "ISOCENTER@0.0.0.0:11112"
    assert settings.receive.accept_from == ()
    assert settings.destinations == {}


def test_the_shipped_file_loads() -> None:
    assert Settings.read(CONFIG).destinations["PACS"].address.port == 4242


def test_the_shipped_file_shows_every_key_there_is() -> None:
    """Whoever edits it sees all that can be set; the table of a destination is an example of its own."""
    shown = written(tomllib.loads(CONFIG.read_text()))
    assert {key for key in shown if not key.startswith("destinations.")} == keys(Settings)
    assert {key for key in shown if key.startswith("destinations.")} == {
        f"destinations.PACS.{key}"
        for key, field in Destination.model_fields.items()
        if model_in(field.annotation) is None
    }


def test_the_shipped_file_says_what_the_defaults_say(tmp_path: Path) -> None:
    shipped, default = Settings.read(CONFIG), Settings()
    assert shipped.model_copy(update={"destinations": {}}).model_dump() == default.at(CONFIG.parent).model_dump()
    shown = shipped.destinations["PACS"]
    assert shown.model_copy(update={"calling": ""}) == Destination(address=shown.address)


def test_a_destination_wants_what_its_profile_says_and_the_keys_beside_it_change(tmp_path: Path) -> None:
    text = """
    [destinations.PACS]
    address = 'A@b:1'
    profile = "plain-pacs"
    fallback = ["SC"]
    most_frames = 7
    [destinations.PLAIN]
    address = 'A@b:1'
    [destinations.STRICT]
    address = 'A@b:1'
    fallback = []
    """
    settings = read(tmp_path, text)
    assert settings.destinations["PACS"].wants == replace(PROFILES["plain-pacs"], fallback=("SC",), most_frames=7)
    assert settings.destinations["PLAIN"].wants == PROFILES["orthanc"] == Profile()
    assert settings.destinations["STRICT"].wants == replace(Profile(), fallback=())


@pytest.mark.parametrize(
    "line",
    [
        "profile = 'pacs'",
        "objects = ['SEGMENTATION']",
        "objects = ['COMPREHENSIVE']",
        "objects = []",
        "fallback = ['KO']",
        "series_description = '{patient}'",
        "most_frames = -1",
    ],
)
def test_a_destination_with_impossible_settings_is_an_error(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigError, match=f"destinations.PACS.{line.split(maxsplit=1)[0]}"):
        read(tmp_path, f"[destinations.PACS]\naddress = 'A@b:1'\n{line}")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("rutes = 'a'", "rutes"),
        ("[receive]\nadress = 'A@b:1'", "receive.adress"),
        ("[assemble]\nquiet = 1", "assemble.quiet"),
        ("[spool]\nfolder = 'x'", "spool.folder"),
        ("[ledger]\nuri = 'x'", "ledger.uri"),
        ("[engine]\ncores = 2", "engine.cores"),
        ("[triton]\nurl = 'x'", "triton.url"),
        ("[destinations.PACS]\naddress = 'A@b:1'\nretries = 3", "destinations.PACS.retries"),
        ("[webb]\naddress = 'x'", "webb"),
    ],
)
def test_an_unknown_key_is_reported_with_its_file(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, text)
    said = str(error.value)
    assert said.startswith(f"{tmp_path / 'isocenter.toml'}: unknown key {key}")
    assert re.search(r" \(line [123]\)$", said)


@pytest.mark.parametrize(
    ("text", "key", "complaint"),
    [
        ("[receive]\naddress = 'ISOCENTER'", "receive.address", "no address of the form AE@host:port"),
        ("[receive]\naddress = 'ISOCENTER_TOO_LONG@h:104'", "receive.address", "1 to 16 characters"),
        ("[receive]\naddress = 'A@h:104000'", "receive.address", "no address of the form AE@host:port"),
        ("[receive]\naccept_from = 'CT1@10.0.0.1'", "receive.accept_from", "tuple"),
        ("[receive]\naccept_from = ['10.0.0.1']", "receive.accept_from.0", "AE@host"),
        ("[receive]\nassociations = 0", "receive.associations", "greater than or equal to 1"),
        ("[receive]\nidle_seconds = 0", "receive.idle_seconds", "greater than 0"),
        ("receive = 5", "receive", "dictionary"),
        ("[assemble]\nquiet_seconds = 'soon'", "assemble.quiet_seconds", "number"),
        ("[assemble]\nquiet_seconds = -1", "assemble.quiet_seconds", "greater than or equal to 0"),
        ("[engine]\nslots = 1.5", "engine.slots", "integer"),
        ("[spool]\nfree_mark_mb = -1", "spool.free_mark_mb", "greater than or equal to 0"),
        ("[engine]\nkind = 'celery'", "engine.kind", "'local' or 'procrastinate'"),
        ("[triton]\nurls = []", "triton.urls", "at least 1 item"),
        ("plugins = '../plugins'", "plugins", "tuple"),
        ("[destinations.PACS]\ncalling = 'X'", "destinations.PACS.address", "required"),
        ("[destinations.PACS]\naddress = 'PACS:104'", "destinations.PACS.address", "no address"),
    ],
)
def test_a_wrong_value_is_reported_with_file_and_key(tmp_path: Path, text: str, key: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, text)
    assert str(error.value).startswith(f"{tmp_path / 'isocenter.toml'}: {key}: ")
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_missing_or_no_toml_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.toml: there is no such file"):
        Settings.read(tmp_path / "nothing.toml")
    with pytest.raises(ConfigError, match=r"isocenter\.toml is not TOML: .*line 2"):
        read(tmp_path, "routes = 'a'\n[receive\n")
    (tmp_path / "latin.toml").write_bytes("routes = 'ä'".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.toml is not TOML"):
        Settings.read(tmp_path / "latin.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        Settings.read(tmp_path)


def test_the_environment_overrides_a_key_and_leaves_its_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOCENTER_RECEIVE__ADDRESS", "OTHER@127.0.0.1:104")
    monkeypatch.setenv("ISOCENTER_ENGINE__SLOTS", "7")
    monkeypatch.setenv("ISOCENTER_ROUTES", "elsewhere.toml")
    settings = read(tmp_path, "[receive]\naddress = 'A@h:1'\nassociations = 3\n[engine]\nattempts = 9")
    assert settings.receive.address == Address("OTHER", "127.0.0.1", 104)
    assert settings.receive.associations == 3
    assert (settings.engine.slots, settings.engine.attempts) == (7, 9)
    assert settings.routes == tmp_path / "elsewhere.toml"


def test_the_environment_overrides_one_key_of_a_destination(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOCENTER_DESTINATIONS__PACS__ADDRESS", "OTHER@127.0.0.1:104")
    settings = read(tmp_path, "[destinations.PACS]\naddress = 'A@h:1'\ntimeout_seconds = 5")
    assert settings.destinations == {"PACS": Destination(address=Address("OTHER", "127.0.0.1", 104), timeout_seconds=5)}


@pytest.mark.parametrize("name", ["ISOCENTER_RECEIVE__ADRESS", "ISOCENTER_RECIEVE__ADDRESS", "ISOCENTER_SLOTS"])
def test_an_override_of_an_unknown_key_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "4")
    with pytest.raises(ConfigError, match="unknown key"):
        read(tmp_path)


def test_an_override_says_lists_and_numbers_as_toml_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOCENTER_RECEIVE__ACCEPT_FROM", '["CT1@10.0.0.1", "*@10.0.0.0/24"]')
    monkeypatch.setenv("ISOCENTER_ASSEMBLE__QUIET_SECONDS", "0.5")
    settings = read(tmp_path)
    assert settings.receive.accept_from == ("CT1@10.0.0.1", "*@10.0.0.0/24")
    assert settings.assemble.quiet_seconds == 0.5


def test_a_wrong_override_is_reported_with_the_name_of_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOCENTER_ENGINE__SLOTS", "none")
    with pytest.raises(ConfigError, match=r"with ISOCENTER_ENGINE__SLOTS: engine\.slots: "):
        read(tmp_path, "[engine]\nslots = 2")


def test_paths_are_relative_to_the_file_and_not_to_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    settings = read(
        tmp_path,
        "routes = 'r.toml'\nplugins = ['p', '/opt/p']\n[spool]\npath = 's'\n[ledger]\nurl = 'sqlite:///l.db'\n"
        "[triton]\nmodel_repository = 'm'",
    )
    assert settings.routes == tmp_path / "r.toml"
    assert settings.plugins == (tmp_path / "p", Path("/opt/p"))
    assert settings.spool.path == tmp_path / "s"
    assert settings.ledger.url == f"sqlite:///{tmp_path / 'l.db'}"
    assert settings.triton.model_repository == tmp_path / "m"


def test_absolute_paths_stay(tmp_path: Path) -> None:
    settings = read(tmp_path, "[ledger]\nurl = 'sqlite:////var/l.db'\n[spool]\npath = '/var/s'")
    assert settings.ledger.url == "sqlite:////var/l.db"
    assert settings.spool.path == Path("/var/s")


def test_a_relative_name_of_the_file_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "isocenter.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    assert Settings.read(Path("isocenter.toml")).routes == tmp_path / "routes.toml"


@pytest.mark.parametrize(
    ("address", "accept_from", "listening"),
    [
        ("ISOCENTER@0.0.0.0:104", (), "ISOCENTER@127.0.0.1:104"),
        ("ISOCENTER@[::]:104", (), "ISOCENTER@::1:104"),
        ("ISOCENTER@0.0.0.0:104", ("CT1@10.0.0.11",), "ISOCENTER@0.0.0.0:104"),
        ("ISOCENTER@10.0.0.1:104", (), "ISOCENTER@10.0.0.1:104"),
    ],
)
def test_a_node_that_nobody_may_call_listens_on_loopback(
    address: str, accept_from: tuple[str, ...], listening: str
) -> None:
    assert str(Receive.model_validate({"address": address, "accept_from": accept_from}).listening) == listening


def test_the_configuration_and_a_ledger_of_sqlite_are_private(tmp_path: Path) -> None:
    file = tmp_path / "isocenter.toml"
    file.write_text("[ledger]\nurl = 'sqlite:///ledger.db'\n")
    assert {file, tmp_path / "ledger.db", tmp_path / "ledger.db-wal"} <= set(Settings.read(file).private_files)
    file.write_text("[ledger]\nurl = 'postgresql://node:secret@db/ledger'\n")
    assert Settings.read(file).private_files == (file,)
