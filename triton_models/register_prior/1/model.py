"""The Triton side of `registering`; config.pbtxt beside this folder names what goes in and out."""

from registering import register
from served.answering import Answering


class TritonPythonModel(Answering):
    method = staticmethod(register)
