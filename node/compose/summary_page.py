"""One page to look at: key slices with the outlines of what was found, what was measured, by what, and what to mind."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from node.compose.annotated_image import FAINT, INK, Overlays, overlays, patchwork, tile
from node.compose.fonts import Color, Side, lacking, wrapped, write
from node.compose.identity import RESEARCH_USE, SOFTWARE_VERSIONS, Identity
from node.compose.outlines import frame_index, region_colors
from node.compose.png import png
from node.compose.seg import colors
from node.compose.sr.groups import NOT_CALIBRATED
from node.images.series import Series
from node.results import (
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
    Segment,
    Segmentation,
)

KEY_SLICES = 6
TILES = {1: (1, 976), 2: (2, 640), 3: (3, 480), 4: (2, 640), 5: (3, 480), 6: (3, 480)}
"""Columns, and longest side of one image in pixels, by how many images there are."""
MARGIN = 16
LINE = 28
TEXT, TITLE, LOUD = 18, 30, 24
"""Sizes of letters in pixels."""
SWATCH = 14
NAME, VALUE, NOTE = 0.29, 0.72, 0.74
"""Where a row's name begins, its value ends and its note begins, as parts of the page's width."""
BACKGROUND: Color = (17, 20, 24)
RULE: Color = (50, 55, 62)
WARNING: Color = (255, 184, 77)
UNITS = {"1": "", "[hnsf'U]": "HU", "cm3": "cm³", "mm3": "mm³", "mm2": "mm²", "cm2": "cm²"}
UNWRITABLE = "A question mark stands for a letter that no font of this machine has."

Block = tuple[int, Callable[[Image.Image, int], None]]
"""A part of the page: its height in pixels, and what draws it onto the page from a row on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the table: whose, what, how much, and how sure."""

    what: str = ""
    name: str = ""
    value: str = ""
    note: str = ""
    color: Color | None = None


def picture(inputs: Mapping[str, Series], results: Sequence[Result], identity: Identity) -> bytes:
    """Return a PNG of up to six key slices with what lies on them, and a table of all results; the same at every run.

    Slices are shown as they are stored, at the proportions of their pixels, with the patient's directions at the edges:
    those of the input on which most lies. What lies on others is in the table alone. Nobody's name is on the page.

    Parameters
    ----------
    inputs
        The series that the plugin was given, by role.
    """
    shown = {role: overlays(series, results) for role, series in inputs.items()}
    role = max(shown, key=lambda one: _count(shown[one]))
    series = inputs[role]
    places = [0] if patchwork(series) else key_slices(shown[role], len(series.frames), _asked_for(results, series))
    columns, size = TILES[len(places)]
    width = columns * (size + MARGIN) + MARGIN
    tiles = [tile(series, place, shown[role], size) for place in places]
    table = rows(results, inputs)
    said = [identity.title, *map(named, inputs.values()), *(word for row in table for word in (row.what, row.name))]
    unwritable = [UNWRITABLE] if lacking("".join(said)) else []
    blocks = [
        *_heading(inputs, identity, width),
        *_verdict(results, width),
        *_pictures(tiles, columns),
        *(_row(row, width) for row in table),
        *_notes([*notes(results, inputs), *unwritable], width),
        *_origin(identity, width),
    ]
    page = Image.new("RGB", (width, sum(height for height, _ in blocks) + 2 * MARGIN), BACKGROUND)
    top = MARGIN
    for height, draw in blocks:
        draw(page, top)
        top += height
    return png(page)


def _count(shown: Overlays) -> int:
    return len(shown.layers) + len(shown.regions) + len(shown.heatmaps)


def _asked_for(results: Sequence[Result], series: Series) -> list[int]:
    """Return the places of the key images that are of a series."""
    images = [image for result in results if isinstance(result, KeyImages) for image in result.images]
    return [place for image in images if (place := frame_index(image, series)) is not None]


def key_slices(shown: Overlays, count: int, asked_for: Sequence[int] = ()) -> list[int]:
    """Return the places of up to six slices to show, in order.

    Those that were asked for, those with a region, the highest of each heat map, and then evenly through what is
    outlined, with every segment well in sight; the middle one where there is nothing to choose by.
    """
    areas = [area for layer in shown.layers for area in layer.areas]
    outlined = np.flatnonzero(np.any(areas, axis=0)) if areas else np.array([], int)
    spread = _evenly(outlined, KEY_SLICES)
    hidden = [int(area.argmax()) for area in areas if area.any() and area[spread].max() < area.max() / 2]
    regions = [outlined.index for outlined in shown.regions]
    highest = [int(heatmap.array.max(axis=(1, 2)).argmax()) for heatmap in shown.heatmaps]
    chosen = list(dict.fromkeys([*asked_for, *regions, *highest, *hidden]))[:KEY_SLICES]
    for place in chosen:
        if spread:
            spread.remove(_nearest(spread, place))
    return sorted({*chosen, *spread}) or [count // 2]


def _nearest(places: Sequence[int], place: int) -> int:
    return min(places, key=lambda one: abs(one - place))


def _evenly(places: NDArray[np.int64], number: int) -> list[int]:
    """Return a number of the places, evenly, the very ends left out: there is little to see."""
    if not places.size:
        return []
    steps = np.linspace(0, places.size - 1, number + 2)[1:-1].round().astype(int)
    return [int(place) for place in places[steps]]


# What the page says.


def rows(results: Sequence[Result], inputs: Mapping[str, Series]) -> list[Row]:
    """Return the table: a row per measurement and finding, under the segment or region it is of."""
    table: list[Row] = []
    painted = region_colors(results)
    for result in results:
        if isinstance(result, Segmentation):
            table += _segment_rows(result, results)
        if isinstance(result, Region):
            table += _titled(result.label, _region_rows(result, results, inputs), painted[id(result)])
    table += _titled("Images as a whole", _about(None, results))
    for result in results:
        table += _further(result, inputs)
    return table


def _titled(what: str, under: Sequence[Row], color: Color | None = None) -> list[Row]:
    """Return rows of which the first says what they are of."""
    return [
        Row(what="" if at else what, name=row.name, value=row.value, note=row.note, color=None if at else color)
        for at, row in enumerate(under)
    ]


def _segment_rows(result: Segmentation, results: Sequence[Result]) -> Iterator[Row]:
    for segment, color, area in zip(result.segments, colors(result.segments), result.areas, strict=True):
        about = _about(segment, results)
        if not area.any():
            about = [Row(name="not found"), *about]
        yield from _titled(segment.label, about or [Row()], color)


def _region_rows(region: Region, results: Sequence[Result], inputs: Mapping[str, Series]) -> list[Row]:
    place = _place(region, inputs)
    where = ", ".join(code.meaning for code in (region.site, region.laterality) if code)
    name = f"{region.type.meaning} ({where})" if where else region.type.meaning
    said = _score(region.probability, calibrated=region.calibrated)
    return [Row(name=name, value=place, note=said), *_about(region, results)]


def _place(region: Region, inputs: Mapping[str, Series]) -> str:
    """Return on which slice a region is, in the words that are below the slices; nothing where there is one alone."""
    for series in inputs.values():
        if len(series.frames) == 1:
            continue
        for outlined in overlays(series, [region]).regions[: not patchwork(series)]:
            return f"{_frame_word(series)} {outlined.index + 1}"
    return ""


def _frame_word(series: Series) -> str:
    return "slice" if series.frames[0].position else "image"


def _about(thing: Segment | Region | None, results: Sequence[Result]) -> list[Row]:
    """Return what was measured and found of a thing, or of the images as a whole."""
    compared = [result.measurement for result in results if isinstance(result, Comparison)]
    table: list[Row] = []
    for result in results:
        about = result.measurement if isinstance(result, Comparison) else result
        if not isinstance(about, Measurement | Finding) or about.of != thing:
            continue
        if isinstance(result, Comparison):
            table.append(replace(_said(about), note=_change(result)))
        elif about not in compared:
            table.append(_said(about))
    return table


def _change(result: Comparison) -> str:
    """Return what a value was in the prior, how long ago, and what became of it since."""
    was = f"{_number(result.prior)} {_unit(result.measurement)}".rstrip()
    grown = "" if result.percent is None else f": {result.percent:+.0f} %"
    doubling = f", doubles in {result.doubling_days:.0f} days" if result.doubling_days else ""
    return f"was {was} {result.days:.0f} days ago{grown}{doubling}"


def _said(result: Measurement | Finding) -> Row:
    if isinstance(result, Measurement):
        name = f"{_derived(result)}{result.name.meaning}{_where(result)}{_when(result)}"
        return Row(name=name, value=f"{_number(result.value)} {_unit(result)}".rstrip())
    presence = "present" if result.present else "absent"
    return Row(name=result.name.meaning, value=presence, note=_score(result.probability, calibrated=result.calibrated))


def _score(probability: float | None, *, calibrated: bool) -> str:
    if probability is None:
        return ""
    return f"{'probability' if calibrated else 'score'} {probability:.2f}"


def _derived(result: Measurement) -> str:
    if result.percentile is not None:
        return f"{result.percentile:g}th percentile of "
    return f"{result.derivation.meaning} of " if result.derivation else ""


def _where(result: Measurement) -> str:
    if result.site is None:
        return ""
    return f" ({', '.join(code.meaning for code in (result.site, result.laterality) if code)})"


def _when(result: Measurement) -> str:
    return "" if result.after_r_wave is None else f", {result.after_r_wave:.0f} ms after the R wave"


def _number(value: float) -> str:
    """Return a number as it is read: four digits, and all of those before the point."""
    return f"{value:.0f}" if 1e3 <= abs(value) < 1e9 else f"{value:.4g}"


def _unit(result: Measurement) -> str:
    """Return a unit as it is printed: UCUM's brackets, remarks and powers on the line, are for machines."""
    before_remark = result.unit.value.partition("{")[0]  # g/ml{SUVbw}
    return UNITS.get(result.unit.value, (before_remark or result.unit.value).strip("[]{}"))


