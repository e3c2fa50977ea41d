"""The Triton side of `chest_radiograph`; config.pbtxt beside this folder names what goes in and out."""

from chest_radiograph import judge
from serving.tensor_model import TensorModel


class TritonPythonModel(TensorModel):
    method = staticmethod(judge)
