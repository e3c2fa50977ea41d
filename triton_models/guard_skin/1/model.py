"""The Triton side of `skin`; config.pbtxt beside this folder names what goes in and out."""

from serving.tensor_model import TensorModel

from skin import judge


class TritonPythonModel(TensorModel):
    method = staticmethod(judge)
