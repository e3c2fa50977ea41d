"""The summary page of a case: key slices with outlines, a table of all results, their origin, and remarks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from node.compose.annotated_image import ALERT, FAINT, INK, Shown, draw_annotated_image
from node.compose.case import Case
from node.compose.fonts import Color, Side, draw_text, missing_letters, wrap_text
from node.compose.identity import SOFTWARE_VERSIONS, Identity
from node.compose.outlines import frame_index
from node.compose.overlays import Overlays, overlays_on, tile_matrix
from node.compose.png import png
from node.compose.summary import summary_sentence
from node.compose.summary_table import Row, remarks, series_name, table_rows
from node.images.series import Series
from node.results import DerivedSeries, KeyImages, NotSuitable

KEY_SLICES = 6
COMPARED_SLICES = 3
"""Slices on which a prior is shown beside the present images."""
GRID = {1: (1, 976), 2: (2, 640), 3: (3, 480), 4: (2, 640), 5: (3, 480), 6: (3, 480)}
"""Number of pictures → columns, and longest side of a picture in pixels."""
MARGIN = 16
LINE = 28
TEXT, TITLE, LOUD, BANNER = 18, 30, 24, 22
"""Heights of letters in pixels."""
SWATCH = 18
NAME, VALUE, NOTE = 0.29, 0.72, 0.74
"""Where the name of a row begins, its value ends and its note begins, as parts of the width of the page."""
BACKGROUND: Color = (17, 20, 24)
RULE: Color = (50, 55, 62)
WARNING: Color = (255, 184, 77)
STAMP = "DEMONSTRATION – NOT VALID FOR PATIENTS"
"""Stands on each picture of the page, which may be cut out of it."""
UNWRITABLE = "A question mark stands for a letter that no font of this machine has."

Block = tuple[int, Callable[[Image.Image, int], None]]
"""A part of the page: its height in pixels, and a function that draws it on the page, below a row of pixels."""


def draw_summary_page(case: Case) -> bytes:
    """Return a PNG of up to six key slices with overlays, and a table of all results; the same bytes at every run.

    Slices are shown as they are stored, at the proportions of their pixels, with the patient's directions at the edges.
    They are of the input with most overlays; results on other inputs are only in the table. The page does not name the
    patient.
    """
    overlays = {role: overlays_on(series, case.results) for role, series in case.inputs.items()}
    role = max(overlays, key=lambda role: _count(overlays[role]))
    series = case.inputs[role]
    stamp = STAMP if case.identity.is_demonstration else ""
    if compared := _compared(case):
        columns, size = GRID[2]
        pictures = list(_side_by_side(compared, size, stamp))
    else:
        shown = list(views(overlays[role], series, _chosen(case, series)))[:KEY_SLICES]
        columns, size = GRID[len(shown)]
        pictures = [draw_annotated_image(series, view.index, view.overlays, size, stamp, view.shown) for view in shown]
    width = columns * (size + MARGIN) + MARGIN
    rows = table_rows(case)
    written = [case.identity.title, *map(series_name, case.inputs.values())]
    written += [text for row in rows for text in (row.what, row.name)]
    unwritable = [UNWRITABLE] if missing_letters("".join(written)) else []
    blocks = [
        *_heading(case, width),
        *_summary(case, width),
        *_pictures(pictures, columns),
        *(_row(row, width) for row in rows),
        *_remarks([*remarks(case), *unwritable], width),
        *_origin(case.identity, width),
    ]
    page = Image.new("RGB", (width, sum(height for height, _ in blocks) + 2 * MARGIN), BACKGROUND)
    top = MARGIN
    for height, draw in blocks:
        draw(page, top)
        top += height
    return png(page)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A picture of the page: the index of its image, what lies on it, and what it says."""

    index: int
    overlays: Overlays
    shown: Shown | None = None


