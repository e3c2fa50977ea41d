"""One page to look at: key slices with the outlines of what was found, and what was measured."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from textwrap import wrap
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from node.codes import SCT
from node.compose.identity import RESEARCH_USE
from node.compose.seg import colors
from node.compose.source import functional_groups, on_grid
from node.compose.text import plain
from node.results import Finding, Measurement, NotSuitable, Result, Segment, Segmentation
from node.series import Frame, Series

Color = tuple[int, int, int]

KEY_SLICES = 6
COLUMNS = 3
TILE = 480
"""Longest side of one image in pixels."""
MARGIN = 16
HEADING = 64
ROW = 30
LINE = 70
"""Letters of a reason in one row."""
FAST = 1
"""Of the nine levels of PNG: a third of the usual time, for a file that is hardly larger."""
CONTOUR = 2
"""Width of an outline in pixels."""

BACKGROUND: Color = (17, 20, 24)
PANEL: Color = (0, 0, 0)
INK: Color = (230, 232, 235)
FAINT: Color = (150, 156, 164)
PROPORTIONS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")
"""What gives height and width of a pixel where the image has no place in the patient (PS3.3 10.7, C.7.6.3)."""

RULE: Color = (50, 55, 62)
WARNING: Color = (255, 184, 77)

LUNG_WINDOW = (-600.0, 1500.0)
CT_WINDOW = (40.0, 400.0)
"""Center and width in HU where the plugin outlines lung, and where a CT header gives no window."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Layer:
    """The labels of one segmentation on the grid of the series, with the colours of its segments."""

    labels: NDArray[Any]
    segments: Sequence[Segment]
    colors: Sequence[Color]


