"""Which models give way when another is to be loaded: the least recently used, until what is loaded fits."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from node.triton.model_config import CONFIG, instances, read_config

PROCESS_BYTES = 200 << 20
"""What a Python process with PyTorch in it takes, beside the model's files; the Python backend has one per instance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Memory for the models of one server, in bytes; 0 is no limit.

    `repository` is the folder of the server's models; one that is not in it is taken for nothing.
    """

    repository: Path
    limit: int

    def to_unload(self, wanted: Collection[str], used: Mapping[str, int], busy: Collection[str]) -> list[str]:
        """Return the models to unload before the wanted ones are loaded, the least recently used first.

        Parameters
        ----------
        used
            When each loaded model was last asked; one that never was (0) has only just been loaded, and goes last.
        busy
            Models of running jobs, which stay whatever they take.
        """
        if not self.limit or used.keys() >= set(wanted):
            return []
        taken = {name: footprint(self.repository / name) for name in {*used, *wanted}}
        idle = sorted(used.keys() - {*wanted, *busy}, key=lambda name: (used[name] == 0, used[name], name))
        going: list[str] = []
        for name in idle:
            if sum(taken.values()) <= self.limit:
                break
            going.append(name)
            del taken[name]
        return going


def footprint(folder: Path) -> int:
    """Estimate how many bytes a model takes when it is loaded: its files, and a process for each Python instance."""
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if not (folder / CONFIG).is_file():
        return size
    config = read_config(folder)
    return size + (instances(config) * PROCESS_BYTES if config.backend == "python" else 0)