def _further(result: Result, inputs: Mapping[str, Series]) -> list[Row]:
    """Return the row of a result that is no measurement, finding, segmentation or region."""
    match result:
        case Heatmap():
            low, high = result.window or tuple(
                sorted(float(end) * result.slope + result.intercept for end in (result.array.min(), result.array.max()))
            )
            return [Row(what="Heat map", name=result.label, value=f"{_number(low)} to {_number(high)}")]
        case DerivedSeries():
            note = "synthetic" if result.synthetic else ""
            name = f"{result.description} ({result.derivation.meaning})"
            return [Row(what="New series", name=name, value=f"{len(result.array)} images", note=note)]
        case Registration():
            name = f"{named(result.moving)} onto {named(result.fixed)}"
            kind = "deformable" if result.deformation else result.kind.replace("_", " with ")
            return [Row(what="Registration", name=name, value=kind)]
        case KeyImages():
            return [
                Row(what="Key images", name=result.description or result.title.meaning, value=_listed(result, inputs))
            ]
        case _:
            return []


def _listed(result: KeyImages, inputs: Mapping[str, Series]) -> str:
    for series in inputs.values():
        places = [frame_index(image, series) for image in result.images]
        numbers = [str(place + 1) for place in places if place is not None]
        if numbers:
            return f"{_frame_word(series)} {', '.join(numbers)}"
    return ""


