"""A model is made in a child process that is confined: what it loads may be an attack, trusted or not.

The child writes into one folder, which is deleted, and has no network, a limit of memory and a limit of time
(`node.sandbox`). A model of Triton is tried out on a Triton in that child, which also writes below `/tmp`. What it has
made there is moved to its place when all went well.
"""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from node.engine import Sandbox, run_in_child
from node.errors import ConfigError, JobDied, PluginFailed
from node.host import VALIDATED_ON
from node.models.import_source import Source
from node.models.manifest_lines import guards
from node.models.triton_folder import is_triton
from node.records import GUARD

PICTURE = "phantom.png"
"""In the child's folder: how the phantom came back, where it came back wrong."""
SECONDS = 3600.0
"""How long it may take to load a network and to ask it once."""
TRITONS_FOLDER = Path("/tmp")  # noqa: S108 (Triton's Python back end has it written into its code)
"""Where a Triton that tries out a model makes a folder, whatever TMPDIR says."""
MEMORY_SHARE = 0.75
"""Of the machine's memory: the most that loading may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelToAdd:
    """What `isocenter model add` was asked for; the fields are the parameters of `node.models.add`."""

    source: Source
    name: str
    models: Path
    plugins: Path
    labels: tuple[str, ...]
    modality: str
    backend: str
    validated_on: str
    guard: str

    @property
    def picture(self) -> Path:
        """Where the picture of a phantom lies that came back wrong."""
        return (self.source.chain or self.source.path).with_name(f"{self.name}_phantom.png")

    def check(self) -> None:
        """Raise ConfigError where a folder is there already, or a guard is not, or a text is too long."""
        models, plugins, name, guard = self.models, self.plugins, self.name, self.guard
        for folder in (models / name, models / f"{name}_net", plugins / name):
            if folder.exists():
                raise ConfigError(f"{folder} is there already: remove it, or choose another name")
        if guard and not (models / f"{GUARD}{guard}").is_dir():
            raise ConfigError(
                f"--guard {guard}: {models} has no model {GUARD}{guard}; it has {', '.join(guards(models))}"
            )
        if len(self.validated_on) > VALIDATED_ON:
            raise ConfigError(
                f"--validated-on has {len(self.validated_on)} characters: name the data in {VALIDATED_ON}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What was made: the folders of the volume model, of its network where another back end runs it, and of the plugin.

    `likeness` is the Dice of the phantom that was sent and of the answer; None where the answer has no place,
    as with findings.
    """

    folders: tuple[Path, ...]
    kind: str
    classes: int
    likeness: float | None


def made_in_sandbox(make: Callable[[ModelToAdd, Path], Made], order: ModelToAdd, scratch: Path) -> Made:
    """Call `make(order, scratch)` in a confined child process; it may write into `scratch`.

    Raises
    ------
    ConfigError
        What `make` raised; or it raised another error, died, or needed too much memory or time: the source is named.
    """
    memory = int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * MEMORY_SHARE)
    writable = (scratch, TRITONS_FOLDER) if is_triton(order.source.path) else (scratch,)
    sandbox = Sandbox(writable=writable, memory=memory)
    try:
        return run_in_child(make, (order, scratch), returns=Made, seconds=SECONDS, beat=lambda: True, sandbox=sandbox)
    except ConfigError:
        with suppress(FileNotFoundError):
            shutil.move(scratch / PICTURE, order.picture)
        raise
    except (PluginFailed, JobDied) as error:
        raise ConfigError(f"{order.source.path} cannot be loaded: {error}") from error


def place_made(order: ModelToAdd, scratch: Path, made: Made) -> Made:
    """Move what a child has made in `scratch` to its place; return it with its folders there."""
    *models, plugin = made.folders
    places = (*(order.models / folder.name for folder in models), order.plugins / order.name)
    for folder, place in zip((*models, plugin), places, strict=True):
        if scratch not in folder.parents or folder.resolve() != scratch.resolve() / folder.relative_to(scratch):
            raise ConfigError(f"{order.source.path} was loaded, and then lied about what was made of it: do not use it")
        shutil.move(folder, place)
    return Made(folders=places, kind=made.kind, classes=made.classes, likeness=made.likeness)
