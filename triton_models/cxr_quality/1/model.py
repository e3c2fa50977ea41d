"""The Triton side of `radiograph`; config.pbtxt beside this folder names what goes in and out."""

from serving.tensor_model import TensorModel

from radiograph import assess


class TritonPythonModel(TensorModel):
    method = staticmethod(assess)
