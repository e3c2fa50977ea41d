"""The Triton side of `density`; config.pbtxt beside this folder names what goes in and out."""

from density import tissue_of
from serving.tensor_model import Answering


class TritonPythonModel(Answering):
    method = staticmethod(tissue_of)
