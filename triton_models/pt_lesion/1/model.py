"""The Triton side of `uptake`; config.pbtxt beside this folder names what goes in and out."""

from serving.tensor_model import TensorModel

from uptake import find_uptake


class TritonPythonModel(TensorModel):
    method = staticmethod(find_uptake)
