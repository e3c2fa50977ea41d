"""What the documents say holds: commands, settings, plugins, CI's command; and the tools that judge the text."""

import subprocess
import sys
from pathlib import Path
from types import NoneType
from typing import get_args

import pytest
from pydantic import BaseModel

from node.cli import app, model_app, plugin_app
from node.host import find_plugins
from node.settings import Destination, Settings
from tests.peers import ROOT

README = (ROOT / "README.md").read_text()
CHECKS = {
    "ruff check": ["ruff", "check", "."],
    "ruff format": ["ruff", "format", "--check", "."],
    "mypy node and plugins": ["mypy"],
    "import-linter": ["lint-imports"],
}


def keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    found: list[str] = []
    for name, field in model.model_fields.items():
        kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if kind is not NoneType]
        tables = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not tables:
            found.append(prefix + name)
        for table in tables:
            found += keys(table, f"{prefix}{name}." + ("NAME." if table is Destination else ""))
    return found


@pytest.mark.parametrize("key", keys(Settings))
def test_every_setting_is_in_the_readme(key: str) -> None:
    assert f"| `{key}` |" in README


@pytest.mark.parametrize(
    "name",
    [command.name or command.callback.__name__ for command in app.registered_commands]
    + [f"plugin {command.name}" for command in plugin_app.registered_commands]
    + [f"model {command.name}" for command in model_app.registered_commands],
)
def test_every_command_is_in_the_readme(name: str) -> None:
    assert f"| `isocenter {name}" in README


def test_every_plugin_is_in_the_readme_and_has_a_model_card() -> None:
    for plugin in find_plugins([ROOT / "plugins"]).values():
        assert f"[`{plugin.name}`](plugins/{plugin.name}/README.md)" in README
        assert (plugin.folder / "README.md").is_file()
        assert (plugin.folder / "test_plugin.py").is_file()


def test_ci_runs_the_second_command_of_the_readme_word_for_word() -> None:
    commands = [line for line in README.splitlines() if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith(commands[1])


def passes(tool: str, *words: str, folder: Path = ROOT) -> None:
    program = Path(sys.executable).with_name(tool)
    done = subprocess.run([str(program), *words], cwd=folder, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", CHECKS)
def test_the_text_passes(name: str) -> None:
    passes(*CHECKS[name])


def test_mypy_passes_every_model(tmp_path: Path) -> None:
    """All models in one run: each is called model.py, so they are linked into one folder under names of their own."""
    for model in sorted((ROOT / "triton_models").glob("*/1/model.py")):
        if model.is_symlink():  # to one in node, and checked there
            continue
        for file in model.parent.glob("*.py"):
            name = f"{model.parent.parent.name}_model.py" if file == model else file.name
            (tmp_path / name).symlink_to(file)
    (tmp_path / "serving").symlink_to(ROOT / "node" / "serving")
    files = sorted(file.name for file in tmp_path.glob("*.py"))
    assert len(files) > 7
    cache = ROOT / ".mypy_cache"
    passes("mypy", "--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(cache), *files, folder=tmp_path)
