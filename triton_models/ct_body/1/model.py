"""The Triton side of `tissue`; config.pbtxt beside this folder names what goes in and out."""

from serving.tensor_model import TensorModel

from tissue import find_tissue


class TritonPythonModel(TensorModel):
    method = staticmethod(find_tissue)
