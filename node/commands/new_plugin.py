"""A new plugin: a copy of a starting point under another name, with its model, its test and its model card."""

import re
import shutil
from pathlib import Path

from node.errors import ConfigError
from node.host import read_plugin
from node.toml_files import meant

TEMPLATE = "template"
ROOT = Path(__file__).parents[2]
"""The folder of `plugins` and `triton_models`: beside the package, in a checkout and when installed."""
STARTING_POINTS = Path(__file__).parents[1] / "starting_points"
NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


def starting_points() -> dict[str, tuple[Path, Path]]:
    """Return what a new plugin may begin with: its name, the folder of the plugin and that of its model."""
    others = {folder.name: (folder / "plugin", folder / "model") for folder in sorted(STARTING_POINTS.glob("*/"))}
    return {TEMPLATE: (ROOT / "plugins" / TEMPLATE, ROOT / "triton_models" / TEMPLATE), **others}


def new_plugin(name: str, plugins: Path, models: Path, start: str = TEMPLATE) -> tuple[Path, Path]:
    """Create `plugins/NAME` and `models/NAME`, a plugin that runs and passes its test; return both folders.

    Raises
    ------
    ConfigError
        The name is not valid, a folder of that name exists, or there is no such start.
    """
    sources = starting_points()
    if start not in sources:
        raise ConfigError(
            f"there is no {start!r} to begin with; there are: {', '.join(sources)}{meant(start, sources)}"
        )
    if not NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is not a valid name: use a letter, then letters, digits and _, small, 32 at most")
    created = plugins / name, models / name
    for folder in created:
        if folder.exists():
            raise ConfigError(f"{folder} exists already: choose another name")
    for folder, source in zip(created, sources[start], strict=True):
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__pycache__"))
        for file in (file for file in folder.rglob("*") if file.is_file()):
            text = file.read_text(encoding="utf-8")
            file.write_text(text.replace(TEMPLATE, name), encoding="utf-8")
    read_plugin(created[0])
    return created
