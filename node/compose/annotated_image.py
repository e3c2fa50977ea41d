"""One image as a reader would set it up: windowed, at its proportions, with outlines and the patient's directions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from node.codes import Code
from node.compose.display import grey, heat, warmed, window
from node.compose.fonts import Color, width, wrapped, write
from node.compose.outlines import around, graphic, placed, region_colors
from node.compose.seg import colors
from node.errors import UnsuitableSeries
from node.images.contours import Loop
from node.images.series import Frame, Series
from node.results import MASK_THRESHOLD, Heatmap, Region, RegionKind, Result, Segment, Segmentation

CONTOUR = 2
"""Width of an outline in pixels."""
SMALL = 24
"""What is smaller than this on the page, in pixels, gets a frame round it: nobody would find it."""
POINT = 9
"""Arm of the cross at a point, in pixels."""

PANEL: Color = (0, 0, 0)
INK: Color = (230, 232, 235)
FAINT: Color = (150, 156, 164)

PROPORTIONS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")
"""What gives height and width of a pixel where the image has no place in the patient (PS3.3 10.7, C.7.6.3)."""
LARGEST_SLIDE = 4096
"""Pixels along an edge up to which the tiles of a slide are put together; a larger one is shown tile by tile."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """The labels of one segmentation on the grid of the series, with the colours of its segments.

    `areas` says how many pixels each segment has on each image of the series.
    """

    labels: NDArray[Any]
    areas: NDArray[np.int64]
    segments: Sequence[Segment]
    colors: Sequence[Color]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outlined:
    """A region on one image of the series: its corners as (column, row) from the outer corner of the first pixel."""

    region: Region
    index: int
    points: Loop
    color: Color


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Overlays:
    """All that is drawn on the images of one series."""

    layers: Sequence[Layer] = ()
    regions: Sequence[Outlined] = ()
    heatmaps: Sequence[Heatmap] = ()

    @property
    def types(self) -> set[Code]:
        """What is outlined."""
        return {segment.type for layer in self.layers for segment in layer.segments} | {
            outlined.region.type for outlined in self.regions
        }


@dataclass(frozen=True, slots=True)
class Patchwork:
    """How the tiles of a slide lie: how many down and across, and the rows and columns of the whole."""

    down: int
    across: int
    rows: int
    columns: int

    def together(self, tiles: Sequence[NDArray[Any]] | NDArray[Any]) -> NDArray[Any]:
        """Return the tiles, in the order of their frame numbers, as one image."""
        lines = [tiles[start : start + self.across] for start in range(0, self.down * self.across, self.across)]
        whole = np.concatenate([np.concatenate(line, axis=1) for line in lines], axis=0)
        return np.asarray(whole[: self.rows, : self.columns])


def patchwork(series: Series) -> Patchwork | None:
    """Return how the frames make a whole slide, None where they do not, or one too large (PS3.3 C.7.6.17.3)."""
    header = series.header
    sizes = [header.get(key) for key in ("TotalPixelMatrixRows", "TotalPixelMatrixColumns", "Rows", "Columns")]
    if header.get("DimensionOrganizationType") != "TILED_FULL" or not all(sizes) or max(sizes[:2]) > LARGEST_SLIDE:
        return None
    high, wide, rows, columns = map(int, sizes)
    whole = Patchwork(down=-(-high // rows), across=-(-wide // columns), rows=high, columns=wide)
    return whole if 1 < len(series.frames) == whole.down * whole.across else None


def overlays(series: Series, results: Sequence[Result]) -> Overlays:
    """Return what of the results lies on a series; on a slide, all of it on the whole, its only image."""
    shown = _by_frame(series, results)
    whole = patchwork(series)
    if whole is None:
        return shown
    corner = np.array([int(series.header.Columns), int(series.header.Rows)])
    return Overlays(
        layers=[replace(layer, labels=whole.together(layer.labels)[None]) for layer in shown.layers],
        regions=[
            replace(one, index=0, points=one.points + corner * divmod(one.index, whole.across)[::-1])
            for one in shown.regions
        ],
        heatmaps=[replace(heatmap, array=whole.together(heatmap.array)[None]) for heatmap in shown.heatmaps],
    )


def _by_frame(series: Series, results: Sequence[Result]) -> Overlays:
    painted = region_colors(results)
    return Overlays(
        layers=[
            layer
            for result in results
            if isinstance(result, Segmentation) and result.lies_on(series)
            for layer in layers(result)
        ],
        regions=[
            Outlined(region=result, index=place.index, points=place.points, color=painted[id(result)])
            for result in results
            if isinstance(result, Region) and (place := placed(result, series))
        ],
        heatmaps=[result for result in results if isinstance(result, Heatmap) and result.source.key == series.key],
    )


def layers(result: Segmentation) -> list[Layer]:
    """Return a segmentation as layers of which each has one label a pixel: one for each segment where they overlap."""
    painted = colors(result.segments)
    if not result.masks:
        return [Layer(labels=result.labels.array, areas=result.areas, segments=result.segments, colors=painted)]
    return [
        Layer(labels=mask.array >= MASK_THRESHOLD, areas=area[None], segments=[segment], colors=[color])
        for mask, area, segment, color in zip(result.masks, result.areas, result.segments, painted, strict=True)
    ]


def tile(series: Series, index: int, shown: Overlays, size: int) -> Image.Image:
    """Return one image of a series, `size` pixels wide and as high as its proportions ask, at most `size`.

    An image that cannot be decoded is a black one with the reason on it.
    """
    try:
        return _tile(series, index, shown, size)
    except UnsuitableSeries as error:
        panel = Image.new("RGB", (size, size // 2), PANEL)
        lines = wrapped(f"The image cannot be shown: {error}", 18, size - 32)
        for number, line in enumerate(lines):
            write(ImageDraw.Draw(panel), (16, 40 + 28 * number), line, 18, FAINT)
        return panel


def _tile(series: Series, index: int, shown: Overlays, size: int) -> Image.Image:
    frame = series.frames[index]
    stored = stored_image(series, index)
    rows, columns = stored.shape[:2]
    row_mm, column_mm = _proportions(frame)
    scale = size / max(rows * row_mm, columns * column_mm)
    extent = max(1, round(columns * column_mm * scale)), max(1, round(rows * row_mm * scale))
    seen = grey(stored, frame, window(stored, series, frame, shown.types), series.modality)
    image = np.array(Image.fromarray(seen).resize(extent, Image.Resampling.BILINEAR).convert("RGB"))
    for heatmap in shown.heatmaps:
        image = _heated(image, heatmap, index)
    drawn = Image.fromarray(image)
    zoom = np.divide(extent, (columns, rows))
    for layer in shown.layers:
        drawn = _with_outlines(drawn, layer, index)
    for outlined in shown.regions:
        if outlined.index == index:
            _draw_region(ImageDraw.Draw(drawn), outlined, zoom)
    framed = Image.new("RGB", (size, extent[1]), PANEL)
    framed.paste(drawn, ((size - extent[0]) // 2, 0))
    _caption(ImageDraw.Draw(framed), series, index, framed.size)
    return framed


def _caption(draw: ImageDraw.ImageDraw, series: Series, index: int, size: tuple[int, int]) -> None:
    """Write the place in the stack and the patient's directions."""
    frame, (wide, high) = series.frames[index], size
    if len(series.frames) > 1 and not patchwork(series):
        what = "slice" if frame.position else "image"
        write(draw, (8, high - 10), f"{what} {index + 1} of {len(series.frames)}", 16, FAINT, edge=PANEL)
    left, right, top = directions(frame)
    write(draw, (8, high // 2 + 8), left, 22, INK, edge=PANEL)
    write(draw, (wide - 8, high // 2 + 8), right, 22, INK, side="right", edge=PANEL)
    write(draw, (wide // 2, 26), top, 22, INK, side="middle", edge=PANEL)


def stored_image(series: Series, index: int) -> NDArray[Any]:
    """Return one image, or the whole slide that its tiles make."""
    whole = patchwork(series)
    return whole.together([series.image(at) for at in range(len(series.frames))]) if whole else series.image(index)


def _heated(image: NDArray[np.uint8], heatmap: Heatmap, index: int) -> NDArray[np.uint8]:
    """Return an image with the colours of a map over it."""
    warmth = Image.fromarray(heat(heatmap, index).astype(np.float32))
    return warmed(image, np.array(warmth.resize((image.shape[1], image.shape[0]), Image.Resampling.BILINEAR)))


def _with_outlines(image: Image.Image, layer: Layer, index: int) -> Image.Image:
    painted = np.array(image)
    frames: list[tuple[list[int], Color]] = []
    for number, color in enumerate(layer.colors, 1):
        mask = _enlarged(layer.labels[index] == number, image.size)
        painted[_outline(mask)] = color
        if mask.any():
            rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
            if max(np.ptp(rows), np.ptp(columns)) < SMALL:
                frames.append((_around(columns, rows), color))
    drawn = Image.fromarray(painted)
    for box, color in frames:
        ImageDraw.Draw(drawn).rectangle(box, outline=color)
    return drawn


def _around(columns: NDArray[np.int64], rows: NDArray[np.int64]) -> list[int]:
    return [columns[0] - SMALL // 2, rows[0] - SMALL // 2, columns[-1] + SMALL // 2, rows[-1] + SMALL // 2]


def _enlarged(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return a mask at a size of (columns, rows), with its smallest parts still there."""
    if not mask.any():
        return np.zeros(size[::-1], bool)
    # the borders of pixels are rounded off as those of the image are; a plain enlargement would be a staircase
    drawn = np.array(Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)) > 127
    if drawn.any():
        return drawn
    return np.array(Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)) > 0


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the inner edge of a mask."""
    inside = mask
    for _ in range(CONTOUR):
        framed = np.pad(inside, 1)
        inside = inside & framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    return np.asarray(mask & ~inside)


def _draw_region(draw: ImageDraw.ImageDraw, outlined: Outlined, zoom: NDArray[np.float64]) -> None:
    """Draw a region and write its label beside it, on the side where there is room."""
    points = outlined.points * zoom
    for line in _lines(outlined.region.kind, points):
        draw.line([(float(x), float(y)) for x, y in line], outlined.color, CONTOUR, joint="curve")
    label, size = outlined.region.label, 16
    left, right = float(points[:, 0].min()) - POINT - 4, float(points[:, 0].max()) + POINT + 4
    fits = right + width(label, size) < draw.im.size[0]
    place = (right if fits else left), float(points[:, 1].mean()) + 6
    write(draw, place, label, size, INK, side="left" if fits else "right", edge=PANEL)


def _lines(kind: RegionKind, points: Loop) -> Iterator[Loop]:
    form, line = graphic(kind, points)
    if form == "POINT":
        yield line[0] + [(-POINT, 0), (POINT, 0)]
        yield line[0] + [(0, -POINT), (0, POINT)]
    else:
        yield around(line) if form == "ELLIPSE" else line


def _proportions(frame: Frame) -> tuple[float, float]:
    """Return height and width of a pixel: in the patient, else on the detector, else as the aspect ratio says."""
    for value in (frame.spacing, *(frame.header.get(keyword) for keyword in PROPORTIONS)):
        if value is not None and len(value) == 2 and all(float(part) > 0 for part in value):
            return float(value[0]), float(value[1])
    return 1.0, 1.0


_OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "H": "F", "F": "H"}


def directions(frame: Frame) -> tuple[str, str, str]:
    """Return the patient's directions at the left, right and top edge, empty where the header tells none."""
    if frame.orientation is not None:
        right, bottom = _letter(frame.orientation[:3]), _letter(frame.orientation[3:])
    else:
        given = frame.header.get("PatientOrientation")
        right, bottom = (str(part)[:1] for part in given) if given and len(given) == 2 else ("", "")
    return _OPPOSITE.get(right, ""), right if right in _OPPOSITE else "", _OPPOSITE.get(bottom, "")


def _letter(direction: Sequence[float]) -> str:
    """Return the direction in the patient that a vector in LPS mostly has (PS3.3 C.7.6.1.1.1)."""
    axis = int(np.argmax(np.abs(direction)))
    return ("LPH" if direction[axis] > 0 else "RAF")[axis]
