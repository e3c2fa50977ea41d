"""A plugin without code: its manifest names a volume model and what the model's labels are."""

from collections.abc import Callable, Iterator

import numpy as np

from node import codes
from node.host import Manifest
from node.infer.triton import Array, HasArray, Triton
from node.results import Measurement, Result, Segment, Segmentation
from node.series import Series


def declared(manifest: Manifest, model: str) -> Callable[..., Iterator[Result]]:
    """Return the `run` of a plugin that is a manifest alone: its segments, and the volume of each in ml.

    The model is given `image` (int16) or, where values are no whole numbers, `field` (float32), both (slice, row,
    column), and `affine` (LPS in mm); it answers `labels` on the same grid.
    """
    (role,) = manifest.series
    segments = [
        Segment(label=one.label, type=one.type, category=one.category, laterality=one.laterality, color=one.color)
        for one in manifest.segment
    ]

    def run(*, triton: Triton, **inputs: Series) -> Iterator[Result]:
        volume = inputs[role].volume()
        given: dict[str, Array | HasArray] = {
            "image" if volume.array.dtype == np.int16 else "field": volume,
            "affine": volume.affine,
        }
        labels = triton.infer(model, **given)["labels"]
        yield Segmentation(labels=volume.with_array(labels), segments=segments)
        counts = np.bincount(labels.ravel(), minlength=len(segments) + 1)
        for number, segment in enumerate(segments, 1):
            millilitres = float(counts[number]) * volume.voxel_ml
            yield Measurement(name=codes.SCT.Volume, value=millilitres, unit=codes.UCUM.CubicCentimeter, of=segment)

    return run
