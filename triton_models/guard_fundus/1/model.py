"""The Triton side of `fundus`; config.pbtxt beside this folder names what goes in and out."""

from serving.tensor_model import TensorModel

from fundus import judge


class TritonPythonModel(TensorModel):
    method = staticmethod(judge)
