"""Denser than soft tissue: a threshold, where a network belongs."""

from typing import Any

import numpy as np
import triton_python_backend_utils as pb  # type: ignore[import-not-found]  # Triton puts it on the path of its own process


class TritonPythonModel:
    """What Triton calls (its Python backend's interface)."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        image = pb.get_input_tensor_by_name(request, "image").as_numpy()
        mask = (image > 200).astype(np.uint8)
        return pb.InferenceResponse(output_tensors=[pb.Tensor("mask", mask)])
