"""`isocenter init`: what a new node needs, in one folder, with nothing overwritten."""

import re
import shutil
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from node.app import load_routes
from node.cli import app
from node.commands.init import configuration, cpu_build
from node.host import find_plugins
from node.settings import PACKAGE, Settings
from node.triton.model_config import model_folder
from node.triton.server import _links

CONFIG = "config/isocenter.toml"


def init(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["init", *arguments])


def test_a_new_node_has_all_it_needs_and_is_told_the_next_three_commands(tmp_path: Path) -> None:
    done = init(str(tmp_path / "node"), "--pacs", "ORTHANC@10.0.0.5:4242")
    assert done.exit_code == 0, done.output
    settings = Settings.read(tmp_path / "node" / CONFIG)
    assert str(settings.destinations["PACS"].address) == "ORTHANC@10.0.0.5:4242"
    assert settings.receive.accept_from == ("ORTHANC@10.0.0.5",)
    assert (settings.spool.path / "..").resolve() == tmp_path / "node" / "data"
    assert settings.triton.model_repository.is_dir()
    routes = load_routes(settings)
    assert routes.models
    places = (settings.triton.model_repository, *settings.triton.included)
    assert all((model_folder(places, name.partition(":")[0]) / "config.pbtxt").is_file() for name in routes.models)
    commands = re.findall(r"^  isocenter (\w+)", done.output, re.MULTILINE)
    assert commands == ["check", "serve", "service"]


def test_nothing_that_is_there_is_overwritten(tmp_path: Path) -> None:
    init(str(tmp_path))
    (tmp_path / CONFIG).write_text("# mine")
    (tmp_path / "config" / "routes.toml").unlink()
    done = init(str(tmp_path))
    assert f"kept as it is: {tmp_path / CONFIG}" in done.output
    assert f"written: {tmp_path / 'config' / 'routes.toml'}" in done.output
    assert (tmp_path / CONFIG).read_text() == "# mine"


def test_where_results_go_cannot_be_guessed_and_is_the_first_thing_said(tmp_path: Path) -> None:
    assert "say where results go: destinations.PACS.address" in init(str(tmp_path / "a")).output
    done = init(str(tmp_path / "b"), "--pacs", "nonsense")
    assert done.exit_code == 2
    assert not (tmp_path / "b").exists()


def test_every_key_stands_in_the_configuration_with_its_default() -> None:
    plain = configuration("")
    everything = re.sub(r"^# (\w+ = )", r"\1", plain, flags=re.MULTILINE)
    written, shown = Settings.model_validate(tomllib.loads(plain)), Settings.model_validate(tomllib.loads(everything))
    assert written == shown
    assert set(tomllib.loads(everything)) == set(Settings.model_fields)


def test_a_plugin_of_ones_own_replaces_the_one_that_comes_with_isocenter(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE / "plugins" / "ct_lung", tmp_path / "ct_lung")
    found = find_plugins([tmp_path, PACKAGE / "plugins"])
    assert found["ct_lung"].folder == tmp_path / "ct_lung"
    assert found["ct_body"].folder == PACKAGE / "plugins" / "ct_body"


def test_the_server_finds_the_models_beside_those_of_the_first_repository(tmp_path: Path) -> None:
    for name in ("own/both", "come/both", "come/other", "server"):
        (tmp_path / name).mkdir(parents=True)
    links = _links(tmp_path / "server", tmp_path / "own", [tmp_path / "come"])
    assert [(link.name, link.resolve()) for link in links.iterdir()] == [("other", tmp_path / "come" / "other")]


@pytest.mark.parametrize(
    ("names", "gpu", "told"),
    [
        (["torch", "nvidia-cublas-cu12"], False, True),
        (["torch", "nvidia-cublas-cu12"], True, False),
        (["torch", "nvidia-pytriton"], False, False),
    ],
)
def test_a_machine_without_gpu_is_told_the_line_for_the_cpu_build(
    names: list[str], gpu: bool, told: bool, tmp_path: Path
) -> None:
    line = cpu_build(names, gpu=tmp_path if gpu else tmp_path / "none")
    assert (line is not None and "torch==" in line and "whl/cpu" in line) is told
