"""Quantities of an answer that plausible.toml has limits for: of one outline, and of the answer as a whole."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.errors import BrokenResult
from node.host.plausible_table import IMAGES, PlausibleRow, Quantity
from node.images.series import Series
from node.images.stack_geometry import corners
from node.infer.outlined import AIR_HU, BODY_HU, BONE_HU, Outlined, middle_of_lungs, plane_of
from node.results import Comparison, DerivedSeries, Finding, Measurement, Region, Registration, Result, Segmentation

MOST_SAMPLED = 2_000_000
"""Mean, spread and correlation of a derived series are taken from so many of its voxels."""

Subject = Outlined | Region | DerivedSeries
Told = tuple[str, float]
"""What a value is of, and the value."""


def label_of(one: Subject) -> str:
    """Return the label of a segment or region, or the description of a derived series."""
    match one:
        case Outlined():
            return one.segment.label
        case Region():
            return one.label
    return one.description


def named(labels: Sequence[str]) -> str:
    """Return labels in words."""
    return " and ".join(labels)


def _fits(name: str, labels: Sequence[str]) -> bool:
    return any(fnmatchcase(name, label) for label in labels)


@dataclass(frozen=True, slots=True)
class Answer:
    """The results of a plugin, and the series that it was given."""

    results: Sequence[Result]
    inputs: Mapping[str, Series]

    @property
    def modality(self) -> str:
        """The modality of the first series."""
        return next(iter(self.inputs.values())).modality

    def subjects(self, labels: Sequence[str]) -> Iterator[Subject]:
        """Yield segments that have voxels, regions and derived series with one of these labels."""
        for result in self.results:
            match result:
                case Segmentation():
                    yield from (one for one in self._outlined(result) if _fits(one.segment.label, labels))
                case Region() | DerivedSeries():
                    if _fits(label_of(result), labels):
                        yield result

    def _outlined(self, result: Segmentation) -> Iterator[Outlined]:
        series = next(series for series in self.inputs.values() if result.lies_on(series))
        for number in range(1, len(result.segments) + 1):
            if result.areas[number - 1].any():
                yield Outlined(result=result, number=number, series=series)

    def measured(self, row: PlausibleRow, labels: Sequence[str]) -> Iterator[Told]:
        """Yield the measurements of a row, of subjects with one of these labels, or of the images as a whole."""
        for result in self.results:
            one = result.measurement if isinstance(result, Comparison) else result
            if not isinstance(one, Measurement) or (one.name, one.derivation, one.percentile) != (
                row.measurement,
                row.derivation,
                row.percentile,
            ):
                continue
            label = one.of.label if one.of else ""
            if _fits(label, labels) if labels else not label:
                if one.unit.value != row.unit:
                    raise BrokenResult(
                        f"{one.name.meaning} is in {one.unit.value}, but in {row.unit} in plausible.toml"
                    )
                yield label, one.value

    def present(self, labels: Sequence[str]) -> int:
        """Return how many findings of these names are present."""
        found = [result for result in self.results if isinstance(result, Finding) and result.present]
        return sum(_fits(finding.name.meaning, labels) for finding in found)

    def registrations(self) -> Iterator[Registration]:
        """Yield the registrations."""
        return (result for result in self.results if isinstance(result, Registration))


def _share(one: Subject) -> float | None:
    """Return how much of its image a region on an image or a segment covers, %."""
    if isinstance(one, Outlined):
        return 100 * one.voxels / one.result.labels.array.size
    if not isinstance(one, Region) or one.image is None or one.kind not in {"box", "contour"}:
        return None
    columns, rows = one.points.T
    area = np.ptp(columns) * np.ptp(rows)
    if one.kind == "contour":
        area = abs(columns @ np.roll(rows, 1) - rows @ np.roll(columns, 1)) / 2
    return float(100 * area / (int(one.image.header.Rows) * int(one.image.header.Columns)))


def _sampled(array: NDArray[Any]) -> NDArray[np.float64]:
    """Return some voxels of an array, evenly distributed, as float64."""
    return np.asarray(array.reshape(-1)[:: max(1, array.size // MOST_SAMPLED)], np.float64)


def _inside(one: Subject) -> NDArray[np.floating[Any]] | None:
    """Return the values of the images in a segment, or those of a derived series."""
    if isinstance(one, Outlined):
        return one.values()
    return _sampled(one.array) if isinstance(one, DerivedSeries) else None


def _statistic(of: Callable[[NDArray[Any]], Any]) -> Callable[[Subject, PlausibleRow], float | None]:
    """Return a function that gives a number of the values inside, or how many times that of the source images it is."""

    def number(one: Subject, row: PlausibleRow) -> float | None:
        inside = _inside(one)
        if inside is None:
            return None
        if row.per != (IMAGES,) or not isinstance(one, DerivedSeries):
            return float(of(inside))
        source = float(of(_values_of(one.shows or one.source)))
        return float(of(inside)) / source if source else None

    return number


def _values_of(series: Series) -> NDArray[np.float64]:
    return _sampled(np.stack([plane_of(series, index) for index in range(len(series.frames))]))


def _likeness(one: Subject, _: PlausibleRow) -> float | None:
    """Return the correlation of a derived series with its source on the same grid."""
    if not isinstance(one, DerivedSeries) or one.affine is not None:
        return None
    made, source = _sampled(one.array), _values_of(one.source)
    if made.shape != source.shape or not made.std() or not source.std():
        return None
    return float(np.corrcoef(made, source)[0, 1])


def _of_segment(of: Callable[[Outlined], float]) -> Callable[[Subject, PlausibleRow], float | None]:
    """Return a function that gives a number of a segment in the patient, and None for everything else."""
    return lambda one, _: of(one) if isinstance(one, Outlined) and one.series.placed else None


def _bone(values: NDArray[Any]) -> float:
    body = values[values > BODY_HU]
    return 100 * float((body > BONE_HU).mean()) if len(body) else float("nan")


OF_ONE: Mapping[Quantity, Callable[[Subject, PlausibleRow], float | None]] = {
    "volume": _of_segment(lambda one: one.voxels * one.result.labels.voxel_ml),
    "extent": _of_segment(Outlined.extent),
    "largest_piece": lambda one, _: one.largest_piece() if isinstance(one, Outlined) else None,
    "share": lambda one, _: _share(one),
    "mean": _statistic(np.mean),
    "spread": _statistic(np.std),
    "air": _statistic(lambda values: 100 * (values < AIR_HU).mean()),
    "bone": _statistic(_bone),
    "likeness": _likeness,
}
"""Quantities of one segment, region or derived series; None where it has none."""


def _apart(direction: Sequence[float]) -> Callable[[Answer, PlausibleRow], Iterator[Told]]:
    """Return a function that gives how far `of` lies from `per` along a direction in LPS."""

    def distances(answer: Answer, row: PlausibleRow) -> Iterator[Told]:
        others = [one for one in answer.subjects(row.per) if isinstance(one, Outlined)]
        for one in answer.subjects(row.of):
            if isinstance(one, Outlined) and others and one.series.placed:
                yield label_of(one), float((one.middle() - others[0].middle()) @ direction)

    return distances


DOWN = (0.0, 0.0, -1.0)


def _below_lungs(answer: Answer, row: PlausibleRow) -> Iterator[Told]:
    for one in answer.subjects(row.of):
        lungs = middle_of_lungs(one.series) if isinstance(one, Outlined) else None
        if lungs is not None and isinstance(one, Outlined):
            yield label_of(one), float((one.middle() - lungs) @ DOWN)


def _number(answer: Answer, row: PlausibleRow) -> Iterator[Told]:
    yield named(row.of), float(sum(1 for _ in answer.subjects(row.of)))


def _present(answer: Answer, row: PlausibleRow) -> Iterator[Told]:
    yield named(row.of), float(answer.present(row.of))


def _unexplained(answer: Answer, row: PlausibleRow) -> Iterator[Told]:
    yield named(row.of), 0.0 if answer.present(row.per) else float(answer.present(row.of))


def _turn(answer: Answer, _: PlausibleRow) -> Iterator[Told]:
    for one in answer.registrations():
        cosine = (np.trace(one.matrix[:3, :3]) - 1) / 2
        yield "", float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def _shift(answer: Answer, _: PlausibleRow) -> Iterator[Told]:
    """Yield how far the middle of the moving images comes to lie from the middle of the fixed images, mm."""
    for one in answer.registrations():
        moving, fixed = (_middle(series) for series in (one.moving, one.fixed))
        yield "", float(np.linalg.norm((one.matrix @ [*moving, 1.0])[:3] - fixed))


def _middle(series: Series) -> NDArray[np.float64]:
    shape = (len(series.frames), int(series.header.Rows), int(series.header.Columns))
    return np.asarray(corners(series.affine(), shape).mean(0))


def _bend(answer: Answer, _: PlausibleRow) -> Iterator[Told]:
    for one in answer.registrations():
        if one.deformation is not None:
            yield "", float(np.linalg.norm(one.deformation.vectors, axis=3).max())


OF_ANSWER: Mapping[Quantity, Callable[[Answer, PlausibleRow], Iterator[Told]]] = {
    "left_of": _apart((1.0, 0.0, 0.0)),
    "below": _apart(DOWN),
    "below_lungs": _below_lungs,
    "number": _number,
    "present": _present,
    "unexplained": _unexplained,
    "turn": _turn,
    "shift": _shift,
    "bend": _bend,
}
"""Quantities of the whole answer."""