def named(series: Series) -> str:
    """Return a series as a list of series names it: its number and description."""
    number, description = series.header.get("SeriesNumber"), str(series.header.get("SeriesDescription") or "")
    stack = series.key.partition("#")[2]
    words = [f"series {number}" if number is not None else "series without a number", description.strip()]
    return ", ".join([*filter(None, words), *([f"stack {stack}"] if stack else [])])


def notes(results: Sequence[Result], inputs: Mapping[str, Series]) -> list[str]:
    """Return what a reader should mind: oddities of the images, and scores that are no probabilities."""
    odd = [f"{named(series)}: {warning}" for series in inputs.values() for warning in series.warnings]
    scored = [
        result
        for result in results
        if isinstance(result, Finding | Region) and result.probability is not None and not result.calibrated
    ]
    return [*odd, *([NOT_CALIBRATED] if scored else [])]


def verdict(results: Sequence[Result]) -> str:
    """Return the sentence above the pictures: that and why there are no results, or that nothing was found."""
    unsuitable = [result for result in results if isinstance(result, NotSuitable)]
    if unsuitable:
        return "Not suitable, because " + "; ".join(result.reason for result in unsuitable)
    return "" if any(_is_something(result) for result in results) else "Nothing found"


def _is_something(result: Result) -> bool:
    if isinstance(result, Segmentation):
        return bool(result.labels.array.any())
    return result.present if isinstance(result, Finding) else True


