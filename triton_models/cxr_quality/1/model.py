"""The Triton side of `radiograph`; config.pbtxt beside this folder names what goes in and out."""

from radiograph import assess
from serving.tensor_model import Answering


class TritonPythonModel(Answering):
    method = staticmethod(assess)
