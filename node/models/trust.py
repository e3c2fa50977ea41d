"""Which files of a model can hold code, and are loaded only where the administrator trusts them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from node.errors import ConfigError

CODE_SUFFIXES = (".py", ".pt", ".pt2", ".ts", ".pth", ".so", ".plan", ".sh")
"""Files of a model on Triton that its server runs, or that can hold code."""


def require_trust(source: Path, what: str, *, trust: bool) -> None:
    """Raise ConfigError where a file that can hold code is not trusted."""
    if not trust:
        raise ConfigError(
            f"{source} is {what}, which can hold code that runs when it is loaded: if you trust where it comes from, "
            "say --trust. ONNX, and weights with --network, need no trust"
        )


def require_trust_of_folder(source: Path, *, trust: bool) -> None:
    """Raise ConfigError where the folder of a model on Triton holds code and is not trusted."""
    code = next((path for path in sorted(source.rglob("*")) if path.suffix in CODE_SUFFIXES), None)
    if code is not None:
        require_trust(code, "run by Triton", trust=trust)


def check_external_data(source: Path, load: Callable[..., Any]) -> None:
    """Check that an ONNX file takes no weights from elsewhere than its own folder; `load` is `onnx.load`.

    ConfigError names a place that is absolute, leads out of the folder, or is a link.
    """
    model = load(source, load_external_data=False)
    tensors = [*model.graph.initializer, *(a.t for node in model.graph.node for a in node.attribute if a.HasField("t"))]
    for tensor in tensors:
        for entry in tensor.external_data:
            if entry.key == "location":
                _check_place(source, Path(entry.value))


def _check_place(source: Path, place: Path) -> None:
    file = source.parent / place
    if place.is_absolute() or ".." in place.parts or file.is_symlink():
        raise ConfigError(f"{source} takes its weights from {place}: they must be files beside it")
