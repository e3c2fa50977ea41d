"""The memory of a server for models: which are unloaded when another is to be loaded and not all fit."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from node.triton.model_config import CONFIG, instances, model_folder, read_config

PROCESS_BYTES = 200 << 20
"""What a Python process with PyTorch in it takes, beside the model's files; the Python backend has one per instance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMemory:
    """Memory for the models of one server.

    Parameters
    ----------
    repository
        The folder of the server's models; a model that is not in it counts as 0 bytes.
    limit
        Bytes for all models together; 0 is no limit.
    beside
        More folders of its models, for those that are not in `repository`.
    """

    repository: Path
    limit: int
    beside: Sequence[Path] = ()

    def to_unload(self, wanted: Collection[str], used: Mapping[str, int], busy: Collection[str]) -> list[str]:
        """Return the models to unload before the wanted ones are loaded, the least recently used first.

        Parameters
        ----------
        used
            When each loaded model was last asked. A model that was never asked (0) has only just been loaded; it is
            unloaded after all others.
        busy
            Models of running jobs, which are not unloaded.
        """
        if not self.limit or used.keys() >= set(wanted):
            return []
        places = (self.repository, *self.beside)
        bytes_of = {name: footprint(model_folder(places, name)) for name in {*used, *wanted}}
        idle = sorted(used.keys() - {*wanted, *busy}, key=lambda name: (used[name] == 0, used[name], name))
        unloaded: list[str] = []
        for name in idle:
            if sum(bytes_of.values()) <= self.limit:
                break
            unloaded.append(name)
            del bytes_of[name]
        return unloaded


def footprint(folder: Path) -> int:
    """Estimate how many bytes a model takes when it is loaded: its files, and a process for each Python instance."""
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if not (folder / CONFIG).is_file():
        return size
    config = read_config(folder)
    return size + (instances(config) * PROCESS_BYTES if config.backend == "python" else 0)
