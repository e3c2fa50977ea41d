"""A new plugin: a copy of the template under another name, with its model, its test and its model card."""

import re
import shutil
from pathlib import Path

from node.errors import ConfigError
from node.host import read_plugin

TEMPLATE = "template"
ROOT = Path(__file__).parents[2]
"""The folder of `plugins` and `triton_models`: beside the package, in a checkout and when installed."""
NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


def new_plugin(name: str, plugins: Path, models: Path) -> tuple[Path, Path]:
    """Create `plugins/NAME` and `models/NAME`, a plugin that runs and passes its test; return both folders.

    Raises
    ------
    ConfigError
        The name is not valid, or a folder of that name exists.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is not a valid name: use a letter, then letters, digits and _, small, 32 at most")
    created = plugins / name, models / name
    for folder in created:
        if folder.exists():
            raise ConfigError(f"{folder} exists already: choose another name")
    for folder, source in zip(created, ("plugins", "triton_models"), strict=True):
        shutil.copytree(ROOT / source / TEMPLATE, folder, ignore=shutil.ignore_patterns("__pycache__"))
        for file in (file for file in folder.rglob("*") if file.is_file()):
            text = file.read_text(encoding="utf-8")
            file.write_text(text.replace(TEMPLATE, name), encoding="utf-8")
    read_plugin(created[0])
    return created
