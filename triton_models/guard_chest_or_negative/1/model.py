"""The Triton side of `chest_or_negative`; config.pbtxt beside this folder names what goes in and out."""

from serving.tensor_model import TensorModel

from chest_or_negative import judge


class TritonPythonModel(TensorModel):
    method = staticmethod(judge)