# How it says it.


def _heading(inputs: Mapping[str, Series], identity: Identity, width: int) -> Iterator[Block]:
    yield from _words([identity.title], width, TITLE, INK, line=40)
    yield from _words([RESEARCH_USE], width, TEXT, WARNING)
    for series in inputs.values():
        name, images = named(series), len(series.frames)
        words = f"{name[0].upper()}{name[1:]} – {series.modality or 'no modality'}, {images} image{'s'[: images > 1]}"
        yield from _words([words], width, TEXT, FAINT)
    yield 10, _nothing


def _verdict(results: Sequence[Result], width: int) -> Iterator[Block]:
    if sentence := verdict(results):
        ink = WARNING if any(isinstance(result, NotSuitable) for result in results) else INK
        yield from _words([sentence], width, LOUD, ink, line=36)
        yield 10, _nothing


def _pictures(tiles: Sequence[Image.Image], columns: int) -> Iterator[Block]:
    for start in range(0, len(tiles), columns):
        line = tiles[start : start + columns]
        yield max(one.height for one in line) + MARGIN, _pasting(line)


def _pasting(line: Sequence[Image.Image]) -> Callable[[Image.Image, int], None]:
    height = max(one.height for one in line)

    def draw(page: Image.Image, top: int) -> None:
        left = MARGIN
        for one in line:
            page.paste(one, (left, top + (height - one.height) // 2))
            left += one.width + MARGIN

    return draw


def _row(row: Row, width: int) -> Block:
    name_at, value_at, note_at = (round(part * width) for part in (NAME, VALUE, NOTE))
    taken = len(row.value) * TEXT * 0.6
    cells: tuple[tuple[int, list[str], Side, Color], ...] = (
        (MARGIN + 26, wrapped(row.what, TEXT, name_at - MARGIN - 40), "left", INK),
        (name_at, wrapped(row.name, TEXT, max(value_at - name_at - taken - 16, 120)), "left", INK),
        (value_at, [row.value], "right", INK),
        (note_at, wrapped(row.note, TEXT, width - note_at - MARGIN), "left", FAINT),
    )

    def draw(page: Image.Image, top: int) -> None:
        canvas = ImageDraw.Draw(page)
        if row.what:
            canvas.line((MARGIN, top, width - MARGIN, top), RULE)
        if row.color:
            canvas.rectangle((MARGIN, top + 8, MARGIN + SWATCH, top + 8 + SWATCH), row.color)
        for left, lines, side, ink in cells:
            for number, words in enumerate(lines):
                write(canvas, (left, top + 21 + number * LINE), words, TEXT, ink, side=side)

    return max(len(lines) for _, lines, _, _ in cells) * LINE, draw


def _notes(sentences: Sequence[str], width: int) -> Iterator[Block]:
    if sentences:
        yield 10, _nothing
        yield from _words(sentences, width, TEXT, WARNING)


def _origin(identity: Identity, width: int) -> Iterator[Block]:
    """Say what made the results, and when."""
    version = f"{identity.plugin} {identity.version}"
    made = [version, *(f"model {model}" for model in identity.models), identity.manufacturer, SOFTWARE_VERSIONS]
    yield 10, _nothing
    yield from _words([", ".join(filter(None, [*made, f"{identity.at:%Y-%m-%d %H:%M}"]))], width, 16, FAINT)


def _words(sentences: Sequence[str], width: int, size: int, ink: Color, *, line: int = LINE) -> Iterator[Block]:
    for sentence in sentences:
        for words in wrapped(sentence, size, width - 2 * MARGIN):
            yield line, _writing(words, size, ink, line)


def _writing(words: str, size: int, ink: Color, line: int) -> Callable[[Image.Image, int], None]:
    def draw(page: Image.Image, top: int) -> None:
        write(ImageDraw.Draw(page), (MARGIN, top + round(line * 0.75)), words, size, ink)

    return draw


def _nothing(page: Image.Image, top: int) -> None:
    """Leave a gap."""
