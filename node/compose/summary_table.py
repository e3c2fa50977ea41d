"""The table of the summary page: what was measured and found, remarks, and the verdict."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from node.codes import SCT
from node.compose.case import Case
from node.compose.figures_in_words import derivation_in_words, number_in_words, unit_in_words
from node.compose.fonts import Color
from node.compose.image_names import name_in_series
from node.compose.outlines import frame_index
from node.compose.overlays import overlays_on
from node.compose.palette import region_colors, segment_colors
from node.compose.sr.statement_items import SCORE_DIGITS, score_in_digits
from node.compose.sr.whole_images import NOT_CALIBRATED
from node.images.series import Series
from node.results import (
    Caveat,
    Comparison,
    DerivedSeries,
    Finding,
    Heatmap,
    KeyImages,
    Measurement,
    Presence,
    Region,
    Registration,
    Result,
    Segment,
    Segmentation,
)
from node.results.figures import in_words, without_exponent


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the table: what it is of, name, value, a note such as the score; colour and number as in pictures."""

    what: str = ""
    name: str = ""
    value: str = ""
    note: str = ""
    color: Color | None = None
    mark: str = ""


def table_rows(case: Case) -> list[Row]:
    """Return a row for each measurement and finding, below the segment or region that it is of."""
    table: list[Row] = []
    colors = region_colors(case.results)
    for result in case.results:
        if isinstance(result, Segmentation):
            table += _segment_rows(case, result)
        if isinstance(result, Region):
            table += _with_title(result.label, _region_rows(case, result), colors[id(result)])
    table += _with_title("Images as a whole", _statement_rows(case, None))
    for result in case.results:
        table += _other_rows(case, result)
    return table


def _with_title(what: str, rows: Sequence[Row], color: Color | None = None, mark: str = "") -> list[Row]:
    """Return rows whose first row says what they are of."""
    return [replace(row, what=what, color=color, mark=mark) if index == 0 else row for index, row in enumerate(rows)]


def _segment_rows(case: Case, result: Segmentation) -> Iterator[Row]:
    several = sum(len(other.segments) for other in case.results_of(Segmentation)) > 1
    named = zip(result.segments, segment_colors(result.segments), result.areas, strict=True)
    for number, (segment, color, area) in enumerate(named, 1):
        rows = _statement_rows(case, segment)
        if not area.any():
            rows = [Row(name="not found"), *rows]
        elif segment.category == SCT.MorphologicallyAbnormalStructure:
            rows = [*_largest_on(case, result, int(area.argmax())), *rows]
        yield from _with_title(segment.label, rows or [Row()], color, str(number) if several else "")


def _largest_on(case: Case, result: Segmentation, index: int) -> list[Row]:
    """Return the row with the image on which a lesion is largest; none if its series has one image."""
    name = next((name_in_series(series, index) for series in case.inputs.values() if result.lies_on(series)), "")
    return [Row(name="Largest on", value=name)] if name else []


def _region_rows(case: Case, region: Region) -> list[Row]:
    site = ", ".join(code.meaning for code in (region.site, region.laterality) if code)
    name = f"{region.type.meaning} ({site})" if site else region.type.meaning
    score = _score(region)
    return [Row(name=name, value=_region_slice(case, region), note=score), *_statement_rows(case, region)]


def _region_slice(case: Case, region: Region) -> str:
    """Return the image of a region, named as in the captions; empty for a series of one image."""
    for series in case.inputs.values():
        for overlay in overlays_on(series, [region]).regions:
            return name_in_series(series, overlay.index)
    return ""


def _statement_rows(case: Case, subject: Segment | Region | None) -> list[Row]:
    """Return what was measured and found of a segment or region, or with None of the images as a whole.

    What is absent comes last.
    """
    compared = [result.measurement for result in case.results_of(Comparison)]
    table: list[Row] = []
    for result in sorted(case.results, key=_is_absent):
        statement = result.measurement if isinstance(result, Comparison) else result
        if not isinstance(statement, Measurement | Finding) or statement.of != subject:
            continue
        if isinstance(result, Comparison):
            table.append(replace(_statement_row(statement), note=_change(result)))
        elif statement not in compared:
            table.append(_statement_row(statement))
    return table


