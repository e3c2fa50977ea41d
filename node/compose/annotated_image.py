"""One image as a reader would set it up: windowed, at its proportions, with outlines and the patient's directions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from node.compose.display import blend_heat, heat_colors, relative_heat, select_window, stored_range, to_grey
from node.compose.fonts import Color, draw_text, text_width, wrap_text
from node.compose.image_names import name_in_series
from node.compose.outlines import as_graphic, ellipse_points
from node.compose.overlays import Layer, Overlays, RegionOverlay, stored_image
from node.errors import UnsuitableSeries
from node.images.contours import Loop
from node.images.frame import Frame
from node.images.series import Series
from node.results import Heatmap, RegionKind

CONTOUR = 2
"""Width of an outline in pixels."""
SMALL = 24
"""A segment smaller than this number of pixels on the page gets a frame around it, so that a reader finds it."""
BAR = 10
"""Height in pixels of the colours of a legend."""
POINT = 9
"""Length in pixels of each arm of the cross that marks a point."""

PANEL: Color = (0, 0, 0)
INK: Color = (230, 232, 235)
FAINT: Color = (150, 156, 164)
ALERT: Color = (255, 96, 96)

PROPORTIONS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")
"""Attributes with height and width of a pixel of an image without a position (PS3.3 10.7, C.7.6.3)."""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What a picture says of itself beside the name of its image, and values (row, column) to show on its grid.

    Without values they are those of the image. The window is that of the image in any case. The legend of a heat map is
    its colours with the lowest and the highest number.
    """

    words: str = ""
    values: NDArray[Any] | None = None
    legend: bool = False


