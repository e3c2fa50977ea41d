"""The Triton side of `chest_ct`; config.pbtxt beside this folder names what goes in and out."""

from serving.tensor_model import TensorModel

from chest_ct import judge


class TritonPythonModel(TensorModel):
    method = staticmethod(judge)
