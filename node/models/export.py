"""`isocenter model export`: models as a Triton repository that stands alone, for a server that has no isocenter."""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from node.errors import ConfigError
from node.triton.model_config import CONFIG, model_folder, read_config

LEFT_OUT = "*.py", "figures.json"
"""Beside config.pbtxt: how a network was trained, which needs isocenter, and how good it is."""


def export(repository: Path, folder: Path, models: Iterable[str], beside: Sequence[Path] = ()) -> tuple[Path, ...]:
    """Copy models into a folder, each with the model of its network if it has one; return their folders.

    What is linked in the repository is copied, so that nothing points out of the folder.

    Raises
    ------
    ConfigError
        A model is not in the repository, is in the folder already, or has a link to nothing. Nothing is copied then.
    """
    places = (repository, *beside)
    names = list(dict.fromkeys(name for model in models for name in _with_network(places, model)))
    for name in names:
        if (folder / name).exists():
            raise ConfigError(f"{folder / name} is there already: remove it, or choose another folder")
        for path in model_folder(places, name).rglob("*"):
            if path.is_symlink() and not path.exists():
                raise ConfigError(f"{path} is a link to nothing: put back what it names, or remove it")
    return tuple(_copied(model_folder(places, name), folder / name) for name in names)


def _with_network(places: Sequence[Path], model: str) -> tuple[str, ...]:
    """Return a model, and the model of its network if its configuration names one."""
    found = model_folder(places, model)
    if not (found / CONFIG).is_file():
        there = ", ".join(sorted(path.parent.name for path in places[0].glob(f"*/{CONFIG}"))) or "none"
        raise ConfigError(f"model {model} is not in {places[0]}, which has: {there}")
    parameters = read_config(found).parameters
    return (model, parameters["network"].string_value) if "network" in parameters else (model,)


def _copied(source: Path, folder: Path) -> Path:
    leave = shutil.ignore_patterns("__pycache__")
    beside = shutil.ignore_patterns("__pycache__", *LEFT_OUT)
    shutil.copytree(source, folder, ignore=lambda at, names: (beside if Path(at) == source else leave)(at, names))
    return folder
