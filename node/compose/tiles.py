"""One image as a reader would set it up: windowed, at its proportions, with outlines and the patient's directions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from node.codes import SCT, Code
from node.compose.lettering import Color, width, wrapped, write
from node.compose.sc import HEAT
from node.compose.seg import PALETTE, colors
from node.compose.source import functional_groups
from node.errors import UnsuitableSeries
from node.results import HALF, Heatmap, Region, Result, Segment, Segmentation
from node.series import Frame, Series, on_grid

CONTOUR = 2
"""Width of an outline in pixels."""
SMALL = 24
"""What is smaller than this on the page, in pixels, gets a frame round it: nobody would find it."""
POINT = 9
"""Arm of the cross at a point, in pixels."""
STRONGEST = 0.6
"""How much of its colour a heat map has where it is highest; where it is lowest it has none."""

PANEL: Color = (0, 0, 0)
INK: Color = (230, 232, 235)
FAINT: Color = (150, 156, 164)

PROPORTIONS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")
"""What gives height and width of a pixel where the image has no place in the patient (PS3.3 10.7, C.7.6.3)."""
DARK_ON_WHITE = {"PT", "NM"}
"""Modalities whose uptake readers are used to see dark on white."""
WINDOWS: dict[Code, tuple[float, float]] = {SCT.Lung: (-600.0, 1500.0), SCT.Bone: (400.0, 1800.0)}
"""Center and width in HU in which CT is shown where something of this type is outlined."""
CT_WINDOW = (40.0, 400.0)
"""Where a CT header gives no window."""
LARGEST_SLIDE = 4096
"""Pixels along an edge up to which the tiles of a slide are put together; a larger one is shown tile by tile."""
FAINTEST = 0.1
"""Part of a header's window that the image fills at the least: a wider one was meant for other numbers."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """The labels of one segmentation on the grid of the series, with the colours of its segments."""

    labels: NDArray[Any]
    segments: Sequence[Segment]
    colors: Sequence[Color]

    def areas(self) -> list[NDArray[np.int64]]:
        """Return for each segment how many pixels it has on every slice."""
        length = len(self.segments) + 1
        counted = [
            np.bincount(plane.ravel(), minlength=length) if plane.any() else np.zeros(length, np.int64)
            for plane in self.labels.view(np.uint8 if self.labels.dtype == np.bool_ else self.labels.dtype)
        ]
        return list(np.array(counted).T[1:])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outlined:
    """A region on one image of the series: its corners as (column, row) from the outer corner of the first pixel."""

    region: Region
    index: int
    points: NDArray[np.float64]
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
            if isinstance(result, Segmentation) and on_grid(result.labels, series)
            for layer in layers(result)
        ],
        regions=[
            Outlined(region=result, index=place[0], points=place[1], color=painted[id(result)])
            for result in results
            if isinstance(result, Region) and (place := _placed(result, series))
        ],
        heatmaps=[result for result in results if isinstance(result, Heatmap) and result.source.key == series.key],
    )


def layers(result: Segmentation) -> list[Layer]:
    """Return a segmentation as layers of which each has one label a pixel: one for each segment where they overlap."""
    painted = colors(result.segments)
    if not result.masks:
        return [Layer(labels=result.labels.array, segments=result.segments, colors=painted)]
    return [
        Layer(labels=mask.array >= HALF, segments=[segment], colors=[color])
        for mask, segment, color in zip(result.masks, result.segments, painted, strict=True)
    ]


def region_colors(results: Sequence[Result]) -> Mapping[int, Color]:
    """Return (red, green, blue) of every region by its `id`: its own, else the next of the palette."""
    regions = [result for result in results if isinstance(result, Region)]
    return {id(region): region.color or PALETTE[at % len(PALETTE)] for at, region in enumerate(regions)}


def frame_index(frame: Frame, series: Series) -> int | None:
    """Return the place of an image in a series, None where it is of another."""
    wanted = frame.sop_instance_uid, frame.number
    return next((at for at, one in enumerate(series.frames) if (one.sop_instance_uid, one.number) == wanted), None)


def _placed(region: Region, series: Series) -> tuple[int, NDArray[np.float64]] | None:
    """Return the image that a region is on, or the one nearest to it in the patient, and its points on that."""
    if region.image is not None:
        index = frame_index(region.image, series)
        return None if index is None else (index, region.points)
    if region.frame_of_reference_uid != series.frame_of_reference_uid:
        return None
    try:
        inverse = np.linalg.inv(series.affine())
    except UnsuitableSeries:
        return None
    places = (np.c_[region.points, np.ones(len(region.points))] @ inverse.T)[:, :3]
    index = round(float(places[:, 0].mean()))
    return (index, places[:, :0:-1] + 0.5) if 0 <= index < len(series.frames) else None


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
    stored = _stored(series, index)
    rows, columns = stored.shape[:2]
    row_mm, column_mm = _proportions(frame)
    scale = size / max(rows * row_mm, columns * column_mm)
    extent = max(1, round(columns * column_mm * scale)), max(1, round(rows * row_mm * scale))
    grey = _grey(stored, frame, window(stored, series, frame, shown.types), series.modality)
    image = np.array(Image.fromarray(grey).convert("RGB").resize(extent, Image.Resampling.BILINEAR))
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


