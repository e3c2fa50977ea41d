"""What the documents say holds: settings, commands, links, code, named tests; and the tools that judge the text."""

import ast
import importlib
import importlib.util
import re
import shlex
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.main import get_command

import node
from node import records
from node.cli import app
from node.host import find_plugins
from node.records import DeliveryState, JobState, StudyState
from tests.peers import ROOT

DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text()
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *(page for page in sorted(DOCS.rglob("*.md")) if page.parent.name != "cards"),
]
CHECKS = {
    "ruff check": ["ruff", "check", "."],
    "ruff format": ["ruff", "format", "--check", "."],
    "mypy node and plugins": ["mypy"],
    "import-linter": ["lint-imports"],
}


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATE = generator()
COMMANDS: dict[str, Any] = dict(GENERATE.every_command(get_command(app), "isocenter"))


# The reference is made from the code.


@pytest.mark.parametrize("page", GENERATE.PARTS)
def test_a_page_that_is_made_from_the_code_is_as_the_code_is(page: str) -> None:
    assert (DOCS / page).read_text() == GENERATE.written(page), "run python docs/generate.py"


def test_every_setting_is_in_the_reference() -> None:
    configuration = (DOCS / "reference" / "configuration.md").read_text()
    keys = re.findall(r"^\| `([\w.]+)` \|", configuration, re.MULTILINE)
    assert {"routes", "receive.address", "priors.ask", "destinations.NAME.address"} <= set(keys)
    assert len(keys) == len(set(keys)) > 35


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_reference(name: str) -> None:
    assert f"\n## {name}\n" in (DOCS / "reference" / "commands.md").read_text()


def test_every_word_of_an_author_is_in_the_reference() -> None:
    api = (DOCS / "reference" / "api.md").read_text()
    assert [name for name in node.__all__ if f":: node.{name}\n" not in api] == []


def test_every_plugin_has_a_model_card_and_a_test_and_is_in_the_table() -> None:
    table = (DOCS / "plugins.md").read_text()
    for plugin in find_plugins([ROOT / "plugins"]).values():
        assert f"[`{plugin.name}`](../plugins/{plugin.name}/README.md)" in table
        assert (plugin.folder / "README.md").is_file()
        assert (plugin.folder / "test_plugin.py").is_file()


# The pages hold together.


def test_the_pages_are_built_without_a_warning(tmp_path: Path) -> None:
    build = Path(sys.executable).with_name("sphinx-build")
    command = [
        str(build),
        "-W",
        "--keep-going",
        "-n",
        "-q",
        "-d",
        str(tmp_path / "read"),
        str(DOCS),
        str(tmp_path / "html"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "html" / "reference" / "api.html").is_file()


def links(page: Path) -> Iterator[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    yield from re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "``", text))


def anchors(page: Path) -> set[str]:
    """The anchors of a page: its headings as GitHub and MyST name them, and names that are written before them."""
    text = page.read_text()
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r"^\((\S+)\)=$", text, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        target, _, anchor = link.partition("#")
        if target.startswith("https://"):
            continue
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), link
        assert not anchor or anchor in anchors(there), link


