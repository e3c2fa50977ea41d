"""The model cards of the plugins that come with isocenter, their table in docs/plugins.md, and the example routes."""

import ast
import re
import sys
from pathlib import Path

import pytest

from node.host import Plugin, find_plugins
from node.records import GUARD
from node.route import read_routes
from node.triton.model_config import kind_of, read_config
from tests.peers import ROOT

TO_COPY = "template"
PLUGINS = [plugin for plugin in find_plugins([ROOT / "plugins"]).values() if plugin.name != TO_COPY]
ROWS = ("Kind", "Input", "Results", "Not suitable", "Metric", "Seconds")
COLUMNS = ("Kind", "Input", "Metric", "Seconds")


def card(plugin: Plugin) -> dict[str, str]:
    """Return the table of a model card, by its first column."""
    lines = (plugin.folder / "README.md").read_text().splitlines()
    return dict(re.fullmatch(r"\| (.+?) \| (.+) \|", line).groups() for line in lines if re.match(r"\| \w", line))  # type: ignore[union-attr]


def table() -> str:
    """Return the table of plugins in docs/plugins.md."""
    lines = [f"| plugin | {' | '.join(column.lower() for column in COLUMNS)} |", "|---" * (1 + len(COLUMNS)) + "|"]
    for plugin in sorted(PLUGINS, key=lambda one: one.name):
        words = card(plugin)
        link = f"[`{plugin.name}`](../plugins/{plugin.name}/README.md)"
        lines.append(f"| {' | '.join((link, *(words[column] for column in COLUMNS)))} |")
    return "\n".join(lines)


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)
def test_a_card_says_what_a_reader_must_know(plugin: Plugin) -> None:
    words = card(plugin)
    assert set(ROWS) <= set(words)
    assert words["Kind"].startswith(f"{plugin.manifest.kind}: ")
    text = " ".join((plugin.folder / "README.md").read_text().split())
    assert "Research use" in text
    assert "Limits" in text


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)
def test_a_plugin_has_a_guard_or_its_card_says_why_not(plugin: Plugin) -> None:
    """A role of another day needs none: its series is chosen by what is like the guarded one."""
    said = card(plugin)["Guard"]
    guards = plugin.manifest.guards
    if not guards:
        assert re.fullmatch(r"none: .{40,}", said), f"{plugin.name} has no guard, and its card does not say why"
        return
    assert re.findall(r"`guard_(\w+)`", said) == list(dict.fromkeys(guards.values()))
    required = {name for name, role in plugin.manifest.series.items() if not (role.optional or role.prior_of)}
    assert required <= guards.keys()


def test_the_plugins_page_shows_the_cards() -> None:
    assert table() in (ROOT / "docs" / "plugins.md").read_text(), f"put this into docs/plugins.md:\n{table()}"


def test_the_example_routes_name_every_plugin_and_can_be_read() -> None:
    plugins = find_plugins([ROOT / "plugins"])
    path = ROOT / "config" / "routes.example.toml"
    routes = read_routes(path, plugins=plugins, destinations=("PACS",), quiet_seconds=1)
    assert {name for route in routes.routes for name in route.plugins} == {plugin.name for plugin in PLUGINS}


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)
def test_the_models_of_a_plugin_are_in_the_repository(plugin: Plugin) -> None:
    for model in plugin.manifest.models:
        folder = ROOT / "triton_models" / model
        assert f'name: "{model}"' in (folder / "config.pbtxt").read_text()
        served = folder / "1" / "serving"
        assert not served.exists() or served.resolve() == ROOT / "node" / "serving"


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)
def test_a_plugin_has_the_kind_of_the_weakest_network_that_it_asks(plugin: Plugin) -> None:
    answering = [model for model in plugin.manifest.models if not model.startswith(GUARD)]  # a guard only refuses
    kinds = [kind_of(read_config(ROOT / "triton_models" / model)) for model in answering]
    assert plugin.manifest.kind == max(kinds), "A before B before C"


@pytest.mark.parametrize("model", sorted((ROOT / "triton_models").glob("*/1/serving")), ids=lambda one: one.parts[-3])
def test_a_model_imports_what_is_linked_before_all_that_imports_pytorch(model: Path) -> None:
    assert model.resolve() == ROOT / "node" / "serving"
    tree = ast.parse(model.with_name("model.py").read_text())
    froms = [node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)]
    others = [name for name in froms if name.partition(".")[0] not in sys.stdlib_module_names]
    assert next(name for name in others if not name.startswith("numpy")).startswith("serving.")
    plain = {name.name for node in tree.body if isinstance(node, ast.Import) for name in node.names}
    assert "torch" not in plain
