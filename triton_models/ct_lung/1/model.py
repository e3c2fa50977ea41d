"""The Triton side of `lungs`: tensors in, tensors out; config.pbtxt beside this folder says which."""

from typing import Any

import numpy as np
import torch
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]  # exists only inside Triton
from lungs import find_lungs
from torch.utils.dlpack import from_dlpack, to_dlpack  # type: ignore[attr-defined]  # to_dlpack is documented


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:  # noqa: ARG002 - the signature is Triton's
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self.answer(request) for request in requests]

    def answer(self, request: Any) -> Any:
        image = from_dlpack(pb_utils.get_input_tensor_by_name(request, "image").to_dlpack())
        affine = from_dlpack(pb_utils.get_input_tensor_by_name(request, "affine").to_dlpack())
        try:
            lungs = find_lungs(image.to(self.device), affine.cpu().numpy())
        except ValueError as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
        return pb_utils.InferenceResponse(
            output_tensors=[
                pb_utils.Tensor.from_dlpack("labels", to_dlpack(lungs.labels.cpu())),
                pb_utils.Tensor.from_dlpack("statistics", to_dlpack(torch.from_numpy(lungs.statistics))),
                pb_utils.Tensor("reason", np.array([lungs.reason.encode()], dtype=np.object_)),
            ]
        )
