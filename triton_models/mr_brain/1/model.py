"""The parts of a brain, as chain.json says, and what their volumes are like, by a second network: conditions.pt."""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from serving.network_loader import load
from serving.triton_io import Output
from serving.volume_model import VolumeModel
from torch import Tensor

from conditions import conditions_of


class TritonPythonModel(VolumeModel):
    def initialize(self, args: dict[str, str]) -> None:
        super().initialize(args)
        self.conditions = load(self.folder / "conditions.pt", self.device)

    def answer(self, request: Any) -> Mapping[str, Output]:
        outputs = super().answer(request)
        labels, affine = cast("Tensor", outputs["labels"]), cast("NDArray[np.float64]", outputs["affine"])
        volumes, conditions = conditions_of(labels, affine, self.conditions)
        return {**outputs, "volumes": volumes, "conditions": conditions}
