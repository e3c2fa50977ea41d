"""What a plugin returns: values that are checked when they are built, and composed into DICOM objects later."""

from node.results.checks import LABEL_LENGTH
from node.results.image_results import DerivedSeries, Heatmap
from node.results.region import REGION_POINTS, Region, RegionKind
from node.results.segmentation import MASK_THRESHOLD, Segment, Segmentation
from node.results.statements import (
    Caveat,
    Comparison,
    Finding,
    KeyImages,
    Measurement,
    NotSuitable,
    OperatingPoint,
    Presence,
    Summary,
)
from node.results.transforms import Deformation, Registration

__all__ = [
    "LABEL_LENGTH",
    "MASK_THRESHOLD",
    "REGION_POINTS",
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
    "Presence",
    "Region",
    "RegionKind",
    "Registration",
    "Result",
    "Segment",
    "Segmentation",
    "Summary",
]

Result = (
    Segmentation
    | Region
    | Measurement
    | Comparison
    | Finding
    | Heatmap
    | DerivedSeries
    | Registration
    | KeyImages
    | Caveat
    | NotSuitable
    | Summary
)
"""Everything that a plugin may return."""
