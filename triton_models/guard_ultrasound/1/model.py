"""The Triton side of `ultrasound`; config.pbtxt beside this folder names what goes in and out."""

from serving.tensor_model import TensorModel

from ultrasound import judge


class TritonPythonModel(TensorModel):
    method = staticmethod(judge)
