"""A model that Triton serves already, as a source: what its config.pbtxt takes and gives decides what it is here.

A network takes and gives one array of (tile, channel, …); a chain is put around it. A volume model takes a whole volume
and gives labels on it; it gets a plugin that asks it.
"""

import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tritonclient.grpc.model_config_pb2 import DataType
from tritonclient.utils import triton_to_np_dtype

from node.errors import ConfigError, ModelRefused, TritonUnavailable
from node.models.network_file import TRITON, Names, Network
from node.triton import GrpcTriton, LocalServer
from node.triton.model_config import CONFIG, parsed, read_config

FLOAT, DOUBLE, SHORT = "TYPE_FP32", "TYPE_FP64", "TYPE_INT16"
WHOLE = ("TYPE_UINT8", "TYPE_INT8", "TYPE_UINT16", "TYPE_INT16", "TYPE_INT32", "TYPE_INT64")
ASK_SECONDS = 120.0
PHANTOM = (40, 56, 48)
EXPECTED = (
    "a network (one FP32 input and one FP32 output, both of tile, channel and two or three axes), or a volume model "
    "(one INT16 or FP32 input of three axes, beside it at most an affine of 4 × 4, and one output of whole numbers and "
    "three axes)"
)
PLUGIN = '''\
"""Labels of the volume model {name}, outlined and measured."""

from collections.abc import Iterator

import numpy as np

from node import Measurement, Result, Segment, Segmentation, Series, Triton, codes

SEGMENTS = [
{segments}
]


def run(image: Series, triton: Triton) -> Iterator[Result]:
    """Ask the model for labels on the grid of the images."""
    volume = image.volume()
    labels = triton.infer("{name}", **{{{inputs}}})["{output}"].astype(np.uint8)
    yield Segmentation(labels=volume.with_array(labels), segments=SEGMENTS)
    for number, segment in enumerate(SEGMENTS, 1):
        millilitres = float((labels == number).sum()) * volume.voxel_ml
        yield Measurement(name=codes.SCT.Volume, value=millilitres, unit=codes.UCUM.CubicCentimeter, of=segment)
'''
SEGMENT = '    Segment(label="{label}", type=codes.{type}, category=codes.SCT.Organ),'


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedVolumeModel:
    """A model that takes whole volumes: what its volume, its affine (empty without) and its labels are called."""

    image: str
    affine: str
    output: str

    kind = "Triton volume model"

    def code(self, name: str, labels: Sequence[str], suggested: Callable[[str], object]) -> str:
        """Return plugin.py: the model asked under a name, its labels with suggested codes."""
        inputs = f'"{self.image}": volume' + (f', "{self.affine}": volume.affine' if self.affine else "")
        segments = "\n".join(SEGMENT.format(label=label, type=suggested(label)) for label in labels)
        return PLUGIN.format(name=name, segments=segments, inputs=inputs, output=self.output)


def is_triton(source: Path) -> bool:
    """Return whether a source is the folder of a model on Triton, or a repository of such."""
    return (source / CONFIG).is_file() or any(source.glob(f"*/{CONFIG}"))


def understand(source: Path) -> ServedVolumeModel | Names:
    """Say what a model is: one for whole volumes, or a network with these names.

    Raises
    ------
    ConfigError
        Its configuration is not Triton's, it lacks a version, keeps answers in a cache, or takes and gives something
        that isocenter cannot call; the message names all it takes and gives.
    """
    if not (source / CONFIG).is_file():
        there = sorted(path.parent.name for path in source.glob(f"*/{CONFIG}"))
        raise ConfigError(f"{source} is a repository of models; name one of them: {', '.join(there)}")
    config = read_config(source)
    if not any(folder.name.isdecimal() for folder in source.iterdir() if folder.is_dir()):
        raise ConfigError(f"{source} has no version: the model's files lie in a folder 1 on Triton")
    if config.response_cache.enable:
        raise ConfigError(f"{source / CONFIG}: take response_cache out, it would keep patients' data")
    takes = [_tensor(entry, config) for entry in config.input]
    gives = [_tensor(entry, config) for entry in config.output]
    volume = [tensor for tensor in takes if tensor.axes == 3 and tensor.kind in (SHORT, FLOAT)]
    affine = [tensor for tensor in takes if tensor.dims == (4, 4) and tensor.kind in (DOUBLE, FLOAT)]
    labels = [tensor for tensor in gives if tensor.axes == 3 and tensor.kind in WHOLE]
    others = [tensor for tensor in takes if not tensor.optional and tensor not in volume[:1] + affine[:1]]
    if volume and len(labels) == 1 and not others:
        return ServedVolumeModel(image=volume[0].name, affine=affine[0].name if affine else "", output=labels[0].name)
    if [(tensor.kind, tensor.axes) for tensor in (*takes, *gives)] in ([(FLOAT, 4)] * 2, [(FLOAT, 5)] * 2):
        return Names(input=takes[0].name, output=gives[0].name)
    taken, given = (", ".join(map(str, some)) or "nothing" for some in (takes, gives))
    raise ConfigError(f"{source} takes {taken} and gives {given}; isocenter calls {EXPECTED}")


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    kind: str
    dims: tuple[int, ...]
    optional: bool

    @property
    def axes(self) -> int:
        return len(self.dims)

    def __str__(self) -> str:
        return f"{self.name} ({self.kind.removeprefix('TYPE_')} of {', '.join(map(str, self.dims)) or 'one value'})"


