"""A network from the file that lies beside its model: TorchScript, torch.export or ONNX."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .torch_import import complete_torch

Outputs = Callable[[Tensor], Sequence[Tensor]]
"""A network: (tile, channel, …) float32 in, its outputs out, in their order."""
DETECTED = "boxes", "scores", "labels"
"""What a detector calls its outputs (torchvision.models.detection)."""


def network_file(folder: Path, name: str = "network") -> Path | None:
    """Return the file of a network in a version folder, or None: then another model runs it."""
    return next((folder / f"{name}{end}" for end in LOADERS if (folder / f"{name}{end}").is_file()), None)


def load(path: Path, device: torch.device) -> Outputs:
    """Load a network from its file, ready to answer on a device."""
    network = LOADERS[path.suffix](path, device)
    return lambda tiles: outputs(network(tiles))


def outputs(answer: Any) -> Sequence[Tensor]:
    """Return the outputs of a network in their order; a detector gives a dict, or a list with one dict per image."""
    if isinstance(answer, dict):
        return [answer[name] for name in DETECTED] if set(DETECTED) <= answer.keys() else list(answer.values())
    if isinstance(answer, (list, tuple)):
        return outputs(answer[0]) if isinstance(answer[0], dict) else answer
    return [answer]


def _torchscript(path: Path, device: torch.device) -> Callable[[Tensor], Any]:
    network: Callable[[Tensor], Any] = torch.jit.load(path, map_location=device).eval()  # type: ignore[no-untyped-call]
    return network


def _exported(path: Path, device: torch.device) -> Callable[[Tensor], Any]:
    complete_torch()
    network: Callable[[Tensor], Any] = torch.export.load(path).module().to(device)
    return network


def _onnx(path: Path, device: torch.device) -> Callable[[Tensor], Any]:
    """Load an ONNX file with ONNX Runtime, on the GPU if it can use a GPU."""
    import onnxruntime  # noqa: PLC0415 (only where there is such a file)

    session = onnxruntime.InferenceSession(path, providers=onnxruntime.get_available_providers())
    name = session.get_inputs()[0].name
    return lambda tiles: torch.from_numpy(session.run(None, {name: tiles.cpu().numpy()})[0]).to(device)


LOADERS: dict[str, Callable[[Path, torch.device], Callable[[Tensor], Any]]] = {
    ".pt": _torchscript,
    ".pt2": _exported,
    ".onnx": _onnx,
}
