"""Nodules in the lungs of a chest CT: outlined by a network, then measured: sizes, volume, density and type."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from node import Finding, KeyImages, Measurement, NotSuitable, Result, Segment, Segmentation, Series, Triton, codes
from node.diameters import axes
from node.models.served.pieces import components

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
SIDES = (codes.SCT.Right, codes.SCT.Left)
"""In the order of the labels of the model ct_lung."""
MM = codes.UCUM.Millimeter


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nodule:
    """One nodule: the box around it, its voxels there, on which slice it is largest, its axes there in mm, its side."""

    box: tuple[slice, slice, slice]
    mask: NDArray[np.bool_]
    slice: int
    long: float
    short: float
    side: int

    @property
    def diameter(self) -> float:
        """Mean of the long and the short axis (Lung-RADS 2022, Fleischner Society 2017)."""
        return (self.long + self.short) / 2


def run(ct: Series, triton: Triton) -> Iterator[Result]:
    """Ask for the lungs, then for nodules; measure those that lie in a lung."""
    volume = ct.volume()
    if volume.spacing[0] > THICKEST_MM:
        yield NotSuitable(f"its slices are {volume.spacing[0]:.1f} mm apart, more than {THICKEST_MM:.0f} mm")
        return
    if not np.issubdtype(volume.array.dtype, np.integer):
        volume = volume.with_array(np.rint(volume.array).clip(-32768, 32767).astype(np.int16))
    lungs = triton.infer("ct_lung", image=volume, affine=volume.affine)
    if reason := str(lungs["reason"][0]):
        yield NotSuitable(reason)
        return
    answer = triton.infer("ct_lung_nodule", image=volume, image_affine=volume.affine)["labels"]
    nodules = sorted(found(answer > 0, lungs["labels"], volume.spacing), key=lambda one: -one.diameter)[:MOST]
    if not nodules:
        return
    labels = np.zeros(answer.shape, np.uint8)
    segments = [segment(nodule, number) for number, nodule in enumerate(nodules, 1)]
    for number, nodule in enumerate(nodules, 1):
        labels[nodule.box][nodule.mask] = number
    yield Segmentation(labels=volume.with_array(labels), segments=segments)
    for nodule, of in zip(nodules, segments, strict=True):
        yield from measured(nodule, of, volume.array[nodule.box][nodule.mask], volume.voxel_ml)
    slices = sorted({nodule.slice for nodule in nodules})
    yield KeyImages(images=[ct.frames[index] for index in slices], description="Where each nodule is largest")


def segment(nodule: Nodule, number: int) -> Segment:
    """Return what a nodule is called and coded as."""
    return Segment(
        label=f"Nodule {number}",
        type=codes.SCT.Nodule,
        category=codes.SCT.MorphologicallyAbnormalStructure,
        region=codes.SCT.Lung,
        laterality=SIDES[nodule.side - 1],
    )


def measured(nodule: Nodule, of: Segment, hu: NDArray[Any], voxel_ml: float) -> Iterator[Result]:
    """Measure one nodule: axes, mean diameter, volume, density; tell its type."""
    yield Measurement(name=codes.SCT.LongAxis, value=round(nodule.long, 1), unit=MM, of=of)
    yield Measurement(name=codes.SCT.ShortAxis, value=round(nodule.short, 1), unit=MM, of=of)
    mean = codes.SCT.Mean
    yield Measurement(name=codes.SCT.Diameter, value=round(nodule.diameter, 1), unit=MM, derivation=mean, of=of)
    cubic = codes.UCUM.CubicMillimeter
    yield Measurement(name=codes.SCT.Volume, value=round(len(hu) * voxel_ml * 1000), unit=cubic, of=of)
    density, unit = codes.DCM.AttenuationCoefficient, codes.UCUM.HounsfieldUnit
    yield Measurement(name=density, value=round(float(hu.mean())), unit=unit, derivation=mean, of=of)
    solid = float((hu >= SOLID_HU).mean())
    yield Finding(name=next(name for most, name in TYPES if solid < most), present=True, of=of)


def found(
    nodules: NDArray[np.bool_], lungs: NDArray[np.uint8], spacing: tuple[float, float, float]
) -> Iterator[Nodule]:
    """Part what the network marked, (slice, row, column), into nodules; leave out the small and what is in no lung."""
    numbers = components(torch.from_numpy(nodules)).numpy()
    for number, box in enumerate(boxes(numbers), 1):
        mask, lung = numbers[box] == number, lungs[box]
        around = grown(mask) & ~mask
        if (lung[around] > 0).mean() < INSIDE:
            continue
        areas = mask.sum((1, 2))
        largest = np.flatnonzero(areas == areas.max())
        widest = int(largest[len(largest) // 2])
        long, short = axes(mask[widest], spacing[1:])
        if (long + short) / 2 >= LEAST_MM:
            side = 1 if (lung[around] == 1).sum() >= (lung[around] == 2).sum() else 2
            yield Nodule(box=box, mask=mask, slice=box[0].start + widest, long=long, short=short, side=side)


def boxes(numbers: NDArray[np.int64]) -> list[tuple[slice, slice, slice]]:
    """Return the box around each numbered piece, one voxel wider on every side where the images go on."""
    places = np.nonzero(numbers)
    of = numbers[places] - 1
    low = np.full((int(numbers.max(initial=0)), 3), np.iinfo(np.int64).max)
    high = np.zeros_like(low)
    for axis, where in enumerate(places):
        np.minimum.at(low[:, axis], of, where)
        np.maximum.at(high[:, axis], of, where)
    low, high = np.maximum(low - 1, 0), np.minimum(high + 2, numbers.shape)
    return [tuple(map(slice, first, last)) for first, last in zip(low.tolist(), high.tolist(), strict=True)]  # type: ignore[misc]  # three of them


def grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask with every voxel that touches it by a face."""
    wide = mask.copy()
    for axis in range(3):
        there, back = np.moveaxis(wide, axis, 0), np.moveaxis(mask, axis, 0)
        there[1:] |= back[:-1]
        there[:-1] |= back[1:]
    return wide
