"""isocenter: a PACS-integrated DICOM AI node. What stands here is a plugin author's whole vocabulary.

Each word is fetched when it is first used (PEP 562): a receiver process needs none of them, and no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from node import codes
    from node.codes import Code
    from node.errors import UnsuitableSeries
    from node.images.frame import Frame
    from node.images.series import Series, Volume
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
    from node.triton.client import Triton

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

_HOMES = {
    "node.codes": ("Code",),
    "node.errors": ("UnsuitableSeries",),
    "node.triton.client": ("Triton",),
    "node.results": (
        "Comparison",
        "Deformation",
        "DerivedSeries",
        "Finding",
        "Heatmap",
        "KeyImages",
        "Measurement",
        "NotSuitable",
        "Region",
        "Registration",
        "Result",
        "Segment",
        "Segmentation",
    ),
    "node.images.frame": ("Frame",),
    "node.images.series": ("Series", "Volume"),
}


def __getattr__(name: str) -> object:
    for home, words in _HOMES.items():
        if name in words:
            return getattr(import_module(home), name)
    if name == "codes":
        return import_module("node.codes")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
