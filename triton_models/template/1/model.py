"""The model of plugins/template: a threshold."""

from typing import Any

import numpy as np
import triton_python_backend_utils as pb  # type: ignore[import-not-found]  # Triton puts it on the path of its own process

DENSE_HU = 200


class TritonPythonModel:
    """What Triton calls (its Python backend's interface)."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request with its mask."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        image = pb.get_input_tensor_by_name(request, "image").as_numpy()
        mask = (image > DENSE_HU).astype(np.uint8)
        return pb.InferenceResponse(output_tensors=[pb.Tensor("mask", mask)])
