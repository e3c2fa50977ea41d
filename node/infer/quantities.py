"""Quantities that plausible.toml has limits for: those of one segment or region, and those of the whole answer."""

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
"""Largest number of voxels from which mean, spread and correlation of a derived series are calculated."""

Measurable = Outlined | Region | DerivedSeries
LabelledValue = tuple[str, float]
"""The label of what was measured, and the value."""


def label_of(subject: Measurable) -> str:
    """Return the label of a segment or region, or the description of a derived series."""
    match subject:
        case Outlined():
            return subject.segment.label
        case Region():
            return subject.label
    return subject.description


def joined(labels: Sequence[str]) -> str:
    """Return labels joined by "and"."""
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

    def subjects(self, labels: Sequence[str]) -> Iterator[Measurable]:
        """Yield the segments that have voxels, the regions and the derived series with one of these labels."""
        for result in self.results:
            match result:
                case Segmentation():
                    yield from (subject for subject in self._outlined(result) if _fits(subject.segment.label, labels))
                case Region() | DerivedSeries():
                    if _fits(label_of(result), labels):
                        yield result

    def _outlined(self, result: Segmentation) -> Iterator[Outlined]:
        series = next(series for series in self.inputs.values() if result.lies_on(series))
        for number in range(1, len(result.segments) + 1):
            if result.areas[number - 1].any():
                yield Outlined(result=result, number=number, series=series)

    def measured(self, row: PlausibleRow, labels: Sequence[str]) -> Iterator[LabelledValue]:
        """Yield the measurements of a row, of subjects with one of these labels, or of the images as a whole."""
        for result in self.results:
            measurement = result.measurement if isinstance(result, Comparison) else result
            if not isinstance(measurement, Measurement) or (
                measurement.name,
                measurement.derivation,
                measurement.percentile,
            ) != (
                row.measurement,
                row.derivation,
                row.percentile,
            ):
                continue
            label = measurement.of.label if measurement.of else ""
            if _fits(label, labels) if labels else not label:
                if measurement.unit.value != row.unit:
                    raise BrokenResult(
                        f"{measurement.name.meaning} is in {measurement.unit.value}, but plausible.toml says {row.unit}"
                    )
                yield label, measurement.value

    def present(self, labels: Sequence[str]) -> int:
        """Return how many findings of these names are present."""
        found = [result for result in self.results if isinstance(result, Finding) and result.present]
        return sum(_fits(finding.name.meaning, labels) for finding in found)

    def registrations(self) -> Iterator[Registration]:
        """Yield the registrations."""
        return (result for result in self.results if isinstance(result, Registration))


def _share(subject: Measurable) -> float | None:
    """Return which part of the image a segment, or a region on an image, covers, %."""
    if isinstance(subject, Outlined):
        return 100 * subject.voxels / subject.result.labels.array.size
    if not isinstance(subject, Region) or subject.image is None or subject.kind not in {"box", "contour"}:
        return None
    columns, rows = subject.points.T
    area = np.ptp(columns) * np.ptp(rows)
    if subject.kind == "contour":
        area = abs(columns @ np.roll(rows, 1) - rows @ np.roll(columns, 1)) / 2
    return float(100 * area / (int(subject.image.header.Rows) * int(subject.image.header.Columns)))


