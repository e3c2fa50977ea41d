"""`isocenter model get`: what is asked of a person, and what is refused, before anything of a model is read."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from node.cli import app
from node.errors import ConfigError
from node.models.catalogue import Entry, entry_of
from node.models.get import ModelPlaces, get, removable
from tests.file_server import FileServer, serving

CONTENT = b"weights"
SUM = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def places(tmp_path: Path) -> ModelPlaces:
    found = ModelPlaces(models=tmp_path / "models", plugins=tmp_path / "plugins", downloads=tmp_path / "downloads")
    for folder in (found.models, found.plugins, found.downloads):
        folder.mkdir()
    return found


@pytest.fixture
def server(tmp_path: Path):
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "UNet_wdk24.pt").write_bytes(CONTENT)
    with serving(tmp_path / "served") as running:
        yield running


def entry_at(server: FileServer, name: str = "lung_unet_small", **words: Any) -> Entry:
    """Return an entry whose file lies on the server."""
    entry = entry_of(name)
    (wanted,) = entry.download
    given = {"url": f"{server.url}/{wanted.file}", **words}
    return entry.model_copy(update={"download": (wanted.model_copy(update=given),)})


def yes(_: str) -> bool:
    return True


def no(_: str) -> bool:
    return False


def licence_alone(question: str) -> bool:
    return question.endswith("accept it?")


MISTAKES: Mapping[str, tuple[Mapping[str, Any], Callable[[str], bool], str]] = {
    "the licence is not accepted": ({}, no, "published under MIT: read https://.*LICENSE, and say --accept-licence"),
    "another file than was published": ({}, yes, "is not the file that was published: its sha256 is .* Remove it"),
    "a checksum that nobody stated": (
        {"checksum": ""}, licence_alone, f"states no checksum. Its SHA-256 is {SUM}: if you trust it, say --accept-",
    ),
    "only the beginning of a checksum": (
        {"checksum": f"sha256:{SUM[:8]}"}, licence_alone, f"say --accept-sha256 {SUM}",
    ),
    "a file that is not given to everybody": (
        {"url": None, "how": "ask for it"}, yes, "cannot be downloaded: ask for it, then name it by --from",
    ),
    "a server that lost it": ({"file": "elsewhere", "url": "URL/elsewhere"}, yes, "answers 404 .* name it by --from"),
    "a file of something else": ({"checksum": f"sha256:{SUM}"}, yes, "is no file of weights, or is damaged"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_a_sentence_and_nothing_is_made(mistake: str, places: ModelPlaces, server: FileServer) -> None:
    words, agree, said = MISTAKES[mistake]
    words = {key: value.replace("URL", server.url) if key == "url" and value else value for key, value in words.items()}
    with pytest.raises(ConfigError, match=said):
        get(entry_at(server, **words), places, agree=agree)
    assert not [*places.models.iterdir(), *places.plugins.iterdir()]


def test_a_file_of_the_wrong_sum_is_never_read(places: ModelPlaces, server: FileServer) -> None:
    """The sum is compared before the archive is opened: the message is not that of a damaged archive."""
    with pytest.raises(ConfigError, match="is not the file that was published"):
        get(entry_at(server), places, agree=yes)
    assert server.asked == [""]
    with pytest.raises(ConfigError, match="is not the file that was published"):
        get(entry_at(server), places, agree=yes)
    assert server.asked == [""], "what was downloaded is kept, and not asked for again"


def test_what_is_not_served_yet_says_why_before_anything_is_downloaded(places: ModelPlaces, server: FileServer) -> None:
    with pytest.raises(ConfigError, match="brats is not served yet: its regions overlap"):
        get(entry_of("brats"), places, agree=yes)


def test_a_plugin_that_is_there_already_is_named(places: ModelPlaces, server: FileServer) -> None:
    (places.plugins / "lung_unet_small").mkdir()
    with pytest.raises(ConfigError, match="is there already: isocenter model remove lung_unet_small"):
        get(entry_at(server), places, agree=yes)


def test_a_folder_without_the_file_is_named(places: ModelPlaces, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no Dataset291_TotalSegmentator_part1_organs_1559subj\.zip"):
        get(entry_of("total"), places, agree=yes, given=tmp_path)


def test_only_what_get_has_made_is_removed(places: ModelPlaces) -> None:
    (places.models / "lwnet").mkdir()
    with pytest.raises(ConfigError, match="nothing here was made by isocenter model get lwnet"):
        removable("lwnet", places)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "isocenter.toml").write_text("plugins = ['plugins']\n[triton]\nmodel_repository = 'models'\n")
    return tmp_path / "isocenter.toml"


def test_the_commands_list_show_and_refuse(config: Path) -> None:
    runner = CliRunner()
    found = runner.invoke(app, ["model", "search", "liver", "--json"])
    assert found.exit_code == 0
    assert '"liver_lesions"' in found.output
    assert runner.invoke(app, ["model", "search", "no such thing"]).exit_code == 1
    shown = runner.invoke(app, ["model", "show", "heartchambers"]).output
    assert "commercial use: no" in shown
    assert "not to be downloaded by itself: ask for a licence number" in shown
    refused = runner.invoke(app, ["model", "get", "lwnet", "--config", str(config)])
    assert refused.exit_code == 2
    assert "say --accept-licence" in refused.output
