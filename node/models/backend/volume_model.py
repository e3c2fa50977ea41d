"""A volume model: a whole volume in, labels out, with the network beside it asked tile by tile, all on this server."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]  # exists only inside Triton
from numpy.typing import NDArray
from served import ways  # type: ignore[import-not-found]  # copied beside this file
from torch import Tensor
from torch.utils.dlpack import from_dlpack, to_dlpack  # type: ignore[attr-defined]  # to_dlpack is documented

HERE = Path(__file__).parent


class TritonPythonModel:
    """What Triton calls (its Python backend's interface)."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read what is done around the network; the network has the name of this model and `_net`."""
        self.chain = ways.read(HERE)
        self.network = f"{args['model_name']}_net"
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request with its labels, or with the sentence that says why there are none."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            images = [self._placed(request, role) for role in self.chain.roles]
            labels = ways.segment(self.chain, images, self._ask)
        except ValueError as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor.from_dlpack("labels", to_dlpack(labels.cpu())), pb_utils.Tensor("affine", images[0][1])]
        )

    def _placed(self, request: Any, role: str) -> tuple[Tensor, NDArray[np.float64]]:
        """Return a role's volume, on this server's device, and its affine."""
        given = [pb_utils.get_input_tensor_by_name(request, name) for name in (role, f"{role}_field")]
        image = next((one for one in given if one is not None), None)
        if image is None:
            raise ValueError(f"neither {role} nor {role}_field was given")
        affine = pb_utils.get_input_tensor_by_name(request, f"{role}_affine").as_numpy().astype(np.float64)
        return from_dlpack(image.to_dlpack()).to(self.device), affine

    def _ask(self, tiles: Tensor) -> Tensor:
        given = pb_utils.Tensor.from_dlpack("input", to_dlpack(tiles.contiguous()))
        asked = pb_utils.InferenceRequest(model_name=self.network, requested_output_names=["output"], inputs=[given])
        answer = asked.exec()
        if answer.has_error():
            raise ValueError(answer.error().message())
        output = pb_utils.get_output_tensor_by_name(answer, "output")
        return from_dlpack(output.to_dlpack()).to(self.device)
