"""A model that is one function of its inputs."""

import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from .triton_io import Output, device_of, input_of, respond, text_of


class TensorModel:
    """What Triton calls (its Python backend's interface), around `method`.

    `method` takes the inputs that config.pbtxt names as keywords, as tensors on the model's device, or a `str` where
    the type is TYPE_STRING. It returns its outputs by name: tensors, arrays or a sentence. The client gets the sentence
    of its ValueError.
    """

    method: ClassVar[Callable[..., Mapping[str, Output]]]

    def initialize(self, args: dict[str, str]) -> None:
        """Read the names of inputs and outputs."""
        config = json.loads(args["model_config"])
        self.inputs = {entry["name"]: entry["data_type"] for entry in config["input"]}
        self.outputs = [entry["name"] for entry in config["output"]]
        self.device = device_of(args)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request; Triton may bring several at once."""
        return respond(self._answer, requests)

    def _answer(self, request: Any) -> Mapping[str, Output]:
        given = {
            name: text_of(request, name) if kind == "TYPE_STRING" else input_of(request, name, self.device)
            for name, kind in self.inputs.items()
        }
        answer = self.method(**given)
        return {name: answer[name] for name in self.outputs}