def views(overlays: Overlays, series: Series, chosen: Sequence[int]) -> Iterator[View]:
    """Yield the pictures of a series: one for each heat map, on which no other map lies, then the key slices."""
    slide = tile_matrix(series) is not None
    count = 1 if slide else len(series.frames)
    for heatmap in overlays.heatmaps:
        index = int(heatmap.array.max(axis=(1, 2)).argmax())
        yield View(index, replace(overlays, heatmaps=[heatmap]), Shown(heatmap.label, legend=True))
    plain = replace(overlays, heatmaps=[])
    if not overlays.heatmaps or overlays.layers or overlays.regions or chosen:
        taken = {int(heatmap.array.max(axis=(1, 2)).argmax()) for heatmap in overlays.heatmaps}
        indices = [0] if slide else key_slices(plain, count, chosen)
        yield from (View(index, plain) for index in indices if index not in taken)


def _compared(case: Case) -> DerivedSeries | None:
    """Return the prior on the grid of the present images, if the case has it."""
    derived = case.results_of(DerivedSeries)
    return next((one for one in derived if one.shows is not None and one.affine is None), None)


def _side_by_side(compared: DerivedSeries, size: int, stamp: str) -> Iterator[Image.Image]:
    """Yield the present image and the prior's values on its grid, both in one window, on slices through the stack."""
    source, prior = compared.source, compared.shows
    for index in _evenly(np.arange(len(source.frames)), COMPARED_SLICES) or [0]:
        present = Shown(f"present, {_date(source)}")
        earlier = Shown(f"prior, {_date(prior) if prior else ''}, moved onto", compared.array[index])
        for shown in (present, earlier):
            yield draw_annotated_image(source, index, Overlays(), size, stamp, shown)


def _date(series: Series) -> str:
    """Return the date of acquisition, else that of the study, as 2026-11-02; "no date" if the header has none."""
    for keyword in ("AcquisitionDate", "SeriesDate", "StudyDate"):
        given = str(series.header.get(keyword) or "")
        if len(given) == 8 and given.isdecimal():
            return f"{given[:4]}-{given[4:6]}-{given[6:]}"
    return "no date"


def _count(overlays: Overlays) -> int:
    return len(overlays.layers) + len(overlays.regions) + len(overlays.heatmaps)


def _chosen(case: Case, series: Series) -> list[int]:
    """Return the indices of the key images that are of a series."""
    images = [image for result in case.results_of(KeyImages) for image in result.images]
    return [index for image in images if (index := frame_index(image, series)) is not None]