def _stored(series: Series, index: int) -> NDArray[Any]:
    """Return one image, or the whole slide that its tiles make."""
    whole = patchwork(series)
    return whole.together([series.image(at) for at in range(len(series.frames))]) if whole else series.image(index)


def _heated(image: NDArray[np.uint8], heatmap: Heatmap, index: int) -> NDArray[np.uint8]:
    """Return an image with the colours of a map over it."""
    low, high = heatmap.window or (float(heatmap.array.min()), float(heatmap.array.max()))
    if heatmap.window:
        low, high = sorted((bound - heatmap.intercept) / heatmap.slope for bound in heatmap.window)
    heat = np.clip((heatmap.array[index].astype(np.float32) - low) / max(high - low, 1e-12), 0, 1)
    size = image.shape[1], image.shape[0]
    smooth = np.array(Image.fromarray(heat).resize(size, Image.Resampling.BILINEAR))[..., None]
    stops = np.linspace(0, 1, len(HEAT))
    color = np.concatenate([np.interp(smooth, stops, [one[part] for one in HEAT]) for part in range(3)], axis=2)
    return np.asarray(image * (1 - STRONGEST * smooth) + color * STRONGEST * smooth, np.uint8)


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
    write(draw, place, label, size, outlined.color, side="left" if fits else "right", edge=PANEL)


def _lines(kind: str, points: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    match kind:
        case "point" | "point3d":
            yield points[0] + [(-POINT, 0), (POINT, 0)]
            yield points[0] + [(0, -POINT), (0, POINT)]
        case "polyline":
            yield points
        case "ellipse":
            centre, turns = points.mean(axis=0), np.linspace(0, 2 * np.pi, 73)[:, None]
            yield centre + np.cos(turns) * (points[0] - centre) + np.sin(turns) * (points[2] - centre)
        case "box":
            (left, top), (right, bottom) = points
            yield np.array([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)])
        case _:
            yield np.concatenate([points, points[:1]])


def _proportions(frame: Frame) -> tuple[float, float]:
    """Return height and width of a pixel: in the patient, else on the detector, else as the aspect ratio says."""
    for value in (frame.spacing, *(frame.header.get(keyword) for keyword in PROPORTIONS)):
        if value is not None and len(value) == 2 and all(float(part) > 0 for part in value):
            return float(value[0]), float(value[1])
    return 1.0, 1.0


def window(stored: NDArray[Any], series: Series, frame: Frame, types: set[Code]) -> tuple[float, float]:
    """Return center and width: of what is outlined in CT, else the header's, else what the values suggest."""
    fitting = [suited for kind, suited in WINDOWS.items() if kind in types] if series.modality == "CT" else []
    if fitting:
        return fitting[0]
    low, high = map(float, np.percentile(stored, (1, 99.9 if series.modality in DARK_ON_WHITE else 99)))
    for holder in (frame.header, *functional_groups(frame.header, frame.number - 1, "FrameVOILUTSequence")):
        center, across = _first(holder.get("WindowCenter")), _first(holder.get("WindowWidth"))
        if center is not None and across is not None and across > 1 and high - low > FAINTEST * across:
            return center, across
    if series.modality == "CT":
        return CT_WINDOW
    return (low + high) / 2, max(high - low, 1e-6)


def _first(value: Any) -> float | None:
    """Return the first of one or several numbers: a header may offer several windows."""
    if value is None or value == "":
        return None
    return float(value if isinstance(value, int | float) else value[0])


def _grey(stored: NDArray[Any], frame: Frame, shown: tuple[float, float], modality: str) -> NDArray[np.uint8]:
    """Return the image as the window shows it, 0 to 255, white where the header means white (PS3.3 C.11.2.1.2)."""
    if stored.ndim == 3:
        if stored.dtype == np.uint8:
            return stored
        return np.asarray(stored / max(float(stored.max()), 1.0) * 255, np.uint8)
    center, across = shown
    brightness = np.clip((stored.astype(np.float32) - (center - across / 2)) / across, 0, 1)
    inverse = frame.header.get("PhotometricInterpretation") == "MONOCHROME1"
    if inverse != (modality in DARK_ON_WHITE):
        brightness = 1 - brightness
    return np.asarray(brightness * 255, np.uint8)


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
