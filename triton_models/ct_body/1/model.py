"""The Triton side of `tissue`; config.pbtxt beside this folder names what goes in and out."""

from served.answering import Answering
from tissue import find_tissue


class TritonPythonModel(Answering):
    method = staticmethod(find_tissue)
