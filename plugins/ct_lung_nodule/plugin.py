"""Nodules in the lungs of a chest CT: outlined by a network, then measured, typed, and compared with the prior's."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.valuerep import DA

from node import (
    Comparison,
    Finding,
    KeyImages,
    Result,
    Segment,
    Segmentation,
    Series,
    Triton,
    UnsuitableSeries,
    Volume,
    codes,
)
from node.measuring import Component, find_components, size_measurements

THICKEST_MM = 3.0
"""Nodules are not measured on thicker slices (Fleischner Society 2017: 1.5 mm or less, at most 3)."""
LEAST_MM = 4.0
"""Mean diameter from which a nodule is told of; smaller ones are not measured (Fleischner Society 2017)."""
MOST = 20
"""More nodules than this are not listed one by one: the largest are."""
INSIDE = 0.3
"""Part of a nodule's surroundings that is lung; what has less lies in the wall or the mediastinum."""
SOLID_HU = -300
"""From this value on a voxel of a nodule is solid."""
TYPES = (
    (0.05, codes.own("GROUND_GLASS_NODULE", "Ground-glass pulmonary nodule")),
    (0.70, codes.own("PART_SOLID_NODULE", "Part-solid pulmonary nodule")),
    (1.01, codes.own("SOLID_NODULE", "Solid pulmonary nodule")),
)
"""Types of nodule, each up to a part of its volume that is solid; the rim of a solid one is half lung."""
NEW = codes.own("NEW_NODULE", "Nodule without a counterpart in the prior")
NOT_COMPARED = codes.own("NOT_COMPARED", "There is a prior that cannot be compared")
SAME_MM = 15.0
"""As far as two nodules may lie apart, one lung laid on the other, to be taken for the same."""
EVERY = 4
"""Of lungs, every fourth voxel along each axis tells where they lie."""
ACQUIRED = ("AcquisitionDate", "SeriesDate", "StudyDate")
NAMESPACE = UUID("5d3a1d1e-8a43-4c0b-9a5c-6a2b7f0c9d11")
SIDES = (codes.SCT.Right, codes.SCT.Left)
"""In the order of the labels of the model ct_lung."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nodule(Component):
    """One nodule, and on which side it lies: 1 right, 2 left."""

    side: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chest:
    """One chest: its volume in HU, its lungs on that grid, 1 right and 2 left, and its nodules, the largest first."""

    volume: Volume
    lungs: NDArray[np.uint8]
    nodules: tuple[Nodule, ...]

    def cubic_mm(self, nodule: Nodule) -> float:
        """Return the volume of a nodule."""
        return round(float(nodule.mask.sum()) * self.volume.voxel_ml * 1000)

    def places(self) -> NDArray[np.float64]:
        """Return where the middle of each nodule lies: (nodule, 3), mm, LPS."""
        middles = [np.argwhere(one.mask).mean(0) + [edge.start for edge in one.box] for one in self.nodules]
        return _in_mm(self.volume, np.reshape(middles, (-1, 3)))

    def lung(self, side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return where the middle of a lung lies, mm, LPS, and how far its voxels reach from it along x, y, z."""
        inside = _in_mm(self.volume, np.argwhere(self.lungs[::EVERY, ::EVERY, ::EVERY] == side) * EVERY)
        return inside.mean(0), inside.std(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A nodule as the prior shows it: its Tracking UID, its volume in mm³, and how many days before it was so."""

    tracking_uid: str
    cubic_mm: float
    days: float


def run(ct: Series, prior: Series | None, triton: Triton) -> Iterator[Result]:
    """Find nodules, measure those that lie in a lung, and compare them with those of the prior, if there is one."""
    chest = looked_at(ct, triton)
    if not chest.nodules:
        return
    known: dict[int, Known] = {}
    try:
        if prior is not None:
            known = seen_before(ct, chest, prior, looked_at(prior, triton))
    except UnsuitableSeries:
        yield Finding(name=NOT_COMPARED, present=True)
        prior = None
    labels = np.zeros(chest.lungs.shape, np.uint8)
    for number, nodule in enumerate(chest.nodules, 1):
        labels[nodule.box][nodule.mask] = number
    segments = [segment(nodule, number, known.get(number)) for number, nodule in enumerate(chest.nodules, 1)]
    yield Segmentation(labels=chest.volume.with_array(labels), segments=segments)
    for number, (nodule, of) in enumerate(zip(chest.nodules, segments, strict=True), 1):
        yield from measured(chest, nodule, of, known.get(number))
        if prior is not None and number not in known:
            yield Finding(name=NEW, present=True, of=of)
    slices = sorted({nodule.slice for nodule in chest.nodules})
    yield KeyImages(images=[ct.frames[index] for index in slices], description="Where each nodule is largest")


def looked_at(ct: Series, triton: Triton) -> Chest:
    """Ask for the lungs of a chest, then for nodules; UnsuitableSeries where that cannot be done."""
    volume = ct.volume()
    if volume.spacing[0] > THICKEST_MM:
        raise UnsuitableSeries(f"its slices are {volume.spacing[0]:.1f} mm apart, more than {THICKEST_MM:.0f} mm")
    volume = volume.as_int16()
    lungs = triton.infer("ct_lung", image=volume, affine=volume.affine)
    if reason := str(lungs["reason"][0]):
        raise UnsuitableSeries(reason)
    answer = triton.infer("ct_lung_nodule", image=volume, image_affine=volume.affine)["labels"]
    nodules = sorted(found(answer > 0, lungs["labels"], volume.spacing), key=lambda one: -one.diameter)[:MOST]
    return Chest(volume=volume, lungs=lungs["labels"], nodules=tuple(nodules))


def seen_before(ct: Series, chest: Chest, prior: Series, before: Chest) -> dict[int, Known]:
    """Return what the prior shows of nodules, by their number; UnsuitableSeries where no days lie between.

    Each lung of the prior is laid on that of the chest, by its middle and its reach along x, y and z, since it is
    breathed in more or less deeply. The two nodules that then lie nearest to each other are the same, and so on.
    """
    days = days_between(prior.header, ct.header)
    here, there = chest.places(), before.places()
    apart = np.full((len(here), len(there)), np.inf)
    for side in (1, 2):
        mine = [index for index, one in enumerate(chest.nodules) if one.side == side]
        its = [index for index, one in enumerate(before.nodules) if one.side == side]
        if mine and its:
            (middle, reach), (middle_before, reach_before) = chest.lung(side), before.lung(side)
            laid = (there[its] - middle_before) / reach_before * reach + middle
            apart[np.ix_(mine, its)] = np.linalg.norm(here[mine][:, None] - laid[None], axis=2)
    known: dict[int, Known] = {}
    while apart.size and apart.min() <= SAME_MM:
        mine_, its_ = (int(index) for index in np.unravel_index(apart.argmin(), apart.shape))
        apart[mine_], apart[:, its_] = np.inf, np.inf
        known[mine_ + 1] = Known(
            tracking_uid=_uid(prior, its_), cubic_mm=before.cubic_mm(before.nodules[its_]), days=days
        )
    return known


def days_between(before: Dataset, now: Dataset) -> float:
    """Return how many days lie between two acquisitions; UnsuitableSeries where that is not told, or none do."""
    dates = [next((DA(one[keyword].value) for keyword in ACQUIRED if one.get(keyword)), None) for one in (before, now)]
    if dates[0] is None or dates[1] is None or dates[1] <= dates[0]:
        raise UnsuitableSeries("no day lies between it and its prior")
    return float((dates[1] - dates[0]).days)


def _in_mm(volume: Volume, indices: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(indices @ volume.affine[:3, :3].T + volume.affine[:3, 3])


def _uid(prior: Series, index: int) -> str:
    """Return the Tracking UID of a nodule that was first seen in a prior: the same each time (PS3.5 B.2)."""
    return f"2.25.{uuid5(NAMESPACE, f'{prior.series_uid}/{index}').int}"


def segment(nodule: Nodule, number: int, known: Known | None) -> Segment:
    """Return what a nodule is called and coded as."""
    return Segment(
        label=f"Nodule {number}",
        type=codes.SCT.Nodule,
        category=codes.SCT.MorphologicallyAbnormalStructure,
        region=codes.SCT.Lung,
        laterality=SIDES[nodule.side - 1],
        tracking_uid=known.tracking_uid if known else "",
    )


def measured(chest: Chest, nodule: Nodule, of: Segment, known: Known | None) -> Iterator[Result]:
    """Measure one nodule: axes, mean diameter, volume and how it grew, density; tell its type."""
    for size in size_measurements(nodule, of, chest.volume.array, chest.volume.voxel_ml):
        if known and size.name == codes.SCT.Volume:
            yield Comparison(measurement=size, prior=known.cubic_mm, days=known.days)
        else:
            yield size
    hu = chest.volume.array[nodule.box][nodule.mask]
    solid = float((hu >= SOLID_HU).mean())
    yield Finding(name=next(name for most, name in TYPES if solid < most), present=True, of=of)


def found(
    nodules: NDArray[np.bool_], lungs: NDArray[np.uint8], spacing: tuple[float, float, float]
) -> Iterator[Nodule]:
    """Part what the network marked, (slice, row, column), into nodules; leave out the small and what is in no lung."""
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
