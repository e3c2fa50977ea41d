"""What models there are, in the repository and on the servers, and which plugins ask for them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from node.errors import ConfigError, NodeError
from node.host import Plugin
from node.models.network_file import EXPORTED, SUFFIXES, WEIGHTS
from node.triton import GrpcTriton
from node.triton.model_config import CONFIG, read_config

LOCAL = "local"
NETWORKS = {suffix: kind for kind, suffix in SUFFIXES.items() if kind != WEIGHTS or suffix != SUFFIXES[EXPORTED]}
"""What a network is, by the suffix of its file."""
AROUND = {"chain.json": "volume model", "planes.json": "plane model"}
"""What a model is, by a file in the folder of its version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One model: its kind and versions in the repository, its state on each server, the plugins that ask for it."""

    name: str
    kind: str
    versions: tuple[str, ...]
    states: tuple[str, ...]
    plugins: tuple[str, ...]

    def __str__(self) -> str:
        versions = f"version {', '.join(self.versions)}" if self.versions else "no version here"
        users = f"used by {', '.join(self.plugins)}" if self.plugins else "used by no plugin"
        return f"{self.name}: {'; '.join([self.kind, versions, *self.states, users])}"


def listed(
    repository: Path, urls: Sequence[str], plugins: Mapping[str, Plugin], beside: Sequence[Path] = ()
) -> Iterator[Listed | str]:
    """Give every model that is in the repository, on a server, or asked for; and a sentence for each server away.

    `beside` are repositories whose models are served, too, unless `repository` has one of the same name.

    The server called "local" is the node's own, and tells nobody else what it has loaded.
    """
    there: dict[str, list[str]] = {}
    for url in urls:
        if url != LOCAL:
            try:
                for name, state in _states(url):
                    there.setdefault(name, []).append(state)
            except NodeError as error:
                yield str(error)
    users: dict[str, list[str]] = {}
    for plugin in plugins.values():
        for name in plugin.manifest.model_names:
            users.setdefault(name, []).append(plugin.name)
    here = {path.parent.name: path.parent for folder in (*beside, repository) for path in folder.glob(f"*/{CONFIG}")}
    for name in sorted({*here, *there, *users}):
        yield Listed(
            name=name,
            kind=_kind(here[name]) if name in here else f"not in {repository}",
            versions=tuple(folder.name for folder in _versions(here[name])) if name in here else (),
            states=tuple(there.get(name, ())),
            plugins=tuple(users.get(name, ())),
        )


def _states(url: str) -> Iterator[tuple[str, str]]:
    triton = GrpcTriton([url])
    try:
        for model in triton.models():
            state = f"loaded, version {model.version}" if model.ready else model.reason or "not loaded"
            yield model.name, f"{state} at {url}"
    finally:
        triton.close()


def _versions(folder: Path) -> list[Path]:
    return sorted((path for path in folder.iterdir() if path.name.isdecimal()), key=lambda path: int(path.name))


def _kind(folder: Path) -> str:
    """Say what a model is, by what lies in its newest version, and what runs it."""
    try:
        config = read_config(folder)
    except ConfigError as error:
        return str(error)
    runs = config.backend or config.platform or "unknown"
    newest = _versions(folder)[-1:]
    files = {file.stem: file for path in newest for file in path.iterdir() if file.suffix in NETWORKS}
    around = next((kind for name, kind in AROUND.items() if any((path / name).exists() for path in newest)), "")
    if around:
        inside = f", {NETWORKS[files['network'].suffix]}" if "network" in files else ""
        return f"{around}{inside}, by {runs}"
    return f"network, {NETWORKS[files['model'].suffix]}, by {runs}" if "model" in files else f"model, by {runs}"