def blocks(page: Path, *languages: str) -> list[str]:
    """The code blocks of a page in some languages."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in languages]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_code_can_be_read_and_commands_exist(page: Path) -> None:
    for text in blocks(page, "python"):
        ast.parse(text)
    for text in blocks(page, "toml"):
        tomllib.loads(text)
    for line in (line for text in blocks(page, "sh") for line in text.splitlines()):
        for part in line.split("#")[0].split("&&"):
            words = shlex.split(part)
            if words and Path(words[0]).name == "isocenter" and words[1:] != ["--help"]:
                check_command(words[1:], line)


def check_command(words: list[str], line: str) -> None:
    name = next((name for name in COMMANDS if ["isocenter", *words][: len(name.split())] == name.split()), None)
    assert name, line
    options = {option for one in COMMANDS[name].params for option in one.opts}
    assert {word for word in words if word.startswith("--")} <= options, line


def test_every_test_that_a_promise_names_exists() -> None:
    promised = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (DOCS / "promises.md").read_text())
    assert len(promised) > 50
    missing = [(path, name) for path, name in promised if f"def {name}(" not in (ROOT / path).read_text()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    if page.name == "CHANGELOG.md":
        return  # what it says was true when it was written
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    paths = re.findall(r"`((?:node|plugins|triton_models|tests|config|docs)/[\w./]+)`", text)
    assert [path for path in paths if not (ROOT / path).exists() and not re.search(MADE, path)] == []


MADE = r"NAME|^plugins/(ct_metal|liver)\b"
"""What a page makes or has made, or names in general."""


# The words, and the ways through the code.

WALKS = [page for page in sorted((DOCS / "architecture").glob("*.md")) if page.name != "index.md"]


def exists(name: str) -> bool:
    """Whether a dotted name leads to a module, class or function."""
    words = name.split(".")
    found: object = None
    for number in range(1, len(words) + 1):
        try:
            found = importlib.import_module(".".join(words[:number]))
        except ModuleNotFoundError:
            if not hasattr(found, words[number - 1]):
                return False
            found = getattr(found, words[number - 1])
    return True


@pytest.mark.parametrize("page", WALKS, ids=named)
def test_a_walk_names_functions_that_exist_and_enters_no_package_twice(page: Path) -> None:
    text = page.read_text()
    names = re.findall(r"`(node(?:\.\w+)+)`", text)
    assert len(names) > 10
    assert [name for name in names if not exists(name)] == []
    entered = re.findall(r"^## `([\w.]+)`", text, re.MULTILINE)
    assert len(entered) == len(set(entered)) > 2


def twice(names: Iterable[str]) -> set[str]:
    return {name for name, count in Counter(names).items() if count > 1}


def test_names_of_modules_and_public_classes_are_unique_in_node() -> None:
    files = [
        file for file in sorted((ROOT / "node").rglob("*.py")) if not {"versions", "starting_points"} & set(file.parts)
    ]
    # a module may bear the name of its package
    modules = {file.parent if file.stem in {"__init__", file.parent.name} else file.with_suffix("") for file in files}
    assert twice(module.name for module in modules) == set()
    bodies = [ast.parse(file.read_text()).body for file in files]
    classes = [node.name for body in bodies for node in body if isinstance(node, ast.ClassDef)]
    assert twice(name for name in classes if not name.startswith("_")) == set()


def project_words() -> set[str]:
    """What the code calls packages, states, rows and results, as words: "result object" of ResultObject."""
    packages = [file.parent.name for file in (ROOT / "node").glob("*/__init__.py")]
    states = [state.value for states in (StudyState, JobState, DeliveryState) for state in states]
    rows = [name for name, row in vars(records).items() if is_dataclass(row) and row.__module__ == records.__name__]
    spoken = [re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower() for name in (*rows, *node.__all__)]
    return {*packages, *states, *spoken}


def test_the_glossary_explains_the_words_of_the_project() -> None:
    text = (DOCS / "glossary.md").read_text()
    explained = {
        word.strip().lower() for cell in re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE) for word in cell.split(",")
    }
    assert project_words() - explained == set()


# Small print.


def test_the_readme_is_a_page_with_two_commands() -> None:
    assert len(README.splitlines()) <= 130
    assert len([line for line in README.splitlines() if line.startswith("python3 -m venv")]) == 2


def test_ci_runs_the_second_command_of_the_readme_word_for_word() -> None:
    commands = [line for line in README.splitlines() if line.startswith("python3 -m venv")]
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith(commands[1])


def test_every_file_that_names_the_version_names_the_same() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert re.search(rf"^## {version} – \d{{4}}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f'name = "isocenter"\nversion = "{version}"' in (ROOT / "uv.lock").read_text()


def test_the_lock_file_names_the_public_registry_alone() -> None:
    hosts = set(re.findall(r"https?://([^/\"]+)", (ROOT / "uv.lock").read_text()))
    assert hosts == {"pypi.org", "files.pythonhosted.org"}


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
            if file.is_symlink():  # to one of another model, and checked there
                continue
            name = f"{model.parent.parent.name}_model.py" if file == model else file.name
            (tmp_path / name).symlink_to(file)
    (tmp_path / "serving").symlink_to(ROOT / "node" / "serving")
    files = sorted(file.name for file in tmp_path.glob("*.py"))
    assert len(files) > 7
    cache = ROOT / ".mypy_cache"
    passes("mypy", "--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(cache), *files, folder=tmp_path)
