"""The Triton side of `chest_radiograph`; config.pbtxt beside this folder names what goes in and out."""

from serving.tensor_model import TensorModel

from chest_radiograph import judge


class TritonPythonModel(TensorModel):
    method = staticmethod(judge)
