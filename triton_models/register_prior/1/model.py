"""The Triton side of `registering`; config.pbtxt beside this folder names what goes in and out."""

from serving.tensor_model import TensorModel

from registering import register


class TritonPythonModel(TensorModel):
    method = staticmethod(register)
