"""The Triton side of `lungs`; config.pbtxt beside this folder names what goes in and out."""

from serving.tensor_model import TensorModel
from serving.triton_io import Output
from torch import Tensor

from lungs import find_lungs


class TritonPythonModel(TensorModel):
    @staticmethod
    def method(image: Tensor, affine: Tensor) -> dict[str, Output]:
        lungs = find_lungs(image, affine.cpu().numpy())
        return {"labels": lungs.labels, "statistics": lungs.statistics, "reason": lungs.reason}
