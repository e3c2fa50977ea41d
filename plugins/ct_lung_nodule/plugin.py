"""Find nodules in the lungs of a chest CT, measure and type them, and compare them with those of the prior."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.valuerep import DA

from node import (
    Caveat,
    Code,
    Comparison,
    Finding,
    KeyImages,
    Measurement,
    Result,
    Segment,
    Segmentation,
    Series,
    Summary,
    Triton,
    UnsuitableSeries,
    Volume,
    codes,
    counted,
)
from node.grading import GROWTH_DAYS, GROWTH_MM, GradedNodule, History, Texture, nodule_rule
from node.measuring import Component, find_components, size_measurements

THICKEST_MM = 3.0
"""Nodules are not measured on thicker slices (Fleischner Society 2017: 1.5 mm or less, at most 3)."""
LEAST_MM = 4.0
"""Nodules with a smaller mean diameter are not measured (Fleischner Society 2017)."""
MOST = 20
"""At most so many nodules are listed: the largest."""
INSIDE = 0.3
"""Least part of a nodule's rim that is lung. A nodule with less lies in the wall or the mediastinum."""
SOLID_HU = -300
"""A voxel of a nodule is solid from this value on."""
TYPES: tuple[tuple[float, Texture, Code], ...] = (
    (0.05, "non-solid", Code("RID50153", "RADLEX", "Non-solid pulmonary nodule")),
    (0.70, "part-solid", Code("RID50152", "RADLEX", "Part-solid pulmonary nodule")),
    (1.01, "solid", Code("RID50151", "RADLEX", "Solid pulmonary nodule")),
)
"""Types of nodule, each with the upper limit of its solid part. Voxels at the edge of a solid nodule are half lung."""
NEW = codes.own("NEW_NODULE", "Nodule without a counterpart in the prior")
SOLID_DIAMETER = codes.own("SOLID_PART_DIAMETER", "Mean diameter of the solid part")
GROWN = 1.25
"""A nodule whose volume grew by a quarter is looked at first (Callister et al., Thorax 2015;70:ii1)."""
NOT_COMPARED = codes.own("NOT_COMPARED", "There is a prior that cannot be compared")
SAME_MM = 15.0
"""Largest distance of two matching nodules after one lung is mapped onto the other."""
EVERY = 4
"""Every fourth voxel along each axis is enough to locate a lung."""
ACQUIRED = ("AcquisitionDate", "SeriesDate", "StudyDate")
NAMESPACE = UUID("5d3a1d1e-8a43-4c0b-9a5c-6a2b7f0c9d11")
SIDES = (codes.SCT.Right, codes.SCT.Left)
"""In the order of the labels of model ct_lung."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nodule(Component):
    """A nodule, its side (1 right, 2 left), its texture, and the mean diameter of its solid part in mm."""

    side: int
    texture: Texture = "solid"
    solid_diameter: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chest:
    """A chest: its volume in HU, its lungs on the same grid (1 right, 2 left), and its nodules, the largest first."""

    volume: Volume
    lungs: NDArray[np.uint8]
    nodules: tuple[Nodule, ...]

    def cubic_mm(self, nodule: Nodule) -> float:
        """Return the volume of a nodule."""
        return round(float(nodule.mask.sum()) * self.volume.voxel_ml * 1000)

    def centres(self) -> NDArray[np.float64]:
        """Return the centre of each nodule: (nodule, 3), mm, LPS."""
        indices = [np.argwhere(nodule.mask).mean(0) + [edge.start for edge in nodule.box] for nodule in self.nodules]
        return _in_mm(self.volume, np.reshape(indices, (-1, 3)))

    def lung(self, side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the centre of a lung and the standard deviation of its voxels along x, y, z: mm, LPS."""
        inside = _in_mm(self.volume, np.argwhere(self.lungs[::EVERY, ::EVERY, ::EVERY] == side) * EVERY)
        return inside.mean(0), inside.std(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorNodule:
    """A nodule in the prior: its Tracking UID, volume in mm³, mean diameter in mm, and how many days before."""

    tracking_uid: str
    cubic_mm: float
    diameter: float
    days: float


def run(ct: Series, prior: Series | None, triton: Triton) -> Iterator[Result]:
    """Find nodules, measure those in a lung, and compare them with those of the prior, if there is a prior."""
    chest = analysed(ct, triton)
    if not chest.nodules:
        yield Summary(f"No nodule of {LEAST_MM:.0f} mm or more found in the lungs", glance="no nodule found")
        return
    matches: dict[int, PriorNodule] = {}
    compared: History = "baseline" if prior is None else "new"
    try:
        if prior is not None:
            matches = matched(ct, chest, prior, analysed(prior, triton))
    except UnsuitableSeries:
        yield Finding(name=NOT_COMPARED, present=True, notable=False)
        compared, prior = "unknown", None
    chest, matches = first_things_first(chest, matches, compared=prior is not None)
    labels = np.zeros(chest.lungs.shape, np.uint8)
    for number, nodule in enumerate(chest.nodules, 1):
        labels[nodule.box][nodule.mask] = number
    segments = [segment(nodule, number, matches.get(number)) for number, nodule in enumerate(chest.nodules, 1)]
    yield Segmentation(labels=chest.volume.with_array(labels), segments=segments)
    for number, (nodule, of) in enumerate(zip(chest.nodules, segments, strict=True), 1):
        yield from measured(chest, nodule, of, matches.get(number))
        if prior is not None and number not in matches:
            yield Finding(name=NEW, present=True, of=of)
    slices = dict.fromkeys(nodule.slice for nodule in chest.nodules)
    yield KeyImages(images=[ct.frames[index] for index in slices], description="Where each nodule is largest")
    yield Caveat(nodule_rule([graded(*each, matches, compared) for each in enumerate(chest.nodules, 1)], ct.header))
    yield summary(chest.nodules, None if prior is None else len(chest.nodules) - len(matches))


def first_things_first(
    chest: Chest, matches: dict[int, PriorNodule], *, compared: bool
) -> tuple[Chest, dict[int, PriorNodule]]:
    """Return the nodules in the order in which to look at them, and their matches with the new numbers.

    What is new or grew by a quarter comes first, then the larger nodule.
    """

    def later(index: int) -> tuple[bool, float]:
        nodule, before = chest.nodules[index], matches.get(index + 1)
        grew = before is not None and chest.cubic_mm(nodule) >= GROWN * before.cubic_mm
        return not (compared and (before is None or grew)), -nodule.diameter

    order = sorted(range(len(chest.nodules)), key=later)
    renumbered = {number: matches[index + 1] for number, index in enumerate(order, 1) if index + 1 in matches}
    return replace(chest, nodules=tuple(chest.nodules[index] for index in order)), renumbered


def graded(number: int, nodule: Nodule, matches: dict[int, PriorNodule], unmatched: History) -> GradedNodule:
    """Return what rules ask of a nodule; `unmatched` is the history of one without a counterpart in the prior."""
    history = unmatched
    if before := matches.get(number):
        grew = nodule.diameter - before.diameter > GROWTH_MM
        history = "stable" if not grew else "growing" if before.days <= GROWTH_DAYS else "unknown"
    return GradedNodule(
        label=f"Nodule {number}",
        texture=nodule.texture,
        diameter=nodule.diameter,
        solid_diameter=nodule.solid_diameter,
        history=history,
    )


def summary(nodules: Sequence[Nodule], new: int | None) -> Summary:
    """Say how many nodules there are, the largest, and how many the prior does not have; None: there is no prior."""
    largest, count = max(nodules, key=lambda nodule: nodule.diameter), counted(len(nodules), "nodule")
    place = f"in the {SIDES[largest.side - 1].meaning.lower()} lung"
    compared = "" if new is None else f"; {new or 'none'} without a counterpart in the prior"
    text = f"{count} of {LEAST_MM:.0f} mm or more, the largest {largest.diameter:.0f} mm {place}{compared}"
    return Summary(text, glance=f"{count}, {largest.diameter:.0f} mm")


def analysed(ct: Series, triton: Triton) -> Chest:
    """Ask for the lungs of a chest, then for nodules; UnsuitableSeries if that is not possible."""
    volume = ct.volume()
    if volume.spacing[0] > THICKEST_MM:
        raise UnsuitableSeries(f"its slices are {volume.spacing[0]:.1f} mm apart, more than {THICKEST_MM:.0f} mm")
    volume = volume.as_int16()
    lungs = triton.infer("ct_lung", image=volume, affine=volume.affine)
    if reason := str(lungs["reason"][0]):
        raise UnsuitableSeries(reason)
    answer = triton.infer("ct_lung_nodule", image=volume, affine=volume.affine)["labels"]
    nodules = sorted(found(answer > 0, lungs["labels"], volume.spacing), key=lambda nodule: -nodule.diameter)[:MOST]
    textured = tuple(with_texture(nodule, volume) for nodule in nodules)
    return Chest(volume=volume, lungs=lungs["labels"], nodules=textured)


def with_texture(nodule: Nodule, volume: Volume) -> Nodule:
    """Return a nodule with its texture, and the mean diameter of its largest solid piece if it is part-solid."""
    hu = volume.array[nodule.box]
    solid = nodule.mask & (hu >= SOLID_HU)
    part = float(solid.sum() / nodule.mask.sum())
    texture = next(texture for most, texture, _ in TYPES if part < most)
    pieces = find_components(solid, volume.spacing) if texture == "part-solid" else ()
    inner = max((piece.diameter for piece in pieces), default=0.0)
    return replace(nodule, texture=texture, solid_diameter=inner)


def matched(ct: Series, chest: Chest, prior: Series, before: Chest) -> dict[int, PriorNodule]:
    """Return the nodule of the prior that matches each nodule, by number; UnsuitableSeries if no day lies between.

    Each lung of the prior is mapped onto that of the chest by centre and extent along x, y and z, because inspiration
    differs. The two nodules that then are nearest to each other match, then the next two, and so on.
    """
    days = days_between(prior.header, ct.header)
    here, there = chest.centres(), before.centres()
    distances = np.full((len(here), len(there)), np.inf)
    for side in (1, 2):
        present = [index for index, nodule in enumerate(chest.nodules) if nodule.side == side]
        earlier = [index for index, nodule in enumerate(before.nodules) if nodule.side == side]
        if present and earlier:
            (centre, extent), (centre_before, extent_before) = chest.lung(side), before.lung(side)
            mapped = (there[earlier] - centre_before) / extent_before * extent + centre
            distances[np.ix_(present, earlier)] = np.linalg.norm(here[present][:, None] - mapped[None], axis=2)
    matches: dict[int, PriorNodule] = {}
    while distances.size and distances.min() <= SAME_MM:
        index, other = map(int, np.unravel_index(distances.argmin(), distances.shape))
        distances[index], distances[:, other] = np.inf, np.inf
        matches[index + 1] = PriorNodule(
            tracking_uid=_uid(prior, other),
            cubic_mm=before.cubic_mm(before.nodules[other]),
            diameter=before.nodules[other].diameter,
            days=days,
        )
    return matches


def days_between(before: Dataset, now: Dataset) -> float:
    """Return the days between two acquisitions; UnsuitableSeries if a date is missing, or they are not in order."""
    dates = [
        next((DA(header[keyword].value) for keyword in ACQUIRED if header.get(keyword)), None)
        for header in (before, now)
    ]
    if dates[0] is None or dates[1] is None or dates[1] <= dates[0]:
        raise UnsuitableSeries("no day lies between it and its prior")
    return float((dates[1] - dates[0]).days)


def _in_mm(volume: Volume, indices: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(indices @ volume.affine[:3, :3].T + volume.affine[:3, 3])


def _uid(prior: Series, index: int) -> str:
    """Return the Tracking UID of a nodule that was first seen in a prior: always the same (PS3.5 B.2)."""
    return f"2.25.{uuid5(NAMESPACE, f'{prior.series_uid}/{index}').int}"


def segment(nodule: Nodule, number: int, earlier: PriorNodule | None) -> Segment:
    """Return the segment of a nodule."""
    return Segment(
        label=f"Nodule {number}",
        type=codes.SCT.Nodule,
        category=codes.SCT.MorphologicallyAbnormalStructure,
        region=codes.SCT.Lung,
        laterality=SIDES[nodule.side - 1],
        tracking_uid=earlier.tracking_uid if earlier else "",
    )


def measured(chest: Chest, nodule: Nodule, of: Segment, earlier: PriorNodule | None) -> Iterator[Result]:
    """Measure one nodule: axes, mean diameter, volume and growth, density; and report its type."""
    for size in size_measurements(nodule, of, chest.volume.array, chest.volume.voxel_ml):
        if earlier and size.name == codes.SCT.Volume:
            yield Comparison(measurement=size, prior=earlier.cubic_mm, days=earlier.days)
        else:
            yield size
    if nodule.texture == "part-solid":
        inner = round(nodule.solid_diameter, 1)
        yield Measurement(name=SOLID_DIAMETER, value=inner, unit=codes.UCUM.Millimeter, of=of)
    yield Finding(name=next(name for _, texture, name in TYPES if texture == nodule.texture), present=True, of=of)


def found(
    nodules: NDArray[np.bool_], lungs: NDArray[np.uint8], spacing: tuple[float, float, float]
) -> Iterator[Nodule]:
    """Yield the nodules in a mask, (slice, row, column), without small ones and those outside the lungs."""
    for component in find_components(nodules, spacing):
        lung = lungs[component.box][component.rim]
        if (lung > 0).mean() < INSIDE or component.diameter < LEAST_MM:
            continue
        side = 1 if (lung == 1).sum() >= (lung == 2).sum() else 2
        yield Nodule(
            box=component.box,
            mask=component.mask,
            slice=component.slice,
            long=component.long,
            short=component.short,
            side=side,
        )
