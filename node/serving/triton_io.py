"""Requests and responses of Triton's Python backend: tensors in and out, errors, and networks on the same server."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]  # exists only inside Triton
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.dlpack import from_dlpack, to_dlpack  # type: ignore[attr-defined]  # to_dlpack is documented

from .network_loader import Outputs, load, network_file

Output = Tensor | NDArray[Any] | str


def device_of(args: Mapping[str, str]) -> torch.device:
    """Return the device of a model's instance: its own GPU where Triton gave it one, else any GPU, else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    number = f":{args['model_instance_device_id']}" if args.get("model_instance_kind") == "GPU" else ""
    return torch.device(f"cuda{number}")


def input_of(request: Any, name: str, device: torch.device) -> Tensor | None:
    """Return an input of a request on a device; None where it was left out."""
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return None if tensor is None else from_dlpack(tensor.to_dlpack()).to(device)


def text_of(request: Any, name: str) -> str:
    """Return an input of a request that is one text."""
    values = pb_utils.get_input_tensor_by_name(request, name).as_numpy()
    return bytes(values.flat[0]).decode()


def respond(answer: Callable[[Any], Mapping[str, Output]], requests: Sequence[Any]) -> list[Any]:
    """Answer each request with its outputs by name; a ValueError becomes an error whose sentence the client gets."""
    return [_response(answer, request) for request in requests]


def _response(answer: Callable[[Any], Mapping[str, Output]], request: Any) -> Any:
    try:
        with torch.inference_mode():
            outputs = answer(request)
    except ValueError as error:
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
    return pb_utils.InferenceResponse([_output(name, value) for name, value in outputs.items()])


def _output(name: str, value: Output) -> Any:
    """Return an output; an empty tensor goes as an array, since it has no memory that could be shared."""
    if isinstance(value, str):
        return pb_utils.Tensor(name, np.array([value.encode()], np.object_))
    if isinstance(value, Tensor) and value.dtype is not torch.bool and value.numel():
        return pb_utils.Tensor.from_dlpack(name, to_dlpack(value.contiguous().cpu()))
    return pb_utils.Tensor(name, np.ascontiguousarray(value.cpu() if isinstance(value, Tensor) else value))


class NetworkOfModel:
    """The network of a model: the file in its version folder, or the model that the parameter `network` names.

    Parameters of config.pbtxt: `network`, with `network_input` and `network_output`, for a network that a native back
    end runs; `warm_up`, the shape of a tile of zeros that the network is asked once when the model is loaded.
    """

    def __init__(self, args: Mapping[str, str], folder: Path, device: torch.device) -> None:
        parameters = json.loads(args["model_config"]).get("parameters", {})
        self._values = {name: value["string_value"] for name, value in parameters.items()}
        self._device = device
        path = network_file(folder)
        self._inside: Outputs | None = None if path is None else load(path, device)
        if self._inside is None and "network" not in self._values:
            raise ValueError(f"{folder} has no network.pt, .pt2 or .onnx, and config.pbtxt names no network")
        if self._inside is not None and "warm_up" in self._values:
            shape = [int(extent) for extent in self._values["warm_up"].split(",")]
            with torch.inference_mode():
                self._inside(torch.zeros(shape, device=device))

    def ask(self, request: Any, tiles: Tensor) -> Sequence[Tensor]:
        """Return the outputs of the network for tiles (tile, channel, …) float32.

        Raises
        ------
        ValueError
            The client has cancelled the request, or the network refused the tiles.
        """
        if request.is_cancelled():
            raise ValueError("nobody waits for the answer any more")
        if self._inside is None:
            return self._by_triton(tiles)
        try:
            return self._inside(tiles)
        except RuntimeError as error:
            raise ValueError(str(error)) from error

    def _by_triton(self, tiles: Tensor) -> Sequence[Tensor]:
        """Ask the network as another model of this server (business logic scripting)."""
        given = pb_utils.Tensor.from_dlpack(self._values["network_input"], to_dlpack(tiles.contiguous()))
        names = [self._values["network_output"]]
        model = self._values["network"]
        answer = pb_utils.InferenceRequest(model_name=model, requested_output_names=names, inputs=[given]).exec()
        if answer.has_error():
            raise ValueError(answer.error().message())
        outputs = [pb_utils.get_output_tensor_by_name(answer, name) for name in names]
        return [from_dlpack(output.to_dlpack()).to(self._device) for output in outputs]
