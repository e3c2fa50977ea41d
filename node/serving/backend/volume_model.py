"""A volume model: whole volumes in, labels, findings, boxes or an image out, by the network beside it."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]  # exists only inside Triton
from serving import chains  # type: ignore[import-not-found]  # copied beside this file
from serving.answers import in_channels, nowhere  # type: ignore[import-not-found]
from serving.grid import Placed  # type: ignore[import-not-found]
from torch import Tensor
from torch.utils.dlpack import from_dlpack, to_dlpack  # type: ignore[attr-defined]  # to_dlpack is documented

HERE = Path(__file__).parent


class TritonPythonModel:
    """What Triton calls (its Python backend's interface)."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read what is done around the network; the network has the name of this model and `_net`."""
        self.chain = chains.read(HERE)
        self.network = f"{args['model_name']}_net"
        told = json.loads(args["model_config"])["parameters"]
        self.input, self.output = (told[name]["string_value"] for name in ("input", "output"))
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request with what the chain gives, or with the sentence that says why there is nothing."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            images = [placed for role in self.chain.roles for placed in self._placed(request, role)]
            ask = self._found if self.chain.answer == "boxes" else self._ask
            outputs = chains.answer(self.chain, images, partial(ask, request))
        except ValueError as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
        return pb_utils.InferenceResponse([tensor(name, value) for name, value in outputs.items()])

    def _placed(self, request: Any, role: str) -> list[Placed]:
        """Return a role's channels, on this server's device, each with the affine."""
        given = [pb_utils.get_input_tensor_by_name(request, name) for name in (role, f"{role}_field")]
        image = next((one for one in given if one is not None), None)
        if image is None:
            raise ValueError(f"neither {role} nor {role}_field was given")
        affine = pb_utils.get_input_tensor_by_name(request, f"{role}_affine")
        place = nowhere() if affine is None else affine.as_numpy().astype(np.float64)
        return [(channel, place) for channel in in_channels(from_dlpack(image.to_dlpack()).to(self.device))]

    def _ask(self, request: Any, tiles: Tensor) -> Tensor:
        (output,) = self._outputs(request, tiles, self.output)
        return output

    def _found(self, request: Any, tiles: Tensor) -> tuple[Tensor, ...]:
        return self._outputs(request, tiles, "boxes", "scores", "classes")

    def _outputs(self, request: Any, tiles: Tensor, *names: str) -> tuple[Tensor, ...]:
        if request.is_cancelled():
            raise ValueError("nobody waits for the answer any more")
        given = pb_utils.Tensor.from_dlpack(self.input, to_dlpack(tiles.contiguous()))
        asked = pb_utils.InferenceRequest(model_name=self.network, requested_output_names=list(names), inputs=[given])
        got = asked.exec()
        if got.has_error():
            raise ValueError(got.error().message())
        tensors = [pb_utils.get_output_tensor_by_name(got, name) for name in names]
        return tuple(from_dlpack(one.to_dlpack()).to(self.device) for one in tensors)


def tensor(name: str, value: Any) -> Any:
    """Return an output of Triton's."""
    if isinstance(value, Tensor) and value.dtype is not torch.bool and value.numel():
        return pb_utils.Tensor.from_dlpack(name, to_dlpack(value.contiguous().cpu()))
    return pb_utils.Tensor(name, np.ascontiguousarray(value.cpu() if isinstance(value, Tensor) else value))
