"""The Triton side of `head_mr`; config.pbtxt beside this folder names what goes in and out."""

from serving.tensor_model import TensorModel

from head_mr import judge


class TritonPythonModel(TensorModel):
    method = staticmethod(judge)
