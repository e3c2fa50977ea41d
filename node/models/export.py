"""`isocenter model export`: models as a Triton repository that stands alone, for a server that has no isocenter."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from node.errors import ConfigError
from node.triton.model_config import CONFIG, read_config

LEFT_OUT = "*.py", "figures.json"
"""Beside config.pbtxt: how a network was trained, which needs isocenter, and how good it is."""


def export(repository: Path, folder: Path, models: Iterable[str]) -> tuple[Path, ...]:
    """Copy models into a folder, each with the model of its network if it has one; return their folders.

    What is linked in the repository is copied, so that nothing points out of the folder.

    Raises
    ------
    ConfigError
        A model is not in the repository, is in the folder already, or has a link to nothing. Nothing is copied then.
    """
    names = list(dict.fromkeys(name for model in models for name in _with_network(repository, model)))
    for name in names:
        if (folder / name).exists():
            raise ConfigError(f"{folder / name} is there already: remove it, or choose another folder")
        for path in (repository / name).rglob("*"):
            if path.is_symlink() and not path.exists():
                raise ConfigError(f"{path} is a link to nothing: put back what it names, or remove it")
    return tuple(_copied(repository / name, folder / name) for name in names)


def _with_network(repository: Path, model: str) -> tuple[str, ...]:
    """Return a model, and the model of its network if its configuration names one."""
    if not (repository / model / CONFIG).is_file():
        there = ", ".join(sorted(path.parent.name for path in repository.glob(f"*/{CONFIG}"))) or "none"
        raise ConfigError(f"model {model} is not in {repository}, which has: {there}")
    parameters = read_config(repository / model).parameters
    return (model, parameters["network"].string_value) if "network" in parameters else (model,)


def _copied(source: Path, folder: Path) -> Path:
    leave = shutil.ignore_patterns("__pycache__")
    beside = shutil.ignore_patterns("__pycache__", *LEFT_OUT)
    shutil.copytree(source, folder, ignore=lambda at, names: (beside if Path(at) == source else leave)(at, names))
    return folder
