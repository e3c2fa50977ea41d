"""The Triton side of `registering`; config.pbtxt beside this folder names what goes in and out."""

from serving.tensor_model import TensorModel
from serving.torch_import import complete_torch

from registering import register

complete_torch()  # the optimiser imports torch._dynamo, which needs all of PyTorch


class TritonPythonModel(TensorModel):
    method = staticmethod(register)
