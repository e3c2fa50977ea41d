"""A model that is one function of the tensors it is sent. Linked beside each model that is served so."""

import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]  # exists only inside Triton
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.dlpack import from_dlpack, to_dlpack  # type: ignore[attr-defined]  # to_dlpack is documented

Answer = Mapping[str, Tensor | NDArray[Any] | str]


class Answering:
    """What Triton calls (its Python backend's interface), around `method`.

    `method` takes the inputs that config.pbtxt names, by name, as tensors on this server's device, and returns its
    outputs by name: tensors, arrays or a sentence. A ValueError of it is told to the caller.
    """

    method: ClassVar[Callable[..., Answer]]

    def initialize(self, args: dict[str, str]) -> None:
        """Read what goes in and out."""
        config = json.loads(args["model_config"])
        self.inputs = [one["name"] for one in config["input"]]
        self.outputs = [one["name"] for one in config["output"]]
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @torch.inference_mode()
    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request; Triton may bring several at once."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        given = {name: pb_utils.get_input_tensor_by_name(request, name) for name in self.inputs}
        try:
            answer = self.method(**{n: from_dlpack(one.to_dlpack()).to(self.device) for n, one in given.items()})
        except ValueError as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
        return pb_utils.InferenceResponse([_tensor(name, answer[name]) for name in self.outputs])


def _tensor(name: str, value: Tensor | NDArray[Any] | str) -> Any:
    if isinstance(value, str):
        return pb_utils.Tensor(name, np.array([value.encode()], np.object_))
    if isinstance(value, Tensor):
        return pb_utils.Tensor.from_dlpack(name, to_dlpack(value.contiguous().cpu()))
    return pb_utils.Tensor(name, np.ascontiguousarray(value))
