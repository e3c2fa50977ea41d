"""What can be drawn of the results: outlines of segments, and regions, frame by frame or in the patient."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from node.codes import Code
from node.compose.ascii_text import LO, plain
from node.compose.identity import Identity
from node.compose.seg import PALETTE, colors, tracking_uid
from node.compose.source_images import series_of
from node.errors import UnsuitableSeries
from node.images.contours import Loop
from node.images.frame import Frame
from node.images.series import Series
from node.results import Region, RegionKind, Result, Segmentation

Graphic = Literal["POINT", "POLYLINE", "ELLIPSE"]
Trace = Callable[[NDArray[np.bool_]], Sequence[Loop]]
"""Gives the loops that outline a mask (row, column)."""

ELLIPSE_STEPS = 72
IN_PLANE = 0.5
"""Part of the distance between slices within which a point in the patient is shown on one of them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shape:
    """One outline on one frame.

    Parameters
    ----------
    kind
        As GSPS and SR call it (PS3.3 C.10.5.1, C.18.6); a closed POLYLINE repeats its first point.
    points
        (n, 2): column, row, in pixels from the outer corner of the first pixel.
    """

    frame: Frame
    kind: Graphic
    points: Loop


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mark:
    """What a thing that is drawn is called, and in which colour (red, green, blue) it is."""

    label: str
    color: tuple[int, int, int]
    tracking_uid: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Thing(Mark):
    """One segment or region, with what it looks like and how to draw it.

    Parameters
    ----------
    series
        The stack it is on.
    result, number
        Where it comes from: a region, or the segment of that number of a segmentation.
    """

    type: Code
    series: Series
    result: Segmentation | Region
    number: int = 0

    def shapes(self, trace: Trace) -> Iterator[Shape]:
        """Return the outlines on frames; `trace` says how a mask is outlined."""
        if isinstance(self.result, Region):
            yield from _region_shapes(self.result, self.series)
            return
        for index, frame in enumerate(self.series.frames):
            if (mask := self.result.plane(index, self.number)).any():
                for loop in trace(mask):
                    yield Shape(frame=frame, kind="POLYLINE", points=closed(loop))


def things(inputs: Mapping[str, Series], results: Sequence[Result], identity: Identity) -> list[Thing]:
    """Return all that can be drawn, in the order of the results, each with the Tracking UID it has in SEG and SR."""
    found: list[Thing] = []
    painted = region_colors(results)
    segmentations = regions = 0
    for result in results:
        if isinstance(result, Segmentation):
            found += _segments(result, series_of(result, inputs, identity.study_uid), identity, segmentations)
            segmentations += 1
        if isinstance(result, Region):
            if series := _series_of_region(result, inputs, identity.study_uid):
                found.append(_region(result, series, identity, regions, painted[id(result)]))
            regions += 1
    return found


def region_colors(results: Sequence[Result]) -> Mapping[int, tuple[int, int, int]]:
    """Return (red, green, blue) of every region by its `id`: its own, else the palette's next after the segments."""
    regions = [result for result in results if isinstance(result, Region)]
    taken = sum(len(result.segments) for result in results if isinstance(result, Segmentation))
    return {id(region): region.color or PALETTE[at % len(PALETTE)] for at, region in enumerate(regions, taken)}


def region_tracking_uid(region: Region, identity: Identity, order: int) -> str:
    """Return the Tracking UID of a region: the one it has, else one by its place among the regions of the job."""
    return region.tracking_uid or identity.uid("tracking", "region", str(order))


def _segments(result: Segmentation, series: Series, identity: Identity, order: int) -> Iterator[Thing]:
    for number, (segment, color) in enumerate(zip(result.segments, colors(result.segments), strict=True), 1):
        yield Thing(
            label=plain(segment.label, LO),
            type=segment.type,
            color=color,
            tracking_uid=tracking_uid(result, identity, order, number),
            series=series,
            result=result,
            number=number,
        )


def _region(region: Region, series: Series, identity: Identity, order: int, color: tuple[int, int, int]) -> Thing:
    return Thing(
        label=plain(region.label, LO),
        type=region.type,
        color=color,
        tracking_uid=region_tracking_uid(region, identity, order),
        series=series,
        result=region,
    )


def _series_of_region(region: Region, inputs: Mapping[str, Series], study_uid: str) -> Series | None:
    for series in inputs.values():
        if series.study_uid != study_uid:
            continue
        if region.image is None and series.frame_of_reference_uid == region.frame_of_reference_uid:
            return series
        if region.image is not None and frame_index(region.image, series) is not None:
            return series
    return None


def frame_index(frame: Frame, series: Series) -> int | None:
    """Return the place of an image in a series, None where it is of another."""
    wanted = frame.sop_instance_uid, frame.number
    return next((at for at, one in enumerate(series.frames) if (one.sop_instance_uid, one.number) == wanted), None)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spot:
    """Where a region is on a series: on which image, its points there, and how far from it at most, in slices."""

    index: int
    points: Loop
    off: float = 0.0


def placed(region: Region, series: Series) -> Spot | None:
    """Return where a region is on a series, in the patient on the image nearest to it; None where it is on none."""
    if region.image is not None:
        index = frame_index(region.image, series)
        return None if index is None else Spot(index=index, points=region.points)
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
    return Spot(index=index, points=indices[:, :0:-1] + 0.5, off=float(np.abs(indices[:, 0] - index).max()))


def _region_shapes(region: Region, series: Series) -> Iterator[Shape]:
    spot = placed(region, series)
    if spot is not None and spot.off <= IN_PLANE:
        kind, points = graphic(region.kind, spot.points)
        yield Shape(frame=series.frames[spot.index], kind=kind, points=points)


def graphic(kind: RegionKind, points: Loop) -> tuple[Graphic, Loop]:
    """Return as what a region of a kind is drawn; a box has five points, the first again at the end."""
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


def around(ellipse: Loop) -> Loop:
    """Return points around an ellipse that is given by the ends of its axes; the first again at the end."""
    centre, turns = ellipse.mean(axis=0), np.linspace(0, 2 * np.pi, ELLIPSE_STEPS + 1)[:, None]
    return np.asarray(centre + np.cos(turns) * (ellipse[0] - centre) + np.sin(turns) * (ellipse[2] - centre))


def closed(loop: Loop) -> Loop:
    """Return a loop with its first point at the end again."""
    return np.concatenate([loop, loop[:1]])


def in_patient(shape: Shape) -> NDArray[np.float64]:
    """Return the points of a shape in mm, LPS: (n, 3); an ellipse as many points around it (PS3.3 C.7.6.2.1.1)."""
    frame, points = shape.frame, shape.points
    if shape.kind == "ELLIPSE":
        points = around(points)
    if frame.position is None or frame.orientation is None or frame.spacing is None:
        raise UnsuitableSeries(f"instance {frame.sop_instance_uid} has no position in the patient")
    along_row = np.outer(points[:, 0] - 0.5, np.multiply(frame.orientation[:3], frame.spacing[1]))
    along_column = np.outer(points[:, 1] - 0.5, np.multiply(frame.orientation[3:], frame.spacing[0]))
    return np.asarray(along_row + along_column + frame.position)
