"""The Triton side of `head_mr_t1`; config.pbtxt beside this folder names what goes in and out."""

from serving.tensor_model import TensorModel

from head_mr_t1 import judge


class TritonPythonModel(TensorModel):
    method = staticmethod(judge)
