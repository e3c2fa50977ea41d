"""The Triton side of `stained_tissue`; config.pbtxt beside this folder names what goes in and out."""

from serving.tensor_model import TensorModel

from stained_tissue import judge


class TritonPythonModel(TensorModel):
    method = staticmethod(judge)
