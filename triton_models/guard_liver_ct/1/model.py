"""The Triton side of `liver_ct`; config.pbtxt beside this folder names what goes in and out."""

from serving.tensor_model import TensorModel

from liver_ct import judge


class TritonPythonModel(TensorModel):
    method = staticmethod(judge)
