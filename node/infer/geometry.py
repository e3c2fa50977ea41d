"""The geometry check: every result must lie on the images that the plugin was given."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from node.errors import BrokenResult, UnsuitableSeries
from node.images.series import Series
from node.images.stack_geometry import corners
from node.results import (
    Caveat,
    Comparison,
    DerivedSeries,
    Finding,
    Heatmap,
    KeyImages,
    Measurement,
    NotSuitable,
    Region,
    Registration,
    Result,
    Segmentation,
    Summary,
)


def check(results: Sequence[Result], inputs: Mapping[str, Series]) -> None:
    """Check the results of a plugin against the images that it was given.

    Raises
    ------
    BrokenResult
        A result lies on none of the given images, a measurement or finding is of a segment or region that is not among
        the results, or there are other results beside "not suitable".
    """
    if len(results) > 1 and any(isinstance(result, NotSuitable) for result in results):
        raise BrokenResult("the plugin gave back results, and also that the images are not suitable")
    for result in results:
        match result:
            case Segmentation():
                _check_segmentation(result, inputs)
            case Region():
                _check_region(result, inputs)
            case Heatmap() | DerivedSeries():
                _check_stack(result, inputs)
            case Registration():
                _check_registration(result, inputs)
            case KeyImages():
                _check_key_images(result, inputs)
            case Measurement() | Finding():
                _check_subject(result, results)
            case Comparison():
                _check_subject(result.measurement, results)
            case NotSuitable() | Caveat() | Summary():
                pass


def _check_segmentation(result: Segmentation, inputs: Mapping[str, Series]) -> None:
    if not any(result.lies_on(series) for series in inputs.values()):
        raise BrokenResult(
            f"a segmentation of {result.labels.array.shape} lies on none of the series the plugin was given; "
            "make it with volume.with_array(mask)"
        )


def _check_region(region: Region, inputs: Mapping[str, Series]) -> None:
    """Check that the region is on a given image, or that its points lie within the field of view of a stack."""
    if region.image is not None:
        if _frames(inputs).isdisjoint({(region.image.sop_instance_uid, region.image.number)}):
            raise BrokenResult(f"region {region.label!r} is on an image the plugin was not given")
        return
    near = [series for series in inputs.values() if series.frame_of_reference_uid == region.frame_of_reference_uid]
    if not near:
        raise BrokenResult(f"region {region.label!r} is in a frame of reference that no image has")
    if not any(_contains(series, region) for series in near):
        raise BrokenResult(f"region {region.label!r} lies outside the images in its frame of reference")


def _contains(series: Series, region: Region) -> bool:
    """Return whether all points lie in the stack, at most one voxel outside; a stack without a grid contains any."""
    try:
        inverse = np.linalg.inv(series.affine())
    except UnsuitableSeries:
        return series.placed
    indices = (np.c_[region.points, np.ones(len(region.points))] @ inverse.T)[:, :3]
    last = np.array([len(series.frames), int(series.header.Rows), int(series.header.Columns)]) - 1
    return bool((indices >= -1).all() and (indices <= last + 1).all())


def _check_stack(result: Heatmap | DerivedSeries, inputs: Mapping[str, Series]) -> None:
    kind = "heat map" if isinstance(result, Heatmap) else "derived series"
    source = result.source
    if not any(source is series for series in inputs.values()):
        raise BrokenResult(f"a {kind} is of a series the plugin was not given")
    shown = result.shows if isinstance(result, DerivedSeries) else None
    if shown is not None and not any(shown is series for series in inputs.values()):
        raise BrokenResult("a derived series shows a series that the plugin was not given")
    affine = result.affine if isinstance(result, DerivedSeries) else None
    if affine is not None:
        _check_resampled(affine, result.array.shape[:3], source)
        return
    expected = (len(source.frames), int(source.header.Rows), int(source.header.Columns))
    if result.array.shape[:3] != expected:
        raise BrokenResult(f"a {kind} of {result.array.shape} does not fit its images of {expected}")


def _check_resampled(affine: NDArray[np.float64], shape: tuple[int, ...], source: Series) -> None:
    """Check that the grid of a derived series lies in the field of view of its source, at most one voxel outside."""
    try:
        inverse = np.linalg.inv(source.affine())
    except UnsuitableSeries as error:
        raise BrokenResult("a derived series has a grid, but the images it was made of have none") from error
    indices = (np.c_[corners(affine, shape), np.ones(8)] @ inverse.T)[:, :3]
    last = np.array([len(source.frames), int(source.header.Rows), int(source.header.Columns)]) - 1
    if (indices < -1).any() or (indices > last + 1).any():
        raise BrokenResult("a derived series reaches beyond the images it was made of")


def _check_registration(result: Registration, inputs: Mapping[str, Series]) -> None:
    for role, series in (("fixed", result.fixed), ("moving", result.moving)):
        if not any(series is given for given in inputs.values()):
            raise BrokenResult(f"the {role} images of a registration are none the plugin was given")
    if result.fixed is result.moving:
        raise BrokenResult("a registration is of a series with itself")


def _check_key_images(result: KeyImages, inputs: Mapping[str, Series]) -> None:
    if not {(frame.sop_instance_uid, frame.number) for frame in result.images} <= _frames(inputs):
        raise BrokenResult("a key image is none of the images the plugin was given")


def _check_subject(result: Measurement | Finding, results: Sequence[Result]) -> None:
    if result.of is None:
        return
    segments = {segment for other in results if isinstance(other, Segmentation) for segment in other.segments}
    regions = {id(other) for other in results if isinstance(other, Region)}
    if result.of not in segments and id(result.of) not in regions:
        kind = "region" if isinstance(result.of, Region) else "segment"
        raise BrokenResult(
            f"{result.name.meaning} is of {kind} {result.of.label!r}, which "
            + ("was not given back" if kind == "region" else "no segmentation has")
        )


def _frames(inputs: Mapping[str, Series]) -> set[tuple[str, int]]:
    return {(frame.sop_instance_uid, frame.number) for series in inputs.values() for frame in series.frames}
