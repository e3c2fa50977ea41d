"""The Triton side of `tissue`; config.pbtxt beside this folder names what goes in and out."""

from serving.tensor_model import Answering
from tissue import find_tissue


class TritonPythonModel(Answering):
    method = staticmethod(find_tissue)