def _tensor(entry: Any, config: Any) -> _Tensor:
    """Return an input or output with all its axes: the configuration leaves out that of a batch."""
    batch = (-1,) if config.max_batch_size > 0 else ()
    kind = DataType.Name(entry.data_type)
    return _Tensor(entry.name, kind, (*batch, *entry.dims), bool(getattr(entry, "optional", False)))


def served_network(source: Path) -> Network:
    """Return a network that Triton serves already.

    A model of the Python backend is asked on a server that is started for it. Any other runs in NVIDIA's container
    only: the number of its classes is that of its configuration.

    Raises
    ------
    ConfigError
        As in `understand`; or it is a volume model, which is no network.
    """
    names = understand(source)
    if isinstance(names, ServedVolumeModel):
        raise ConfigError(f"{source} takes whole volumes: no chain goes around it")
    config = read_config(source)

    def ask(tiles: Tensor) -> Tensor:
        if config.backend == "python":
            answer = _answer(source, source.name, **{names.input: tiles.numpy()})[names.output]
            return torch.from_numpy(answer)
        classes = _tensor(config.output[0], config).dims[1]
        if classes < 0:
            raise ConfigError(
                f"{source / CONFIG} does not say how many classes come out, and its back end does not run here: write "
                "their number into the second of the output's dims"
            )
        return torch.zeros((tiles.shape[0], classes, *tiles.shape[2:]))

    return Network(kind=TRITON, ask=ask, save=lambda folder: copy(source, folder), names=names)


def copy(source: Path, folder: Path) -> None:
    """Copy a model's folder to one of another name, which its configuration then has."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    path = folder / CONFIG
    text = path.read_text(encoding="utf-8")
    if name := read_config(source).name:
        text = re.sub(rf'name\s*:\s*"{re.escape(name)}"', f'name: "{folder.name}"', text, count=1)
    parsed(text, path)
    path.write_text(text, encoding="utf-8")


def try_out(source: Path, model: ServedVolumeModel, labels: Sequence[str]) -> None:
    """Ask a volume model for the labels of a phantom, where it runs here.

    Raises
    ------
    ConfigError
        It does not load, refuses the phantom, or answers on another grid or with more labels than there are names.
    """
    config = read_config(source)
    if config.backend != "python":
        return
    kinds = {entry.name: np.dtype(triton_to_np_dtype(DataType.Name(entry.data_type)[5:])) for entry in config.input}
    phantom = np.zeros(PHANTOM, kinds[model.image])
    phantom[10:30, 18:38, 16:32] = 1000
    inputs: dict[str, NDArray[Any]] = {model.image: phantom}
    if model.affine:
        inputs[model.affine] = np.diag([3.0, 1.0, 1.0, 1.0])[[2, 1, 0, 3]].astype(kinds[model.affine])
    answer = _answer(source, source.name, **inputs)[model.output]
    if answer.shape != PHANTOM:
        raise ConfigError(f"{source} answers images of {PHANTOM} with labels of {answer.shape}: another grid")
    if int(answer.max()) > len(labels):
        raise ConfigError(f"{source} answers with label {answer.max()}, and there are {len(labels)} names")


def _answer(source: Path, model: str, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Ask a model once, on a server of its own; ConfigError where it does not answer."""
    with tempfile.TemporaryDirectory(prefix="isocenter-model-") as scratch:
        folder = Path(scratch)
        copy(source, folder / "models" / model)
        try:
            with LocalServer(folder / "models", folder / "triton.log") as server:
                triton = GrpcTriton([server.address], deadline_seconds=ASK_SECONDS)
                triton.prepare([model], ASK_SECONDS)
                return triton.infer(model, **inputs)
        except (ModelRefused, TritonUnavailable) as error:
            raise ConfigError(f"{source} does not answer: {error}") from error
