"""What can be drawn of a case: outlines of segments, and regions, on frames or in the patient."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from node.codes import Code
from node.compose.ascii_text import LO, plain
from node.compose.case import Case
from node.compose.palette import region_colors, segment_colors
from node.errors import UnsuitableSeries
from node.images.contours import Loop
from node.images.frame import Frame
from node.images.series import Series
from node.results import Region, RegionKind, Segmentation

Graphic = Literal["POINT", "POLYLINE", "ELLIPSE"]
Trace = Callable[[NDArray[np.bool_]], Sequence[Loop]]
"""Gives the loops that outline a mask (row, column)."""

ELLIPSE_STEPS = 72
IN_PLANE = 0.5
"""A region in the patient is drawn on a frame if its points are no farther from it than this part of the slice step."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shape:
    """One outline on one frame.

    Parameters
    ----------
    kind
        Graphic type of GSPS and SR (PS3.3 C.10.5.1, C.18.6); a closed POLYLINE repeats its first point.
    points
        (n, 2): column, row, in pixels from the outer corner of the first pixel.
    """

    frame: Frame
    kind: Graphic
    points: Loop


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Annotation:
    """Label, colour (red, green, blue) and Tracking UID of a segment or region that is drawn."""

    label: str
    color: tuple[int, int, int]
    tracking_uid: str


Drawing = tuple[Frame, Annotation, list[Shape]]
"""All shapes of one segment or region on one frame."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawable(Annotation):
    """A segment or region of a case that can be drawn.

    Parameters
    ----------
    series
        The series it lies on.
    result, number
        The region, or the segmentation and the number of the segment in it.
    """

    type: Code
    series: Series
    result: Segmentation | Region
    number: int = 0

    def shapes(self, trace: Trace) -> Iterator[Shape]:
        """Yield the outlines on frames; `trace` outlines the mask of a segment."""
        if isinstance(self.result, Region):
            yield from _region_shapes(self.result, self.series)
            return
        for index, frame in enumerate(self.series.frames):
            if (mask := self.result.plane(index, self.number)).any():
                for loop in trace(mask):
                    yield Shape(frame=frame, kind="POLYLINE", points=closed(loop))


def drawables(case: Case) -> list[Drawable]:
    """Return all segments and regions that can be drawn, in the order of the results."""
    found: list[Drawable] = []
    colors = region_colors(case.results)
    segmentations = regions = 0
    for result in case.results:
        if isinstance(result, Segmentation):
            found += _drawable_segments(case, result, segmentations)
            segmentations += 1
        if isinstance(result, Region):
            if series := series_of_region(case, result):
                found.append(
                    Drawable(
                        label=plain(result.label, LO),
                        type=result.type,
                        color=colors[id(result)],
                        tracking_uid=case.region_tracking_uid(regions),
                        series=series,
                        result=result,
                    )
                )
            regions += 1
    return found


def _drawable_segments(case: Case, result: Segmentation, order: int) -> Iterator[Drawable]:
    series = case.series_of(result)
    for number, (segment, color) in enumerate(zip(result.segments, segment_colors(result.segments), strict=True), 1):
        yield Drawable(
            label=plain(segment.label, LO),
            type=segment.type,
            color=color,
            tracking_uid=case.segment_tracking_uid(order, number),
            series=series,
            result=result,
            number=number,
        )


def series_of_region(case: Case, region: Region) -> Series | None:
    """Return the series of the study that a region lies on: the one with its image, or in its frame of reference."""
    for series in filter(case.is_in_study, case.inputs.values()):
        if region.image is None and series.frame_of_reference_uid == region.frame_of_reference_uid:
            return series
        if region.image is not None and frame_index(region.image, series) is not None:
            return series
    return None


def frame_index(frame: Frame, series: Series) -> int | None:
    """Return the index of a frame in a series, None if it is not of the series."""
    wanted = frame.sop_instance_uid, frame.number
    return next(
        (index for index, other in enumerate(series.frames) if (other.sop_instance_uid, other.number) == wanted), None
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RegionPosition:
    """Where a region lies in a series.

    Parameters
    ----------
    index
        Of the frame, in the series.
    points
        (n, 2): column, row, in pixels from the outer corner of the first pixel.
    off
        Greatest distance of a point from the frame, in slices.
    """

    index: int
    points: Loop
    off: float = 0.0


def locate_region(region: Region, series: Series) -> RegionPosition | None:
    """Return the position of a region in a series; in the patient, on the nearest frame. None outside the series."""
    if region.image is not None:
        index = frame_index(region.image, series)
        return None if index is None else RegionPosition(index=index, points=region.points)
    if region.frame_of_reference_uid != series.frame_of_reference_uid:
        return None
    try:
        inverse = np.linalg.inv(series.affine())
    except UnsuitableSeries:
        return None
    indices = (np.c_[region.points, np.ones(len(region.points))] @ inverse.T)[:, :3]
    index = round(float(indices[:, 0].mean()))
    if not 0 <= index < len(series.frames):
        return None
    off = float(np.abs(indices[:, 0] - index).max())
    return RegionPosition(index=index, points=indices[:, :0:-1] + 0.5, off=off)


def _region_shapes(region: Region, series: Series) -> Iterator[Shape]:
    position = locate_region(region, series)
    if position is not None and position.off <= IN_PLANE:
        kind, points = as_graphic(region.kind, position.points)
        yield Shape(frame=series.frames[position.index], kind=kind, points=points)


def as_graphic(kind: RegionKind, points: Loop) -> tuple[Graphic, Loop]:
    """Return the graphic type and points that a region is drawn with; a box has five points, the first twice."""
    match kind:
        case "point" | "point3d":
            return "POINT", points
        case "ellipse":
            return "ELLIPSE", points
        case "polyline":
            return "POLYLINE", points
        case "box":
            (left, top), (right, bottom) = points
            corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
            return "POLYLINE", closed(corners)
        case _:
            return "POLYLINE", closed(points)


def ellipse_points(ellipse: Loop) -> Loop:
    """Return points along an ellipse that is given by the ends of its axes; the first point again at the end."""
    centre, angles = ellipse.mean(axis=0), np.linspace(0, 2 * np.pi, ELLIPSE_STEPS + 1)[:, None]
    return np.asarray(centre + np.cos(angles) * (ellipse[0] - centre) + np.sin(angles) * (ellipse[2] - centre))


def closed(loop: Loop) -> Loop:
    """Return a loop with its first point again at the end."""
    return np.concatenate([loop, loop[:1]])


def points_in_patient(shape: Shape) -> NDArray[np.float64]:
    """Return the points of a shape in mm, LPS: (n, 3); of an ellipse, points along it (PS3.3 C.7.6.2.1.1)."""
    frame, points = shape.frame, shape.points
    if shape.kind == "ELLIPSE":
        points = ellipse_points(points)
    if frame.position is None or frame.orientation is None or frame.spacing is None:
        raise UnsuitableSeries(f"instance {frame.sop_instance_uid} has no position in the patient")
    along_row = np.outer(points[:, 0] - 0.5, np.multiply(frame.orientation[:3], frame.spacing[1]))
    along_column = np.outer(points[:, 1] - 0.5, np.multiply(frame.orientation[3:], frame.spacing[0]))
    return np.asarray(along_row + along_column + frame.position)
