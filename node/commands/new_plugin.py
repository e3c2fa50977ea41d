"""A plugin to begin with: the template under another name, with its model, its test and its model card."""

import re
import shutil
from pathlib import Path

from node.errors import ConfigError
from node.host import read_plugin

TEMPLATE = "template"
ROOT = Path(__file__).parents[2]
"""Where `plugins` and `triton_models` lie: beside the package, in a checkout as after installation."""
NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


def new_plugin(name: str, plugins: Path, models: Path) -> tuple[Path, Path]:
    """Make `plugins/NAME` and `models/NAME`, a plugin that runs and passes its test; return both folders.

    Raises
    ------
    ConfigError
        The name is none, or a folder is there already.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is no name: small letters, digits and underscores, 32 at most, a letter first")
    made = plugins / name, models / name
    for folder in made:
        if folder.exists():
            raise ConfigError(f"{folder} is there already: choose another name")
    for folder, source in zip(made, ("plugins", "triton_models"), strict=True):
        shutil.copytree(ROOT / source / TEMPLATE, folder, ignore=shutil.ignore_patterns("__pycache__"))
        for file in (file for file in folder.rglob("*") if file.is_file()):
            text = file.read_text(encoding="utf-8")
            file.write_text(text.replace(TEMPLATE, name), encoding="utf-8")
    read_plugin(made[0])
    return made
