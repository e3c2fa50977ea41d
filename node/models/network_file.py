"""Networks as people hold them: what kind of file it is, and its form for the server."""

import ast
import importlib
import importlib.util
import inspect
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from node.errors import ConfigError
from node.models.architectures import architecture
from node.models.checkpoint import SAFETENSORS, fitted
from node.models.torchscript_operators import check_operators
from node.models.trust import check_external_data, require_trust
from node.serving.network_loader import outputs

TORCHSCRIPT, EXPORTED, ONNX, WEIGHTS = "TorchScript", "torch.export", "ONNX", "state_dict"
TRITON = "Triton model"
"""Comes with its folder and its configuration."""
SUFFIXES = {TORCHSCRIPT: ".pt", EXPORTED: ".pt2", ONNX: ".onnx", WEIGHTS: ".pt2"}
"""How the file of a network ends in its model's folder; weights with their class are exported."""
HOLD_CODE = (TORCHSCRIPT, EXPORTED)
"""PyTorch runs operators that such a file names, evaluates expressions in it, and lets it write files."""
NOT_TAKEN = {
    ".keras": "a network of Keras, which is not taken: write it as ONNX, model.export(FILE, format='onnx')",
    ".h5": "a network of Keras, which is not taken: write it as ONNX, model.export(FILE, format='onnx')",
    ".pb": "a network of TensorFlow, which is not taken: write it as ONNX with tf2onnx",
    ".tflite": "a network of TensorFlow Lite, which is not taken: write it as ONNX with tf2onnx",
    ".plan": "a plan of TensorRT for one kind of GPU: give the ONNX file it was made of, and --backend tensorrt",
    ".engine": "a plan of TensorRT for one kind of GPU: give the ONNX file it was made of, and --backend tensorrt",
    ".zip": "an archive: unpack it, and name the network's file or folder",
}
"""Files that people have → what to do with them."""
WRITTEN_OUT = "isocenter."
"""Before the name of a network that isocenter has written out."""
WITHOUT_EFFECT = {"SwinUNETR": {"img_size"}}
"""Networks of MONAI → arguments that newer versions no longer have, since they changed nothing of the network."""
EXTENT = 32
"""Of an example along an axis of which nothing is known."""
OLD = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""How a file begins that PyTorch before 1.6, or pickle alone, wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What the input and the output of a network are called on Triton."""

    input: str = "input"
    output: str = "output"


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network that can be asked here, and put into a model's folder.

    `ask` takes (tile, channel, …) float32; `save` writes the file that the server loads: to a path without its suffix,
    which it adds; `names` are those that the file itself gives to input and output.
    """

    kind: str
    ask: Callable[[Tensor], Tensor]
    save: Callable[[Path], None]
    names: Names = Names()


def kinds() -> tuple[str, ...]:
    """Return the kinds of network that can be brought."""
    return tuple(SUFFIXES)


def read(source: Path, *, builder: str = "", trust: bool = False, example: tuple[int, ...] = ()) -> Network:
    """Read a network from a file.

    Parameters
    ----------
    builder
        For a state_dict: "monai.networks.nets.UNet(spatial_dims=3, …)", or "FILE.py:CLASS(…)" with `trust`; the
        arguments are plain literals. "isocenter.NAME" is a network of `node.models.architectures`.
    example
        Shape (tile, channel, …) of one tile, by which a network is exported.

    Raises
    ------
    ConfigError
        It is none of the kinds, cannot be loaded, can hold code and is not trusted, or needs what was not given; the
        message says what to do.
    """
    if builder.startswith(WRITTEN_OUT):
        return of_module(architecture(builder.removeprefix(WRITTEN_OUT), source), example)
    if not source.is_file():
        raise ConfigError(f"{source}: there is no such file")
    kind = _kind(source)
    if kind == WEIGHTS and not builder:
        raise ConfigError(
            f'{source} holds weights alone: say of which network, --network "monai.networks.nets.UNet(…)"'
        )
    if kind in HOLD_CODE:
        require_trust(source, kind, trust=trust)
    return _READERS[kind](source, builder, trust, example)


def _kind(source: Path) -> str:
    if source.suffix == ".onnx":
        return ONNX
    if source.suffix == SAFETENSORS or _begins(source) in OLD:
        return WEIGHTS
    if source.suffix in NOT_TAKEN:
        raise ConfigError(f"{source} is {NOT_TAKEN[source.suffix]}")
    if not zipfile.is_zipfile(source):
        raise ConfigError(f"{source} is no network isocenter knows: {', '.join(kinds())}, or a Triton model's folder")
    with zipfile.ZipFile(source) as archive:
        names = {name.partition("/")[2] for name in archive.namelist()}
    if "constants.pkl" in names:
        return TORCHSCRIPT
    if any(name.startswith("models/") and name.endswith(".json") for name in names) or "archive_format" in names:
        return EXPORTED
    return WEIGHTS


def _begins(source: Path) -> bytes:
    with source.open("rb") as opened:
        return opened.read(2)


def _torchscript(source: Path, builder: str, trust: bool, example: tuple[int, ...]) -> Network:  # noqa: ARG001, FBT001
    check_operators(source)
    network = torch.jit.load(source, map_location="cpu").eval()  # type: ignore[no-untyped-call]
    return Network(kind=TORCHSCRIPT, ask=_first(network), save=_copied(source, SUFFIXES[TORCHSCRIPT]))


