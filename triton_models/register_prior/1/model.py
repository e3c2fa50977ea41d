"""The Triton side of `registering`; config.pbtxt beside this folder names what goes in and out."""

from registering import register
from serving.tensor_model import Answering


class TritonPythonModel(Answering):
    method = staticmethod(register)
