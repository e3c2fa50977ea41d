"""Nodules in a CT: each is a segment, with its size, and the images on which it is largest."""

from collections.abc import Iterator

import numpy as np

from node import Finding, KeyImages, Result, Segment, Segmentation, Series, Triton, codes
from node.measuring import find_components, size_measurements

SMALLEST_MM, LARGEST_MM = 4.0, 30.0
"""Mean diameters of what is a nodule (Fleischner Society)."""


def run(ct: Series, triton: Triton) -> Iterator[Result]:
    """Ask for a mask of all nodules, and yield whether there is one; then outline and measure each."""
    volume = ct.volume().as_int16()  # HU, (slice, row, column), affine in mm LPS
    mask = triton.infer("template", image=volume)["mask"] > 0
    nodules = [
        nodule for nodule in find_components(mask, volume.spacing) if SMALLEST_MM <= nodule.diameter <= LARGEST_MM
    ]
    yield Finding(name=codes.SCT.Nodule, present=bool(nodules))
    if not nodules:
        return
    labels = np.zeros(mask.shape, np.uint8)
    segments = []
    for number, nodule in enumerate(nodules, 1):
        labels[nodule.box][nodule.mask] = number
        segments.append(
            Segment(
                label=f"Nodule {number}",
                type=codes.SCT.Nodule,
                category=codes.SCT.MorphologicallyAbnormalStructure,
            )
        )
    yield Segmentation(labels=volume.with_array(labels), segments=segments)
    for nodule, segment in zip(nodules, segments, strict=True):
        yield from size_measurements(nodule, segment, volume.array, volume.voxel_ml)
    yield KeyImages(images=[ct.frames[nodule.slice] for nodule in nodules], description="Where each nodule is largest")