def picture(series: Series, results: Sequence[Result], title: str) -> bytes:
    """Return a PNG of up to six key slices with outlines, and a table of all results; the same at every run.

    Slices are shown as they are stored, at the proportions of their pixels, with the patient's directions at the edges.
    Segmentations on the grid of another series are in the table alone.

    Raises
    ------
    UnsuitableSeries
        An image cannot be decoded.
    """
    layers = list(_layers(series, results))
    chosen = _key_slices(layers, len(series.frames))
    tiles = [_tile(series, index, layers) for index in chosen]
    rows = _rows(results)
    columns = min(COLUMNS, len(tiles))
    width = max(columns * (TILE + MARGIN) + MARGIN, 2 * TILE)
    lines = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    heights = [max(tile.height for tile in line) for line in lines]
    table = HEADING + sum(heights) + MARGIN * len(lines)
    page = Image.new("RGB", (width, table + ROW * (len(rows) + 2) + MARGIN), BACKGROUND)
    draw = ImageDraw.Draw(page)
    draw.text((MARGIN, 16), plain(title), INK, _font(28))
    top = HEADING
    for line, height in zip(lines, heights, strict=True):
        for column, tile in enumerate(line):
            page.paste(tile, (MARGIN + column * (TILE + MARGIN), top + (height - tile.height) // 2))
        top += height + MARGIN
    for row in rows:
        _write_row(draw, top, width, row)
        top += ROW
    draw.text((MARGIN, top + ROW // 2), RESEARCH_USE, WARNING, _font(18))
    out = BytesIO()
    page.save(out, "PNG", compress_level=FAST)
    return out.getvalue()


def _layers(series: Series, results: Sequence[Result]) -> Iterator[_Layer]:
    for result in results:
        if isinstance(result, Segmentation) and on_grid(result.labels, series):
            yield _Layer(labels=result.labels.array, segments=result.segments, colors=colors(result.segments))


def _key_slices(layers: Sequence[_Layer], count: int) -> list[int]:
    """Return the places of the slices to show: evenly through what is outlined, and every segment well in sight."""
    areas = np.array([_areas(layer, number) for layer in layers for number in range(1, len(layer.segments) + 1)])
    outlined = np.flatnonzero(areas.any(axis=0)) if areas.size else np.array([], int)
    if not outlined.size:
        return [count // 2]
    spread = _evenly(outlined, KEY_SLICES)
    hidden = [area for area in areas if area[spread].max() < area.max() / 2]
    largest = list(dict.fromkeys(int(area.argmax()) for area in hidden))[:KEY_SLICES]
    return sorted({*largest, *_evenly(outlined, KEY_SLICES - len(largest))})


def _evenly(places: NDArray[np.int64], number: int) -> list[int]:
    """Return a number of the places, evenly, the very ends left out: there is little to see."""
    steps = np.linspace(0, places.size - 1, number + 2)[1:-1].round().astype(int)
    return [int(place) for place in places[steps]]


def _areas(layer: _Layer, number: int) -> NDArray[np.int64]:
    return np.array([np.count_nonzero(plane == number) for plane in layer.labels])


def _tile(series: Series, index: int, layers: Sequence[_Layer]) -> Image.Image:
    """Return one slice at its proportions with outlines, its place in the stack and the patient's directions."""
    frame = series.frames[index]
    stored = series.image(index)
    rows, columns = stored.shape[:2]
    row_mm, column_mm = _proportions(frame)
    scale = TILE / max(rows * row_mm, columns * column_mm)
    size = max(1, round(columns * column_mm * scale)), max(1, round(rows * row_mm * scale))
    grey = _grey(stored, frame, _window(stored, series, frame, layers))
    image = np.array(Image.fromarray(grey).convert("RGB").resize(size, Image.Resampling.BILINEAR))
    for layer in layers:
        for number, color in enumerate(layer.colors, 1):
            image[_outline(layer.labels[index] == number, size)] = color
    tile = Image.new("RGB", (TILE, size[1]), PANEL)
    tile.paste(Image.fromarray(image), ((TILE - size[0]) // 2, 0))
    draw = ImageDraw.Draw(tile)
    if len(series.frames) > 1:
        draw.text(
            (8, size[1] - 24),
            f"slice {index + 1} of {len(series.frames)}",
            FAINT,
            _font(16),
            stroke_width=2,
            stroke_fill=PANEL,
        )
    left, right, top = _directions(frame)
    for place, letter, anchor in (
        ((8, size[1] // 2), left, "lm"),
        ((TILE - 8, size[1] // 2), right, "rm"),
        ((TILE // 2, 8), top, "mt"),
    ):
        draw.text(place, letter, INK, _font(22), anchor=anchor, stroke_width=2, stroke_fill=PANEL)
    return tile


def _outline(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the inner edge of a mask drawn at a size of (columns, rows)."""
    if not mask.any():
        return np.zeros(size[::-1], bool)
    # the borders of pixels are rounded off as those of the image are; a plain enlargement would be a staircase
    drawn = np.array(Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)) > 127
    inside = drawn
    for _ in range(CONTOUR):
        framed = np.pad(inside, 1)
        inside = inside & framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    return np.asarray(drawn & ~inside)


def _proportions(frame: Frame) -> tuple[float, float]:
    """Return height and width of a pixel: in the patient, else on the detector, else as the aspect ratio says."""
    for value in (frame.spacing, *(frame.header.get(keyword) for keyword in PROPORTIONS)):
        if value is not None and len(value) == 2 and all(float(part) > 0 for part in value):
            return float(value[0]), float(value[1])
    return 1.0, 1.0


def _window(stored: NDArray[Any], series: Series, frame: Frame, layers: Sequence[_Layer]) -> tuple[float, float]:
    """Return center and width: of the lung where lung is outlined, else the header's, else what the values suggest."""
    types = [segment.type for layer in layers for segment in layer.segments]
    if series.modality == "CT" and SCT.Lung in types:
        return LUNG_WINDOW
    for holder in (frame.header, *functional_groups(frame.header, frame.number - 1, "FrameVOILUTSequence")):
        center, width = _first(holder.get("WindowCenter")), _first(holder.get("WindowWidth"))
        if center is not None and width is not None and width > 1:
            return center, width
    if series.modality == "CT":
        return CT_WINDOW
    low, high = np.percentile(stored, (1, 99))
    return float(low + high) / 2, max(float(high - low), 2.0)


def _first(value: Any) -> float | None:
    """Return the first of one or several numbers: a header may offer several windows."""
    if value is None or value == "":
        return None
    return float(value if isinstance(value, int | float) else value[0])


def _grey(stored: NDArray[Any], frame: Frame, window: tuple[float, float]) -> NDArray[np.uint8]:
    """Return the image as the window shows it, 0 to 255, white where the header means white (PS3.3 C.11.2.1.2)."""
    if stored.ndim == 3:
        return stored if stored.dtype == np.uint8 else np.asarray(stored / stored.max() * 255, np.uint8)
    center, width = window
    shown = np.clip((stored.astype(np.float32) - (center - 0.5)) / (width - 1) + 0.5, 0, 1)
    if frame.header.get("PhotometricInterpretation") == "MONOCHROME1":
        shown = 1 - shown
    return np.asarray(shown * 255, np.uint8)


_OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "H": "F", "F": "H"}


def _directions(frame: Frame) -> tuple[str, str, str]:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A line of the table."""

    what: str
    value: str
    color: Color | None = None


def _rows(results: Sequence[Result]) -> list[_Row]:
    rows: list[_Row] = []
    for result in results:
        if isinstance(result, NotSuitable):
            rows += _lines("Not suitable", wrap(plain(f"because {result.reason}"), LINE), WARNING)
        if isinstance(result, Segmentation):
            rows += _segment_rows(result, results)
    about_all = [_said(r) for r in results if isinstance(r, Measurement | Finding) and r.of is None]
    return [*rows, *_lines("Images as a whole", about_all)] or [_Row(what="Nothing found", value="")]


def _lines(what: str, values: Sequence[str], color: Color | None = None) -> list[_Row]:
    """Return a row per value, the first with its name and colour."""
    first = [_Row(what=what, value=value, color=color) for value in values[:1]]
    return first + [_Row(what="", value=value) for value in values[1:]]


def _segment_rows(result: Segmentation, results: Sequence[Result]) -> Iterator[_Row]:
    for number, (segment, color) in enumerate(zip(result.segments, colors(result.segments), strict=True), 1):
        about = [_said(other) for other in results if isinstance(other, Measurement | Finding) and other.of == segment]
        if not any((plane == number).any() for plane in result.labels.array):
            about.insert(0, "not found")
        yield from _lines(plain(segment.label), about or [""], color)


def _said(result: Measurement | Finding) -> str:
    name = plain(result.name.meaning)
    if isinstance(result, Measurement):
        return f"{_derived(result)}{name}{_where(result)} {result.value:.4g} {plain(_unit(result))}".rstrip()
    score = "probability" if result.calibrated else "uncalibrated score"
    said = f"{name} {'present' if result.present else 'absent'}"
    return said if result.probability is None else f"{said} ({score} {result.probability:.2f})"


def _derived(result: Measurement) -> str:
    if result.percentile is not None:
        return f"{result.percentile:g}th percentile of "
    return f"{plain(result.derivation.meaning)} of " if result.derivation else ""


def _where(result: Measurement) -> str:
    if result.site is None:
        return ""
    return f" ({', '.join(plain(code.meaning) for code in (result.site, result.laterality) if code)})"


def _unit(result: Measurement) -> str:
    """Return a unit as it is printed: UCUM's brackets are for machines."""
    return {"1": "", "[hnsf'U]": "HU"}.get(result.unit.value, result.unit.value.strip("[]{}"))


def _write_row(draw: ImageDraw.ImageDraw, top: int, width: int, row: _Row) -> None:
    if row.what:
        draw.line((MARGIN, top, width - MARGIN, top), RULE)
    if row.color:
        draw.rectangle((MARGIN, top + 8, MARGIN + 14, top + 22), row.color)
    draw.text((MARGIN + 26, top + 5), row.what, INK, _font(18))
    draw.text((width // 3, top + 5), row.value, INK, _font(18))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
