"""The Triton side of `mammogram`; config.pbtxt beside this folder names what goes in and out."""

from serving.tensor_model import TensorModel

from mammogram import judge


class TritonPythonModel(TensorModel):
    method = staticmethod(judge)
