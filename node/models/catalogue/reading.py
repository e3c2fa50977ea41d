"""Reads the catalogue's files, and finds an entry in them."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from node.errors import ConfigError
from node.models.catalogue.entry import Entry
from node.toml_files import meant, read_toml

FOLDER = Path(__file__).parent


@cache
def entries() -> Mapping[str, Entry]:
    """Return every entry by its name; ConfigError names the file that is wrong."""
    found = {}
    for path in sorted(FOLDER.glob("*.toml")):
        entry = read_toml(path, Entry)
        if entry.name != path.stem:
            raise ConfigError(f"{path}: the name is {entry.name!r}, but the file is called {path.name}")
        found[entry.name] = entry
    return found


def entry_of(name: str) -> Entry:
    """Return an entry; ConfigError says which names are like it."""
    try:
        return entries()[name]
    except KeyError as error:
        raise ConfigError(
            f"the catalogue has no model {name!r}{meant(name, entries())}; see isocenter model search"
        ) from error


def search(text: str) -> list[Entry]:
    """Return the entries that have every word of a text in their name, use, modality, region, licence or labels."""
    words = text.replace("_", " ").lower().split()
    return [entry for entry in entries().values() if all(word in entry.text for word in words)]
