"""isocenter: a PACS-integrated DICOM AI node. This package exports everything that a plugin is written with.

Each name is imported at its first use (PEP 562), so that importing `node` costs nothing. Plugins import `node`,
`node.measuring`, `node.grading` and, in their tests, `node.testing`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from node import codes
    from node.codes import Code
    from node.errors import UnsuitableSeries
    from node.images.acquisition import Acquisition
    from node.images.frame import Frame
    from node.images.series import Series, Volume
    from node.results import (
        Caveat,
        Comparison,
        Deformation,
        DerivedSeries,
        Finding,
        Heatmap,
        KeyImages,
        Measurement,
        NotSuitable,
        OperatingPoint,
        Region,
        RegionKind,
        Registration,
        Result,
        Segment,
        Segmentation,
        Summary,
    )
    from node.results.figures import counted
    from node.triton.client import Triton
    from node.triton.model_inputs import volume_inputs

__all__ = [
    "Acquisition",
    "Caveat",
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
    "OperatingPoint",
    "Region",
    "RegionKind",
    "Registration",
    "Result",
    "Segment",
    "Segmentation",
    "Series",
    "Summary",
    "Triton",
    "UnsuitableSeries",
    "Volume",
    "codes",
    "counted",
    "volume_inputs",
]

_MODULES = {
    "node.codes": ("Code",),
    "node.errors": ("UnsuitableSeries",),
    "node.triton.client": ("Triton",),
    "node.triton.model_inputs": ("volume_inputs",),
    "node.results": (
        "Caveat",
        "Comparison",
        "Deformation",
        "DerivedSeries",
        "Finding",
        "Heatmap",
        "KeyImages",
        "Measurement",
        "NotSuitable",
        "OperatingPoint",
        "Region",
        "RegionKind",
        "Registration",
        "Result",
        "Segment",
        "Segmentation",
        "Summary",
    ),
    "node.results.figures": ("counted",),
    "node.images.acquisition": ("Acquisition",),
    "node.images.frame": ("Frame",),
    "node.images.series": ("Series", "Volume"),
}


def __getattr__(name: str) -> object:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(module), name)
    if name == "codes":
        return import_module("node.codes")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