def _exported(source: Path, builder: str, trust: bool, example: tuple[int, ...]) -> Network:  # noqa: ARG001, FBT001
    network = torch.export.load(source).module()
    return Network(kind=EXPORTED, ask=_first(network), save=_copied(source, SUFFIXES[EXPORTED]))


def _onnx(source: Path, builder: str, trust: bool, example: tuple[int, ...]) -> Network:  # noqa: ARG001, FBT001
    if None in map(importlib.util.find_spec, ("onnx", "onnxruntime")):
        raise ConfigError(f'{source} needs ONNX Runtime: pip install "isocenter[onnx]"')
    whole, runtime = importlib.import_module("onnx"), importlib.import_module("onnxruntime")
    check_external_data(source, whole.load)
    session = runtime.InferenceSession(source, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return Network(
        kind=ONNX,
        ask=lambda tiles: torch.from_numpy(session.run(None, {name: tiles.numpy()})[0]),
        save=lambda path: whole.save_model(whole.load(source), f"{path}{SUFFIXES[ONNX]}"),  # with what lies beside it
        names=Names(input=name, output=session.get_outputs()[0].name),
    )


def _weights(source: Path, builder: str, trust: bool, example: tuple[int, ...]) -> Network:  # noqa: FBT001
    return with_weights(_built(builder, trust=trust), source, example)


def with_weights(network: torch.nn.Module, source: Path, example: tuple[int, ...], *, fixed: bool = True) -> Network:
    """Return a network with the weights of a file, plain or in a training script's checkpoint.

    `example` is the shape (tile, channel, …) of one tile. Where every tile has it, the network is exported by it; else
    it becomes TorchScript, in which extents stay open.
    """
    return of_module(fitted(network, source), example, fixed=fixed)


def of_module(
    network: torch.nn.Module, example: tuple[int, ...], *, kind: str = WEIGHTS, fixed: bool = True
) -> Network:
    """Return a network that was built here, as `with_weights` does."""

    def save(path: Path) -> None:
        batch = torch.export.Dim("batch", min=1, max=64)
        given = torch.zeros((2, *example[1:]))
        if not fixed:
            torch.jit.script(network).save(f"{path}{SUFFIXES[TORCHSCRIPT]}")  # type: ignore[no-untyped-call]
            return
        exported = torch.export.export(network, (given,), dynamic_shapes=({0: batch},))
        torch.export.save(exported, f"{path}{SUFFIXES[WEIGHTS]}")

    return Network(kind=kind, ask=_first(network), save=save)


_READERS = {TORCHSCRIPT: _torchscript, EXPORTED: _exported, ONNX: _onnx, WEIGHTS: _weights}


def _first(network: Any) -> Callable[[Tensor], Tensor]:
    """Ask a network that may give back several things, in a list or by name; the first is its answer."""

    @torch.inference_mode()
    def ask(tiles: Tensor) -> Tensor:
        return outputs(network(tiles))[0]

    return ask


def _copied(source: Path, suffix: str) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        shutil.copyfile(source, f"{path}{suffix}")

    return save


def _built(builder: str, *, trust: bool) -> torch.nn.Module:
    """Build a network from its class and plain arguments; code of the user's own runs only where it is trusted."""
    place, _, words = builder.partition("(")
    return built(place, _literals(f"dict({words}" if words else "dict()", builder), trust=trust)


def built(place: str, arguments: Mapping[str, Any], *, trust: bool = False) -> torch.nn.Module:
    """Build a network from where its class is, as "monai.networks.nets.UNet", and its arguments."""
    file, _, name = place.rpartition(":")
    if file:
        if not trust:
            raise ConfigError(f"{file} is code: read it, and say --trust to have it run")
        module: Any = _run_file(Path(file))
    else:
        package, _, name = place.rpartition(".")
        if not package.startswith("monai.networks."):
            raise ConfigError(
                f"{place}: name one of MONAI's networks (monai.networks.nets.UNet), or FILE.py:CLASS with --trust"
            )
        if importlib.util.find_spec("monai") is None:
            raise ConfigError(f'{place} needs MONAI: pip install "isocenter[monai]"')
        module = importlib.import_module(package)
    made = getattr(module, name, None)
    if not inspect.isclass(made) or not issubclass(made, torch.nn.Module):
        raise ConfigError(f"{place}: there is no such network")
    known = inspect.signature(made).parameters
    dropped = {key for key in WITHOUT_EFFECT.get(name, ()) if key not in known}
    try:
        return made(**{key: value for key, value in arguments.items() if key not in dropped})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{place}: {error}") from error


def _literals(call: str, builder: str) -> dict[str, Any]:
    """Read the arguments of a call without running anything."""
    refusal = ConfigError(f"{builder}: arguments are written as name=value, with plain values")
    try:
        tree = ast.parse(call, mode="eval").body
    except SyntaxError as error:
        raise refusal from error
    if not isinstance(tree, ast.Call) or tree.args:
        raise refusal
    try:
        return {str(word.arg): ast.literal_eval(word.value) for word in tree.keywords}
    except ValueError as error:
        raise refusal from error


def _run_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ConfigError(f"{path}: there is no such Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
