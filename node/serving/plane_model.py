"""A plane model: planes in; probabilities and class maps out, as planes.json beside it says."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from .planes import FILE, PlaneChain, classify
from .triton_io import NetworkOfModel, Output, device_of, input_of, respond


class PlaneModel:
    """What Triton calls (its Python backend's interface)."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read how planes are prepared and load the network."""
        folder = Path(args["model_repository"]) / args["model_version"]
        self.device = device_of(args)
        self.chain = PlaneChain.read(folder / FILE)
        self.network = NetworkOfModel(args, folder, self.device)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request; Triton may bring several at once."""
        return respond(self._answer, requests)

    def _answer(self, request: Any) -> Mapping[str, Output]:
        planes = input_of(request, "image", self.device)
        if planes is None:
            raise ValueError("no image was given")
        classes = classify(self.chain, planes, partial(self._ask, request))
        return {"probabilities": classes.probabilities, "shown": classes.shown, "maps": classes.maps}

    def _ask(self, request: Any, tiles: Tensor) -> Tensor:
        return self.network.ask(request, tiles)[0].float()
