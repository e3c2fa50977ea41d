"""Find plugins: in the configured folders, and in installed packages with an entry point "isocenter.plugins"."""

from collections.abc import Iterator, Sequence
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from node.errors import ConfigError
from node.host.manifest import Plugin, read_plugin

ENTRY_POINTS = "isocenter.plugins"
INCLUDED = Path(__file__).resolve().parents[2] / "plugins"
"""The plugins that come with isocenter."""


def find_plugins(folders: Sequence[Path]) -> dict[str, Plugin]:
    """Return all plugins by name; ConfigError if a plugin is malformed or two have the same name.

    A plugin replaces the one of its name that comes with isocenter, which nobody can remove.
    """
    plugins: dict[str, Plugin] = {}
    for folder in sorted((*_below(folders), *_installed()), key=_is_included):
        plugin = read_plugin(folder)
        if plugin.name in plugins:
            if _is_included(folder) and not _is_included(plugins[plugin.name].folder):
                continue
            raise ConfigError(
                f"there are two plugins called {plugin.name}: {plugins[plugin.name].folder} and {folder}; remove one"
            )
        plugins[plugin.name] = plugin
    return plugins


def _is_included(folder: Path) -> bool:
    return folder.resolve().parent == INCLUDED


def _below(folders: Sequence[Path]) -> Iterator[Path]:
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"plugins: there is no folder {folder}; correct the path in isocenter.toml")
        yield from sorted(manifest.parent for manifest in folder.glob("*/plugin.toml"))


def _installed() -> Iterator[Path]:
    for entry in entry_points(group=ENTRY_POINTS):
        spec = find_spec(entry.value)
        if spec is None or spec.origin is None:
            raise ConfigError(
                f"the entry point {entry.name} names package {entry.value}, which is not installed; install it"
            )
        yield Path(spec.origin).parent
