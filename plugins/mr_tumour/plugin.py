"""Outline the parts of a brain tumour in four MR contrasts, and measure them."""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from node import (
    Caveat,
    Finding,
    KeyImages,
    Measurement,
    NotSuitable,
    Result,
    Segment,
    Segmentation,
    Series,
    Summary,
    Triton,
    Volume,
    codes,
    volume_inputs,
)
from node.grading import rano
from node.measuring import longest_axes

BRAIN = codes.SCT.Brain
SEGMENTS = (
    Segment(
        label="Enhancing tumour",
        type=codes.Code("C113842", "NCIt", "Enhancing Lesion"),
        category=codes.SCT.MorphologicallyAbnormalStructure,
        region=BRAIN,
        color=(230, 70, 60),
    ),
    Segment(
        label="Oedema",
        type=codes.SCT.Edema,
        category=codes.SCT.MorphologicallyAbnormalStructure,
        region=BRAIN,
        color=(90, 190, 90),
    ),
    Segment(
        label="Necrotic core",
        type=codes.SCT.Necrosis,
        category=codes.SCT.MorphologicallyAbnormalStructure,
        region=BRAIN,
        color=(80, 130, 220),
    ),
)
"""In the order of the model's labels; types as in PS3.16 CID 7194."""
ENHANCING = 1
WHOLE = codes.own("WHOLE_TUMOUR_VOLUME", "Volume of enhancing tumour, oedema and necrotic core")
PRODUCT = codes.own("BIDIMENSIONAL_PRODUCT", "Product of the long axis and the axis across it")
LEAST_ML = 2.0
"""A smaller volume of all parts is no tumour: the network marks some voxels in any head."""
LEAST_SLICES, LEAST_MM = 8, 80.0
"""What covers a brain, in the series that is outlined."""
LEAST_SHARED = 0.8
"""Least part of T1 after contrast medium that each other series must show."""
HEADS = {"HEAD", "BRAIN", "SKULL", "HEADNECK"}
"""Body Part Examined of a head (PS3.16 Annex L)."""
MM, ML = codes.UCUM.Millimeter, codes.UCUM.CubicCentimeter


def run(t1c: Series, t1: Series, t2: Series, flair: Series, triton: Triton) -> Iterator[Result]:
    """Check that the four series show the same brain; ask the network; measure what it outlines."""
    volumes = {"t1c": t1c.volume(), "t1": t1.volume(), "t2": t2.volume(), "flair": flair.volume()}
    volume = volumes["t1c"]
    inputs = volume_inputs(volumes)
    if reason := unsuitable(t1c, volumes):
        yield NotSuitable(reason)
        return
    labels = triton.infer("mr_tumour", **inputs)["labels"]
    voxels = np.bincount(labels.ravel(), minlength=len(SEGMENTS) + 1)[1:]
    whole = float(voxels.sum()) * volume.voxel_ml
    yield Finding(name=codes.SCT.Neoplasm, present=whole >= LEAST_ML)
    if whole < LEAST_ML:
        yield Summary(f"No tumour of {LEAST_ML:.0f} ml or more found", glance="no tumour found")
        return
    yield Segmentation(labels=volume.with_array(labels), segments=SEGMENTS, source=t1c)
    for segment, count in zip(SEGMENTS, voxels.tolist(), strict=True):
        yield Measurement(name=codes.SCT.Volume, value=round(count * volume.voxel_ml, 2), unit=ML, of=segment)
    yield Measurement(name=WHOLE, value=round(whole, 2), unit=ML, site=BRAIN)
    yield from by_rano(labels == ENHANCING, volume.spacing)
    slices = (labels > 0).sum((1, 2))
    yield KeyImages(images=[t1c.frames[int(slices.argmax())]], description="Where the tumour is largest")
    parts = [f"{of.label} {n * volume.voxel_ml:.0f} ml" for of, n in zip(SEGMENTS, voxels.tolist(), strict=True)]
    yield Summary(f"Tumour of {whole:.0f} ml: {', '.join(parts)}", glance=f"tumour {whole:.0f} ml")


def by_rano(enhancing: NDArray[np.bool_], spacing: tuple[float, float, float]) -> Iterator[Result]:
    """Measure the longest diameter in one image, the longest across it, and their product (RANO, Wen et al. 2010)."""
    found = longest_axes(enhancing, spacing[1:])
    if found is None:
        yield Caveat("RANO: nothing enhances, so that there is no bidimensional product.")
    else:
        slices = int(enhancing.any((1, 2)).sum())
        why = rano(found.long, found.short, slices, spacing[0])
        measurable = f"cannot be measured by RANO: {why}" if why else "can be measured by RANO"
        yield Caveat(
            f"The enhancing part {measurable} (two diameters of 10 mm on two slices). No response is given: it needs "
            "the product before treatment and the smallest since, steroids, and how the patient is."
        )
        of = SEGMENTS[ENHANCING - 1]
        yield Measurement(name=codes.SCT.LongAxis, value=round(found.long, 1), unit=MM, of=of)
        yield Measurement(name=codes.SCT.ShortAxis, value=round(found.short, 1), unit=MM, of=of)
        product = round(found.long * found.short)
        yield Measurement(name=PRODUCT, value=product, unit=codes.UCUM.SquareMillimeter, of=of)


def unsuitable(t1c: Series, volumes: Mapping[str, Volume]) -> str:
    """Return why the images are not suitable; empty if they show one brain."""
    part = str(t1c.header.get("BodyPartExamined") or "").upper()
    if part and part not in HEADS:
        return f"they are of another part of the body: Body Part Examined is {part}"
    volume = volumes["t1c"]
    height = volume.spacing[0] * len(volume.array)
    if len(volume.array) < LEAST_SLICES or height < LEAST_MM:
        return f"{len(volume.array)} slices over {height:.0f} mm are too few for a brain"
    for role, other in volumes.items():
        if (part_seen := shared(volume, other)) < LEAST_SHARED:
            return f"{role} shows {part_seen:.0%} of what T1 after contrast medium does: too little"
    return ""


def shared(volume: Volume, other: Volume) -> float:
    """Return which part of one volume lies in another."""
    points = np.indices((9, 9, 9)).reshape(3, -1).T / 8 * (np.array(volume.array.shape) - 1)
    there = np.linalg.inv(other.affine) @ volume.affine @ np.c_[points, np.ones(len(points))].T
    inside = (there[:3].T >= -0.5) & (np.array(other.array.shape) - 0.5 >= there[:3].T)
    return float(inside.all(1).mean())
