"""isocenter: a PACS-integrated DICOM AI node. What stands here is a plugin author's whole vocabulary.

It is imported when it is first asked for: a receiver needs none of it, and no memory for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

_HOMES = {
    **dict.fromkeys(("Finding", "Measurement", "NotSuitable", "Result", "Segment", "Segmentation"), "node.results"),
    **dict.fromkeys(("Frame", "Series", "Volume"), "node.series"),
    "Code": "node.codes",
    "Triton": "node.infer.triton",
    "UnsuitableSeries": "node.errors",
}


def __getattr__(name: str) -> object:
    if name == "codes":
        return import_module("node.codes")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
