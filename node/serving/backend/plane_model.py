"""A plane model: planes in, probabilities and class maps out, with the network beside it asked, all on this server."""

from pathlib import Path
from typing import Any

import torch
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]  # exists only inside Triton
from serving.planes import Look, see  # type: ignore[import-not-found]  # copied beside this file
from torch import Tensor
from torch.utils.dlpack import from_dlpack, to_dlpack  # type: ignore[attr-defined]  # to_dlpack is documented

LOOK = Path(__file__).with_name("look.json")


class TritonPythonModel:
    """What Triton calls (its Python backend's interface)."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read how planes are prepared; the network has the name of this model and `_net`."""
        self.look = Look.read(LOOK)
        self.network = f"{args['model_name']}_net"
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request with what was seen, or with the sentence that says why nothing was."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        planes = from_dlpack(pb_utils.get_input_tensor_by_name(request, "image").to_dlpack()).to(self.device)
        try:
            seen = see(self.look, planes, self._ask)
        except ValueError as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
        outputs = {"probabilities": seen.probabilities, "shown": seen.shown, "maps": seen.maps}
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor.from_dlpack(name, to_dlpack(value.cpu())) for name, value in outputs.items()]
        )

    def _ask(self, tiles: Tensor) -> Tensor:
        given = pb_utils.Tensor.from_dlpack("input", to_dlpack(tiles.contiguous()))
        asked = pb_utils.InferenceRequest(model_name=self.network, requested_output_names=["output"], inputs=[given])
        answer = asked.exec()
        if answer.has_error():
            raise ValueError(answer.error().message())
        output = pb_utils.get_output_tensor_by_name(answer, "output")
        return from_dlpack(output.to_dlpack()).to(self.device)