def _is_absent(result: Result) -> bool:
    return isinstance(result, Finding) and result.presence is Presence.ABSENT


def _change(result: Comparison) -> str:
    """Return the value in the prior, the time since then, and the change."""
    was = f"{number_in_words(result.prior)} {unit_in_words(result.measurement.unit)}".rstrip()
    grown = "" if result.percent is None else f": {result.percent:+.0f} %"
    doubling = f", doubles in {result.doubling_days:.0f} days" if result.doubling_days else ""
    return f"was {was} {result.days:.0f} days ago{grown}{doubling}"


def _statement_row(result: Measurement | Finding) -> Row:
    if isinstance(result, Measurement):
        name = f"{derivation_in_words(result)}{result.name.meaning}{_site(result)}{_time(result)}"
        return Row(name=name, value=f"{number_in_words(result.value)} {unit_in_words(result.unit)}".rstrip())
    return Row(name=result.name.meaning, value=result.presence.value, note=_score(result))


def _score(result: Finding | Region) -> str:
    """Return a score with its threshold, or a probability with its interval."""
    if result.score is None or result.threshold is None:
        return ""
    told = score_in_digits(result)
    limits = f"threshold {without_exponent(told.threshold)}"
    if told.indeterminate_from is not None:
        limits += f", indeterminate from {without_exponent(told.indeterminate_from)}"
    if isinstance(result, Region) or result.interval is None:
        return f"score {without_exponent(told.score)} ({limits})"
    low, high = (in_words(end, SCORE_DIGITS) for end in result.interval)
    return (
        f"{'probability' if result.calibrated else 'score'} {without_exponent(told.score)} ({low} to {high}; {limits})"
    )


def _site(result: Measurement) -> str:
    if result.site is None:
        return ""
    return f" ({', '.join(code.meaning for code in (result.site, result.laterality) if code)})"


def _time(result: Measurement) -> str:
    return "" if result.after_r_wave is None else f", {result.after_r_wave:.0f} ms after the R wave"


def _other_rows(case: Case, result: Result) -> list[Row]:
    """Return the row of a heat map, derived series, registration or key images; none for other results."""
    match result:
        case Heatmap():
            low, high = result.window or tuple(
                sorted(float(end) * result.slope + result.intercept for end in (result.array.min(), result.array.max()))
            )
            return [Row(what="Heat map", name=result.label, value=f"{number_in_words(low)} to {number_in_words(high)}")]
        case DerivedSeries():
            note = "synthetic" if result.synthetic else ""
            name = f"{result.description} ({result.derivation.meaning})"
            return [Row(what="New series", name=name, value=f"{len(result.array)} images", note=note)]
        case Registration():
            name = f"{series_name(result.moving)} onto {series_name(result.fixed)}"
            kind = "deformable" if result.deformation else result.kind.replace("_", " with ")
            return [Row(what="Registration", name=name, value=kind)]
        case KeyImages():
            name = result.description or result.title.meaning
            return [Row(what="Key images", name=name, value=_image_names(case, result))]
        case _:
            return []


def _image_names(case: Case, result: KeyImages) -> str:
    for series in case.inputs.values():
        indices = [frame_index(image, series) for image in result.images]
        if names := [name_in_series(series, index) for index in indices if index is not None]:
            return ", ".join(filter(None, names))
    return ""


def series_name(series: Series) -> str:
    """Return number and description of a series, as lists of series show them."""
    number, description = series.header.get("SeriesNumber"), str(series.header.get("SeriesDescription") or "")
    stack = series.key.partition("#")[2]
    parts = [f"series {number}" if number is not None else "series without a number", description.strip()]
    return ", ".join([*filter(None, parts), *([f"stack {stack}"] if stack else [])])


def remarks(case: Case) -> list[str]:
    """Return what is missing, warnings about the images, and the statement on scores that are no probabilities."""
    warnings = [f"{series_name(series)}: {text}" for series in case.inputs.values() for text in series.warnings]
    uncalibrated = any(
        (isinstance(result, Region) and result.score is not None)
        or (isinstance(result, Finding) and result.score is not None and not result.calibrated)
        for result in case.results
    )
    caveats = [result.text for result in case.results_of(Caveat)]
    return [*case.incomplete, *caveats, *warnings, *([NOT_CALIBRATED] if uncalibrated else [])]