def draw_annotated_image(
    series: Series, index: int, overlays: Overlays, size: int, stamp: str = "", shown: Shown | None = None
) -> Image.Image:
    """Return the image at an index of a series with its overlays, `size` pixels wide and at most `size` high.

    A `stamp` is written across its lower edge.

    If the image cannot be decoded, a black image with the reason is returned.
    """
    try:
        drawn = _draw(series, index, overlays, size, shown or Shown())
    except UnsuitableSeries as error:
        panel = Image.new("RGB", (size, size // 2), PANEL)
        lines = wrap_text(f"The image cannot be shown: {error}", 18, size - 32)
        for number, line in enumerate(lines):
            draw_text(ImageDraw.Draw(panel), (16, 40 + 28 * number), line, 18, FAINT)
        return panel
    if stamp:
        canvas, low = ImageDraw.Draw(drawn), drawn.height - 30
        canvas.rectangle((0, low - 22, 16 + text_width(stamp, 18), low + 4), PANEL)
        draw_text(canvas, (8, low - 4), stamp, 18, ALERT)
    return drawn


def _draw(series: Series, index: int, overlays: Overlays, size: int, shown: Shown) -> Image.Image:
    frame = series.frames[index]
    stored = stored_image(series, index)
    rows, columns = stored.shape[:2]
    row_mm, column_mm = _proportions(frame)
    scale = size / max(rows * row_mm, columns * column_mm)
    extent = max(1, round(columns * column_mm * scale)), max(1, round(rows * row_mm * scale))
    values = stored if shown.values is None else shown.values
    seen = to_grey(values, frame, select_window(stored, series, frame, overlays.types), series.modality)
    image = np.array(Image.fromarray(seen).resize(extent, Image.Resampling.BILINEAR).convert("RGB"))
    for heatmap in overlays.heatmaps:
        image = _with_heatmap(image, heatmap, index)
    drawn = Image.fromarray(image)
    zoom = np.divide(extent, (columns, rows))
    for layer in overlays.layers:
        drawn = _with_outlines(drawn, layer, index, marks=overlays.marks)
    for overlay in overlays.regions:
        if overlay.index == index:
            _draw_region(ImageDraw.Draw(drawn), overlay, zoom)
    framed = Image.new("RGB", (size, extent[1]), PANEL)
    framed.paste(drawn, ((size - extent[0]) // 2, 0))
    _caption(ImageDraw.Draw(framed), series, index, framed.size, shown.words)
    if shown.legend and overlays.heatmaps:
        _legend(framed, overlays.heatmaps[0])
    return framed


def _legend(picture: Image.Image, heatmap: Heatmap) -> None:
    """Draw the colours of a heat map at the upper left, with the numbers at their ends."""
    low, high = (value * heatmap.slope + heatmap.intercept for value in stored_range(heatmap))
    wide = picture.width // 4
    bar = heat_colors(np.linspace(0, 1, wide))[None].repeat(BAR, axis=0)
    picture.paste(Image.fromarray(bar.round().astype(np.uint8)), (8, 8))
    draw = ImageDraw.Draw(picture)
    draw_text(draw, (8, 8 + BAR + 18), f"{low:.3g}", 15, INK, edge=PANEL)
    draw_text(draw, (8 + wide, 8 + BAR + 18), f"{high:.3g}", 15, INK, side="right", edge=PANEL)


def _caption(draw: ImageDraw.ImageDraw, series: Series, index: int, size: tuple[int, int], words: str) -> None:
    """Write words and the name of the image, and the patient's directions."""
    frame, (wide, high) = series.frames[index], size
    if name := ", ".join(filter(None, (words, name_in_series(series, index)))):
        draw_text(draw, (8, high - 10), name, 16, INK, edge=PANEL)
    left, right, top = directions(frame)
    draw_text(draw, (8, high // 2 + 8), left, 22, INK, edge=PANEL)
    draw_text(draw, (wide - 8, high // 2 + 8), right, 22, INK, side="right", edge=PANEL)
    draw_text(draw, (wide // 2, 26), top, 22, INK, side="middle", edge=PANEL)


def _with_heatmap(image: NDArray[np.uint8], heatmap: Heatmap, index: int) -> NDArray[np.uint8]:
    """Return an image with the colours of a heat map over it."""
    heat = Image.fromarray(relative_heat(heatmap, index).astype(np.float32))
    return blend_heat(image, np.array(heat.resize((image.shape[1], image.shape[0]), Image.Resampling.BILINEAR)))


def _with_outlines(image: Image.Image, layer: Layer, index: int, *, marks: bool) -> Image.Image:
    """Return an image with the outlines of the segments, and with `marks` the number of each at its right edge."""
    painted = np.array(image)
    frames: list[tuple[list[int], Color]] = []
    places: list[tuple[float, float, int]] = []
    for number, color in enumerate(layer.colors, 1):
        mask = _enlarged(layer.labels[index] == number, image.size)
        painted[_outline(mask)] = color
        if mask.any():
            rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
            if max(np.ptp(rows), np.ptp(columns)) < SMALL:
                frames.append((_frame_box(columns, rows), color))
            right = int(columns[-1])
            places.append((right + 6, float(np.flatnonzero(mask[:, right]).mean()), number + layer.first - 1))
    drawn = Image.fromarray(painted)
    for box, color in frames:
        ImageDraw.Draw(drawn).rectangle(box, outline=color)
    for x, y, number in places if marks else ():
        draw_text(ImageDraw.Draw(drawn), (min(x, drawn.width - 20), y + 5), str(number), 15, INK, edge=PANEL)
    return drawn


def _frame_box(columns: NDArray[np.int64], rows: NDArray[np.int64]) -> list[int]:
    return [columns[0] - SMALL // 2, rows[0] - SMALL // 2, columns[-1] + SMALL // 2, rows[-1] + SMALL // 2]


def _enlarged(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return a mask resized to (columns, rows), in which its smallest parts are still visible."""
    if not mask.any():
        return np.zeros(size[::-1], bool)
    # bilinear, as the image itself: the nearest pixels would make borders like stairs
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


def _draw_region(draw: ImageDraw.ImageDraw, overlay: RegionOverlay, zoom: NDArray[np.float64]) -> None:
    """Draw a region and its label beside it, on the side where the label fits."""
    points = overlay.points * zoom
    for line in _lines(overlay.region.kind, points):
        draw.line([(float(x), float(y)) for x, y in line], overlay.color, CONTOUR, joint="curve")
    label, size = overlay.region.label, 16
    left, right = float(points[:, 0].min()) - POINT - 4, float(points[:, 0].max()) + POINT + 4
    fits = right + text_width(label, size) < draw.im.size[0]
    at = (right if fits else left), float(points[:, 1].mean()) + 6
    draw_text(draw, at, label, size, INK, side="left" if fits else "right", edge=PANEL)


def _lines(kind: RegionKind, points: Loop) -> Iterator[Loop]:
    form, line = as_graphic(kind, points)
    if form == "POINT":
        yield line[0] + [(-POINT, 0), (POINT, 0)]
        yield line[0] + [(0, -POINT), (0, POINT)]
    else:
        yield ellipse_points(line) if form == "ELLIPSE" else line


def _proportions(frame: Frame) -> tuple[float, float]:
    """Return height and width of a pixel: in the patient, else on the detector, else from the aspect ratio."""
    for value in (frame.spacing, *(frame.header.get(keyword) for keyword in PROPORTIONS)):
        if value is not None and len(value) == 2 and all(float(part) > 0 for part in value):
            return float(value[0]), float(value[1])
    return 1.0, 1.0


_OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "H": "F", "F": "H"}


def directions(frame: Frame) -> tuple[str, str, str]:
    """Return the patient's directions at the left, right and top edge, empty if the header has none."""
    if frame.orientation is not None:
        right, bottom = _letter(frame.orientation[:3]), _letter(frame.orientation[3:])
    else:
        given = frame.header.get("PatientOrientation")
        right, bottom = (str(part)[:1] for part in given) if given and len(given) == 2 else ("", "")
    return _OPPOSITE.get(right, ""), right if right in _OPPOSITE else "", _OPPOSITE.get(bottom, "")


def _letter(direction: Sequence[float]) -> str:
    """Return the letter of the main direction of a vector in LPS (PS3.3 C.7.6.1.1.1)."""
    axis = int(np.argmax(np.abs(direction)))
    return ("LPH" if direction[axis] > 0 else "RAF")[axis]
