"""A volume model: whole volumes in; labels, findings, boxes or an image out, as the chain beside it says."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import chains
from .answers import in_channels, nowhere
from .grid import Placed
from .input_names import input_names
from .triton_io import NetworkOfModel, Output, device_of, input_of, respond


class VolumeModel:
    """What Triton calls (its Python backend's interface)."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the chain and load the network."""
        self.folder = Path(args["model_repository"]) / args["model_version"]
        self.device = device_of(args)
        self.chain = chains.read(self.folder)
        self.network = NetworkOfModel(args, self.folder, self.device)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request; Triton may bring several at once."""
        return respond(self.answer, requests)

    def answer(self, request: Any) -> Mapping[str, Output]:
        """Return the outputs for a request, by name; ValueError where there is no answer."""
        images = [placed for role in self.chain.roles for placed in self._placed(request, role)]
        ask = self._boxes if self.chain.answer == "boxes" else self._tiles
        outputs: Mapping[str, Output] = chains.answer(self.chain, images, partial(ask, request))
        return outputs

    def _placed(self, request: Any, role: str) -> list[Placed]:
        """Return a role's channels, each with its affine."""
        names = input_names(role, self.chain.roles)
        image = input_of(request, names.image, self.device)
        if image is None:
            image = input_of(request, names.floats, self.device)
        if image is None:
            raise ValueError(f"neither {names.image} nor {names.floats} was given")
        affine = input_of(request, names.affine, torch.device("cpu"))
        place = nowhere() if affine is None else affine.numpy().astype(np.float64)
        return [(channel, place) for channel in in_channels(image)]

    def _tiles(self, request: Any, tiles: Tensor) -> Tensor:
        return self.network.ask(request, tiles)[0].float()

    def _boxes(self, request: Any, tiles: Tensor) -> tuple[Tensor, ...]:
        boxes, scores, classes = self.network.ask(request, tiles)[:3]
        return boxes.float(), scores.float(), classes.long()
