"""Nodules in the lungs of a chest CT: outlined by a network, then measured: sizes, volume, density and type."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node import Finding, KeyImages, NotSuitable, Result, Segment, Segmentation, Series, Triton, codes
from node.measuring import Lump, lumps, sizes

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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nodule(Lump):
    """One nodule, and on which side it lies: 1 right, 2 left."""

    side: int


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
        yield from measured(nodule, of, volume.array, volume.voxel_ml)
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
    yield from sizes(nodule, of, hu, voxel_ml)
    solid = float((hu[nodule.box][nodule.mask] >= SOLID_HU).mean())
    yield Finding(name=next(name for most, name in TYPES if solid < most), present=True, of=of)


def found(
    nodules: NDArray[np.bool_], lungs: NDArray[np.uint8], spacing: tuple[float, float, float]
) -> Iterator[Nodule]:
    """Part what the network marked, (slice, row, column), into nodules; leave out the small and what is in no lung."""
    for lump in lumps(nodules, spacing):
        lung = lungs[lump.box][lump.rim]
        if (lung > 0).mean() < INSIDE or lump.diameter < LEAST_MM:
            continue
        side = 1 if (lung == 1).sum() >= (lung == 2).sum() else 2
        yield Nodule(box=lump.box, mask=lump.mask, slice=lump.slice, long=lump.long, short=lump.short, side=side)
