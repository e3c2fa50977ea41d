"""The geometry check: no answer leaves the node that does not lie on the images it was made from."""

from collections.abc import Mapping, Sequence

import numpy as np

from node.errors import BrokenResult, UnsuitableSeries
from node.results import Finding, Measurement, NotSuitable, Result, Segmentation
from node.series import Series

POSITION_TOLERANCE = 0.01
"""Millimetres by which the corner of a grid may be off: affines are float64, headers are decimal text."""


def check(results: Sequence[Result], inputs: Mapping[str, Series]) -> None:
    """Check what a plugin gave back against what it was given.

    Raises
    ------
    BrokenResult
        A segmentation lies on none of the grids the plugin was given, a measurement or finding is of a segment that was
        not outlined, or there are results beside "not suitable".
    """
    if len(results) > 1 and any(isinstance(result, NotSuitable) for result in results):
        raise BrokenResult("the plugin gave back results, and also that the images are not suitable")
    segmentations = [result for result in results if isinstance(result, Segmentation)]
    for segmentation in segmentations:
        if not any(lies_on(segmentation, series) for series in inputs.values()):
            raise BrokenResult(
                f"a segmentation of {segmentation.labels.array.shape} lies on none of the series the plugin was given; "
                "make it with volume.with_array(mask)"
            )
    outlined = {segment for segmentation in segmentations for segment in segmentation.segments}
    for result in results:
        if isinstance(result, (Measurement, Finding)) and result.of is not None and result.of not in outlined:
            raise BrokenResult(f"{result.name.meaning} is of segment {result.of.label!r}, which no segmentation has")


def lies_on(segmentation: Segmentation, series: Series) -> bool:
    """Return whether the labels have the very grid of a series: shape, frame of reference, and all eight corners."""
    labels, header = segmentation.labels, series.header
    if labels.array.shape != (len(series.frames), int(header.Rows), int(header.Columns)):
        return False
    if labels.frame_of_reference_uid != series.frame_of_reference_uid:
        return False
    try:
        expected = series.affine()
    except UnsuitableSeries:
        return False
    shape = np.array(labels.array.shape)
    corners = np.array([[*(shape - 1) * corner, 1] for corner in np.ndindex(2, 2, 2)], dtype=np.float64)
    return bool(np.abs((labels.affine - expected) @ corners.T).max() <= POSITION_TOLERANCE)