def _sampled(array: NDArray[Any]) -> NDArray[np.float64]:
    """Return some voxels of an array, evenly distributed, as float64."""
    return np.asarray(array.reshape(-1)[:: max(1, array.size // MOST_SAMPLED)], np.float64)


def _inside(subject: Measurable) -> NDArray[np.floating[Any]] | None:
    """Return the values of the images in a segment, or those of a derived series."""
    if isinstance(subject, Outlined):
        return subject.values()
    return _sampled(subject.array) if isinstance(subject, DerivedSeries) else None


def _statistic(of: Callable[[NDArray[Any]], Any]) -> Callable[[Measurable, PlausibleRow], float | None]:
    """Return a function that gives a statistic of the values inside; with `per`, as a multiple of the source's."""

    def number(subject: Measurable, row: PlausibleRow) -> float | None:
        inside = _inside(subject)
        if inside is None:
            return None
        if row.per != (IMAGES,) or not isinstance(subject, DerivedSeries):
            return float(of(inside))
        source = float(of(_values_of(subject.shows or subject.source)))
        return float(of(inside)) / source if source else None

    return number


def _values_of(series: Series) -> NDArray[np.float64]:
    return _sampled(np.stack([plane_of(series, index) for index in range(len(series.frames))]))


def _likeness(subject: Measurable, _: PlausibleRow) -> float | None:
    """Return the correlation of a derived series with its source on the same grid."""
    if not isinstance(subject, DerivedSeries) or subject.affine is not None:
        return None
    made, source = _sampled(subject.array), _values_of(subject.source)
    if made.shape != source.shape or not made.std() or not source.std():
        return None
    return float(np.corrcoef(made, source)[0, 1])


def _of_segment(of: Callable[[Outlined], float]) -> Callable[[Measurable, PlausibleRow], float | None]:
    """Return a function that measures a segment placed in the patient, and returns None for everything else."""
    return lambda subject, _: of(subject) if isinstance(subject, Outlined) and subject.series.placed else None


def _bone(values: NDArray[Any]) -> float:
    body = values[values > BODY_HU]
    return 100 * float((body > BONE_HU).mean()) if len(body) else float("nan")


QUANTITIES_OF_SUBJECT: Mapping[Quantity, Callable[[Measurable, PlausibleRow], float | None]] = {
    "volume": _of_segment(lambda segment: segment.voxels * segment.result.labels.voxel_ml),
    "extent": _of_segment(Outlined.extent),
    "largest_piece": lambda subject, _: subject.largest_piece() if isinstance(subject, Outlined) else None,
    "share": lambda subject, _: _share(subject),
    "mean": _statistic(np.mean),
    "spread": _statistic(np.std),
    "air": _statistic(lambda values: 100 * (values < AIR_HU).mean()),
    "bone": _statistic(_bone),
    "likeness": _likeness,
}
"""Functions that measure one segment, region or derived series; None where it does not have the quantity."""


def _distance_along(direction: Sequence[float]) -> Callable[[Answer, PlausibleRow], Iterator[LabelledValue]]:
    """Return a function that yields how far `of` lies from `per` along a direction in LPS, mm."""

    def distances(answer: Answer, row: PlausibleRow) -> Iterator[LabelledValue]:
        others = [subject for subject in answer.subjects(row.per) if isinstance(subject, Outlined)]
        for subject in answer.subjects(row.of):
            if isinstance(subject, Outlined) and others and subject.series.placed:
                yield label_of(subject), float((subject.middle() - others[0].middle()) @ direction)

    return distances


DOWN = (0.0, 0.0, -1.0)


def _below_lungs(answer: Answer, row: PlausibleRow) -> Iterator[LabelledValue]:
    for subject in answer.subjects(row.of):
        lungs = middle_of_lungs(subject.series) if isinstance(subject, Outlined) else None
        if lungs is not None and isinstance(subject, Outlined):
            yield label_of(subject), float((subject.middle() - lungs) @ DOWN)


def _number(answer: Answer, row: PlausibleRow) -> Iterator[LabelledValue]:
    yield joined(row.of), float(sum(1 for _ in answer.subjects(row.of)))


def _present(answer: Answer, row: PlausibleRow) -> Iterator[LabelledValue]:
    yield joined(row.of), float(answer.present(row.of))


def _unexplained(answer: Answer, row: PlausibleRow) -> Iterator[LabelledValue]:
    yield joined(row.of), 0.0 if answer.present(row.per) else float(answer.present(row.of))


def _turn(answer: Answer, _: PlausibleRow) -> Iterator[LabelledValue]:
    for registration in answer.registrations():
        cosine = (np.trace(registration.matrix[:3, :3]) - 1) / 2
        yield "", float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def _shift(answer: Answer, _: PlausibleRow) -> Iterator[LabelledValue]:
    """Yield the distance of the middle of the moving images, after registration, from the middle of the fixed, mm."""
    for registration in answer.registrations():
        moving, fixed = (_middle(series) for series in (registration.moving, registration.fixed))
        yield "", float(np.linalg.norm((registration.matrix @ [*moving, 1.0])[:3] - fixed))


def _middle(series: Series) -> NDArray[np.float64]:
    shape = (len(series.frames), int(series.header.Rows), int(series.header.Columns))
    return np.asarray(corners(series.affine(), shape).mean(0))


def _bend(answer: Answer, _: PlausibleRow) -> Iterator[LabelledValue]:
    for registration in answer.registrations():
        if registration.deformation is not None:
            yield "", float(np.linalg.norm(registration.deformation.vectors, axis=3).max())


QUANTITIES_OF_ANSWER: Mapping[Quantity, Callable[[Answer, PlausibleRow], Iterator[LabelledValue]]] = {
    "left_of": _distance_along((1.0, 0.0, 0.0)),
    "below": _distance_along(DOWN),
    "below_lungs": _below_lungs,
    "number": _number,
    "present": _present,
    "unexplained": _unexplained,
    "turn": _turn,
    "shift": _shift,
    "bend": _bend,
}
"""Functions that measure the whole answer."""
