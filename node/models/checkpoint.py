"""Weights out of a file: plain, in a training script's checkpoint, in safetensors, or in a whole pickled module.

No code of a file is run: of a pickled module the tensors alone are taken, by their names.
"""

import importlib
import importlib.util
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from node.errors import ConfigError

WRAPPED = ("ema_state_dict", "state_dict_ema", "model_state_dict", "state_dict", "model", "network_weights", "weights")
"""Under which keys training scripts put the weights in their checkpoints; averaged ones (EMA) first."""
PREFIXES = ("module.", "model.", "net.", "network.", "ema_model.", "_orig_mod.")
"""What wrappers (DataParallel, Lightning, torch.compile) put before the names of weights."""
SAFETENSORS = ".safetensors"
PARTS = "_parameters", "_buffers", "_modules"
"""Attributes of a pickled module that hold its tensors and its parts."""
ALLOWED = {
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch", "Size"),
    ("builtins", "set"),
}
"""What is called while a pickled module is read; torch's storages are, too. Anything else becomes an `Inert`."""
MOST = 10_000
"""Parts of a module."""


def fitted(network: nn.Module, source: Path) -> nn.Module:
    """Return a network with the weights of a file; ConfigError says why the file cannot be read or does not fit."""
    held = weights_of(source)
    wanted = network.state_dict()
    fitting = next((found for found in _without_prefixes(held) if wanted.keys() <= found.keys()), held)
    try:
        network.load_state_dict({name: value for name, value in fitting.items() if name in wanted or fitting is held})
    except (AttributeError, RuntimeError) as error:
        raise ConfigError(
            f"{source} does not fit {type(network).__name__}: {' '.join(str(error).split())[:300]}"
        ) from error
    return network.eval()


def _without_prefixes(held: Mapping[str, Tensor]) -> list[Mapping[str, Tensor]]:
    """Return the weights as they are named, and as they are named without each of the prefixes that they have."""
    found = [held]
    for prefix in PREFIXES:
        last = found[-1]
        if any(name.startswith(prefix) for name in last):
            found.append({name.removeprefix(prefix): value for name, value in last.items() if name.startswith(prefix)})
    return found


def weights_of(source: Path) -> Mapping[str, Tensor]:
    """Return the tensors of a file by name.

    Raises
    ------
    ConfigError
        It cannot be read, or holds no tensors; the message says what to save.
    """
    if source.suffix == SAFETENSORS:
        return _safetensors(source)
    try:
        held = torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        held = _pickled(source)
    except (EOFError, OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"{source} cannot be read: {' '.join(str(error).split())[:200]}") from error
    wrapped = next(
        (held[key] for key in WRAPPED if isinstance(held, Mapping) and isinstance(held.get(key), Mapping)), held
    )
    if not isinstance(wrapped, Mapping) or not all(isinstance(value, Tensor) for value in wrapped.values()):
        raise ConfigError(f"{source} holds no weights by name: save the network's state_dict alone")
    return dict(wrapped)


def _safetensors(source: Path) -> Mapping[str, Tensor]:
    if importlib.util.find_spec("safetensors") is None:
        raise ConfigError(f"{source} needs safetensors: pip install safetensors")
    library = importlib.import_module("safetensors.torch")
    error = importlib.import_module("safetensors").SafetensorError
    try:
        held: Mapping[str, Tensor] = library.load_file(source)
    except (OSError, error) as cause:
        raise ConfigError(f"{source} cannot be read: {' '.join(str(cause).split())[:200]}") from cause
    return held


class Inert:
    """Stands for an object of a class that is not built: it keeps the attributes, and runs nothing."""

    dump_patches = False
    """PyTorch asks it of a class in a file older than 1.6, whose source is not that in the file."""

    def __init__(self, *_arguments: object, **_words: object) -> None: ...

    def __call__(self, *_arguments: object, **_words: object) -> "Inert":
        """Return another that does nothing."""
        return Inert()

    def __setstate__(self, state: object) -> None:
        """Keep the attributes of the object."""
        attributes = state[0] if isinstance(state, tuple) and state else state
        if isinstance(attributes, dict):
            self.__dict__.update({str(name): value for name, value in attributes.items()})


class TensorsAlone(pickle.Unpickler):
    """Reads a pickled module: tensors and dictionaries are built, everything else is an `Inert`."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what a pickle names, if it is one of the few things that may be built."""
        if (module, name) in ALLOWED or (module in ("torch", "torch.storage") and name.endswith("Storage")):
            return super().find_class(module, name)
        return Inert


def _load(opened: Any, **words: Any) -> Any:
    return TensorsAlone(opened, **words).load()


def _pickled(source: Path) -> Mapping[str, Any]:
    """Return the tensors of a module that was pickled whole, or what a checkpoint holds beside what it would build."""
    reader = SimpleNamespace(Unpickler=TensorsAlone, load=_load, __name__="pickle")
    try:
        with warnings.catch_warnings(category=torch.serialization.SourceChangeWarning, action="ignore"):
            held = torch.load(source, map_location="cpu", weights_only=False, pickle_module=reader)
    except (AttributeError, EOFError, KeyError, RuntimeError, TypeError, ValueError, pickle.UnpicklingError) as error:
        raise ConfigError(
            f"{source} is no file of weights, or is damaged: save the network's state_dict alone"
        ) from error
    if isinstance(held, Mapping):
        return held
    return dict(_tensors(held, "", [0]))


def _tensors(module: object, before: str, seen: list[int]) -> list[tuple[str, Tensor]]:
    seen[0] += 1
    if seen[0] > MOST:
        raise ConfigError(f"the pickled module has more than {MOST} parts")
    found = []
    parameters, buffers, parts = (getattr(module, name, None) or {} for name in PARTS)
    for name, value in [*parameters.items(), *buffers.items()]:
        if isinstance(value, Tensor):
            found.append((before + name, value.detach()))
    for name, part in parts.items():
        found += _tensors(part, f"{before}{name}.", seen)
    return found
