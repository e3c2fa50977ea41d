"""isocenter: a PACS-integrated DICOM AI node. What stands here is a plugin author's whole vocabulary."""

from node import codes
from node.codes import Code
from node.errors import UnsuitableSeries
from node.infer.triton import Triton
from node.results import Finding, Measurement, NotSuitable, Result, Segment, Segmentation
from node.series import Frame, Series, Volume

__all__ = [
    "Code",
    "Finding",
    "Frame",
    "Measurement",
    "NotSuitable",
    "Result",
    "Segment",
    "Segmentation",
    "Series",
    "Triton",
    "UnsuitableSeries",
    "Volume",
    "codes",
]