def key_slices(overlays: Overlays, count: int, chosen: Sequence[int] = ()) -> list[int]:
    """Return the indices of up to six slices to show, in order.

    First come those in `chosen`, in its order, and those with a region; then, in the order of the stack, slices evenly
    through what is outlined, so that every segment is well visible. Without any of these it is the middle slice.

    Parameters
    ----------
    count
        Number of slices of the series.
    """
    areas = [area for layer in overlays.layers for area in layer.areas]
    outlined = np.flatnonzero(np.any(areas, axis=0)) if areas else np.array([], int)
    spread = _evenly(outlined, KEY_SLICES)
    hidden = [int(area.argmax()) for area in areas if area.any() and area[spread].max() < area.max() / 2]
    regions = [overlay.index for overlay in overlays.regions]
    first = list(dict.fromkeys([*chosen, *regions]))[:KEY_SLICES]
    wanted = list(dict.fromkeys([*first, *hidden]))[:KEY_SLICES]
    for index in wanted:
        if spread:
            spread.remove(_nearest(spread, index))
    return [*first, *sorted({*wanted, *spread} - {*first})] or [count // 2]


def _nearest(indices: Sequence[int], index: int) -> int:
    return min(indices, key=lambda other: abs(other - index))


def _evenly(indices: NDArray[np.int64], number: int) -> list[int]:
    """Return a number of the indices, evenly spaced, without the ends, where there is little to see."""
    if not indices.size:
        return []
    steps = np.linspace(0, indices.size - 1, number + 2)[1:-1].round().astype(int)
    return [int(index) for index in indices[steps]]


def _heading(case: Case, width: int) -> Iterator[Block]:
    stands_behind, research_use = case.identity.notices
    demonstration = case.identity.is_demonstration
    if demonstration:
        yield from _text([stands_behind], width, BANNER, ALERT, line=36)
    yield from _text([case.identity.title], width, TITLE, INK, line=40)
    if not demonstration:
        yield from _text([stands_behind], width, TEXT, INK)
    yield from _text([research_use], width, TEXT, WARNING)
    for series in case.inputs.values():
        name, images = series_name(series), len(series.frames)
        line = f"{name[0].upper()}{name[1:]} – {series.modality or 'no modality'}, {images} image{'s'[: images > 1]}"
        yield from _text([f"{line}, {_date(series)}"], width, TEXT, FAINT)
    yield 10, _draw_nothing


def _summary(case: Case, width: int) -> Iterator[Block]:
    ink = WARNING if case.results_of(NotSuitable) else INK
    yield from _text([summary_sentence(case)], width, LOUD, ink, line=36)
    yield 10, _draw_nothing


def _pictures(pictures: Sequence[Image.Image], columns: int) -> Iterator[Block]:
    for start in range(0, len(pictures), columns):
        row = pictures[start : start + columns]
        yield max(picture.height for picture in row) + MARGIN, _picture_row(row)


def _picture_row(row: Sequence[Image.Image]) -> Callable[[Image.Image, int], None]:
    height = max(picture.height for picture in row)

    def draw(page: Image.Image, top: int) -> None:
        left = MARGIN
        for picture in row:
            page.paste(picture, (left, top + (height - picture.height) // 2))
            left += picture.width + MARGIN

    return draw


def _row(row: Row, width: int) -> Block:
    name_at, value_at, note_at = (round(part * width) for part in (NAME, VALUE, NOTE))
    taken = len(row.value) * TEXT * 0.6
    cells: tuple[tuple[int, list[str], Side, Color], ...] = (
        (MARGIN + 26, wrap_text(row.what, TEXT, name_at - MARGIN - 40), "left", INK),
        (name_at, wrap_text(row.name, TEXT, max(value_at - name_at - taken - 16, 120)), "left", INK),
        (value_at, [row.value], "right", INK),
        (note_at, wrap_text(row.note, TEXT, width - note_at - MARGIN), "left", FAINT),
    )

    def draw(page: Image.Image, top: int) -> None:
        canvas = ImageDraw.Draw(page)
        if row.what:
            canvas.line((MARGIN, top, width - MARGIN, top), RULE)
        if row.color:
            canvas.rectangle((MARGIN, top + 6, MARGIN + SWATCH, top + 6 + SWATCH), row.color)
            draw_text(canvas, (MARGIN + SWATCH // 2, top + 20), row.mark, 13, BACKGROUND, side="middle")
        for left, lines, side, ink in cells:
            for number, line in enumerate(lines):
                draw_text(canvas, (left, top + 21 + number * LINE), line, TEXT, ink, side=side)

    return max(len(lines) for _, lines, _, _ in cells) * LINE, draw


def _remarks(sentences: Sequence[str], width: int) -> Iterator[Block]:
    if sentences:
        yield 10, _draw_nothing
        yield from _text(sentences, width, TEXT, WARNING)


def _origin(identity: Identity, width: int) -> Iterator[Block]:
    """Yield the line with plugin, models, node and time."""
    version = f"{identity.plugin} {identity.version}"
    made = [version, *(f"model {model}" for model in identity.models), identity.manufacturer, SOFTWARE_VERSIONS]
    yield 10, _draw_nothing
    yield from _text([", ".join(filter(None, [*made, f"{identity.at:%Y-%m-%d %H:%M}"]))], width, 16, FAINT)


def _text(sentences: Sequence[str], width: int, size: int, ink: Color, *, line: int = LINE) -> Iterator[Block]:
    for sentence in sentences:
        for text in wrap_text(sentence, size, width - 2 * MARGIN):
            yield line, _text_drawer(text, size, ink, line)


def _text_drawer(text: str, size: int, ink: Color, line: int) -> Callable[[Image.Image, int], None]:
    def draw(page: Image.Image, top: int) -> None:
        draw_text(ImageDraw.Draw(page), (MARGIN, top + round(line * 0.75)), text, size, ink)

    return draw


def _draw_nothing(page: Image.Image, top: int) -> None:
    """Leave a gap."""
