"""What lies on a series: layers of segments, regions and heat maps; and the tiles of a slide as one image."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.codes import Code
from node.compose.fonts import Color
from node.compose.outlines import locate_region
from node.compose.palette import region_colors, segment_colors
from node.images.contours import Loop
from node.images.series import Series
from node.results import MASK_THRESHOLD, Heatmap, Region, Result, Segment, Segmentation

LARGEST_SLIDE = 4096
"""Greatest length in pixels of a slide whose tiles are joined to one image; a larger slide is shown tile by tile."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """Labels on the grid of a series, one for each pixel, with the colours of their segments.

    Parameters
    ----------
    labels
        (slice, row, column): n is `segments[n - 1]`, 0 no segment.
    areas
        Number of pixels of each segment on each image of the series: (segment, slice).
    first
        Segment Number of the first segment, as the table of the page gives it.
    """

    labels: NDArray[Any]
    areas: NDArray[np.int64]
    segments: Sequence[Segment]
    colors: Sequence[Color]
    first: int = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RegionOverlay:
    """A region on the image at `index` of a series; `points` as in `Shape`."""

    region: Region
    index: int
    points: Loop
    color: Color


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Overlays:
    """Everything that is drawn on the images of one series."""

    layers: Sequence[Layer] = ()
    regions: Sequence[RegionOverlay] = ()
    heatmaps: Sequence[Heatmap] = ()

    @property
    def types(self) -> set[Code]:
        """The types and anatomic regions of the segments, and the types of the regions."""
        segments = [segment for layer in self.layers for segment in layer.segments]
        return {code for segment in segments for code in (segment.type, segment.region) if code} | {
            overlay.region.type for overlay in self.regions
        }

    @property
    def marks(self) -> bool:
        """Whether segments are marked with their numbers, so that nobody must tell them apart by colour alone."""
        return sum(len(layer.segments) for layer in self.layers) > 1


@dataclass(frozen=True, slots=True)
class TileMatrix:
    """The tiles of a slide: number of tiles down and across, rows and columns of the image (PS3.3 C.7.6.17.3)."""

    down: int
    across: int
    rows: int
    columns: int

    def join(self, tiles: Sequence[NDArray[Any]] | NDArray[Any]) -> NDArray[Any]:
        """Return the tiles, in the order of their frame numbers, as one image."""
        rows = [tiles[start : start + self.across] for start in range(0, self.down * self.across, self.across)]
        whole = np.concatenate([np.concatenate(row, axis=1) for row in rows], axis=0)
        return np.asarray(whole[: self.rows, : self.columns])


def tile_matrix(series: Series) -> TileMatrix | None:
    """Return the tile matrix of a slide; None if the frames are no tiles of one, or the slide is too large."""
    header = series.header
    sizes = [header.get(key) for key in ("TotalPixelMatrixRows", "TotalPixelMatrixColumns", "Rows", "Columns")]
    if header.get("DimensionOrganizationType") != "TILED_FULL" or not all(sizes) or max(sizes[:2]) > LARGEST_SLIDE:
        return None
    high, wide, rows, columns = map(int, sizes)
    matrix = TileMatrix(down=-(-high // rows), across=-(-wide // columns), rows=high, columns=wide)
    return matrix if 1 < len(series.frames) == matrix.down * matrix.across else None


def overlays_on(series: Series, results: Sequence[Result]) -> Overlays:
    """Return the results that lie on a series; on a slide, all on the image that its tiles make, at index 0."""
    overlays = _overlays_by_frame(series, results)
    matrix = tile_matrix(series)
    if matrix is None:
        return overlays
    corner = np.array([int(series.header.Columns), int(series.header.Rows)])
    return Overlays(
        layers=[replace(layer, labels=matrix.join(layer.labels)[None]) for layer in overlays.layers],
        regions=[
            replace(overlay, index=0, points=overlay.points + corner * divmod(overlay.index, matrix.across)[::-1])
            for overlay in overlays.regions
        ],
        heatmaps=[replace(heatmap, array=matrix.join(heatmap.array)[None]) for heatmap in overlays.heatmaps],
    )


def _overlays_by_frame(series: Series, results: Sequence[Result]) -> Overlays:
    colors = region_colors(results)
    return Overlays(
        layers=[
            layer
            for result in results
            if isinstance(result, Segmentation) and result.lies_on(series)
            for layer in layers_of(result)
        ],
        regions=[
            RegionOverlay(region=result, index=position.index, points=position.points, color=colors[id(result)])
            for result in results
            if isinstance(result, Region) and (position := locate_region(result, series))
        ],
        heatmaps=[result for result in results if isinstance(result, Heatmap) and result.source.key == series.key],
    )


def layers_of(result: Segmentation) -> list[Layer]:
    """Return the layers of a segmentation: one, or one for each segment where segments may overlap."""
    colors = segment_colors(result.segments)
    if not result.masks:
        return [Layer(labels=result.labels.array, areas=result.areas, segments=result.segments, colors=colors)]
    return [
        Layer(labels=mask.array >= MASK_THRESHOLD, areas=area[None], segments=[segment], colors=[color], first=number)
        for number, (mask, area, segment, color) in enumerate(
            zip(result.masks, result.areas, result.segments, colors, strict=True), 1
        )
    ]


def stored_image(series: Series, index: int) -> NDArray[Any]:
    """Return the image at an index, (row, column) or (row, column, 3); of a slide, the image that its tiles make."""
    matrix = tile_matrix(series)
    if matrix is None:
        return series.image(index)
    return matrix.join([series.image(tile) for tile in range(len(series.frames))])
