"""Lesions of a breast through the network beside this file, as chain.json says, and its tissue by thresholds."""

from collections.abc import Mapping
from typing import Any

from serving.triton_io import Output, input_of
from serving.volume_model import VolumeModel

from density import tissues_of


class TritonPythonModel(VolumeModel):
    def answer(self, request: Any) -> Mapping[str, Output]:
        images = input_of(request, "image", self.device)
        if images is None:
            raise ValueError("no image was given")
        return {**super().answer(request), "tissue": tissues_of(images)}
