"""A network: tiles in, its answer out. Runs TorchScript, torch.export or ONNX, whichever lies beside it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]  # exists only inside Triton
from torch import Tensor
from torch.utils.dlpack import from_dlpack, to_dlpack  # type: ignore[attr-defined]  # to_dlpack is documented

HERE = Path(__file__).parent


def torchscript(path: Path, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Load a TorchScript file."""
    network: Callable[[Tensor], Tensor] = torch.jit.load(path, map_location=device).eval()  # type: ignore[no-untyped-call]
    return network


def exported(path: Path, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Load what torch.export.save wrote."""
    network: Callable[[Tensor], Tensor] = torch.export.load(path).module().to(device)
    return network


def onnx(path: Path, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Load an ONNX file with ONNX Runtime, on the GPU where it has one."""
    import onnxruntime  # noqa: PLC0415 (only where there is such a file)

    session = onnxruntime.InferenceSession(path, providers=onnxruntime.get_available_providers())
    name = session.get_inputs()[0].name
    return lambda tiles: torch.from_numpy(session.run(None, {name: tiles.cpu().numpy()})[0]).to(device)


FOUND = "boxes", "scores", "labels"
"""What a detector calls its answer (torchvision.models.detection)."""
KINDS = {"classes": torch.int64}
"""Outputs that are no float32."""
LOADERS = {"model.pt": torchscript, "model.pt2": exported, "model.onnx": onnx}


class TritonPythonModel:
    """What Triton calls (its Python backend's interface)."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the network, on the GPU of this instance where it has one."""
        on_gpu = args.get("model_instance_kind") == "GPU" and torch.cuda.is_available()
        self.device = torch.device(f"cuda:{args['model_instance_device_id']}" if on_gpu else "cpu")
        name, load = next((name, load) for name, load in LOADERS.items() if (HERE / name).is_file())
        self.network = load(HERE / name, self.device)
        self.outputs = [one["name"] for one in json.loads(args["model_config"])["output"]]

    @torch.inference_mode()
    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request; Triton may bring several at once."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        tiles = from_dlpack(pb_utils.get_input_tensor_by_name(request, "input").to_dlpack()).to(self.device)
        answered = parts(self.network(tiles))
        return pb_utils.InferenceResponse(
            [
                tensor(name, part.to(KINDS.get(name, torch.float32)).contiguous())
                for name, part in zip(self.outputs, answered, strict=False)
            ]
        )


def tensor(name: str, value: Tensor) -> Any:
    """Return an output of Triton's; one of nothing as an array, for it has no place in memory to share."""
    if value.numel():
        return pb_utils.Tensor.from_dlpack(name, to_dlpack(value))
    return pb_utils.Tensor(name, value.cpu().numpy())


def parts(output: Any) -> Sequence[Tensor]:
    """Return what a network gives in the order of config.pbtxt; of one image a detector gives a list or a dict."""
    if isinstance(output, dict):
        return [output[name] for name in FOUND] if set(FOUND) <= output.keys() else list(output.values())
    if isinstance(output, (list, tuple)):
        return parts(output[0]) if isinstance(output[0], dict) else output
    return [output]
