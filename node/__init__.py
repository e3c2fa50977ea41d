"""isocenter: a PACS-integrated DICOM AI node. What stands here is a plugin author's whole vocabulary."""

from node import codes
from node.codes import Code
from node.errors import UnsuitableSeries
from node.infer.triton import Triton
from node.results import (
    Comparison,
    Deformation,
    DerivedSeries,
    Finding,
    Heatmap,
    KeyImages,
    Measurement,
    NotSuitable,
    Region,
    Registration,
    Result,
    Segment,
    Segmentation,
)
from node.series import Frame, Series, Volume

__all__ = [
    "Code",
    "Comparison",
    "Deformation",
    "DerivedSeries",
    "Finding",
    "Frame",
    "Heatmap",
    "KeyImages",
    "Measurement",
    "NotSuitable",
    "Region",
    "Registration",
    "Result",
    "Segment",
    "Segmentation",
    "Series",
    "Triton",
    "UnsuitableSeries",
    "Volume",
    "codes",
]
