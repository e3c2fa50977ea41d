"""A plugin without code: its manifest names a volume model and what the model's labels are."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from node import codes
from node.errors import UnsuitableSeries
from node.host import Manifest
from node.infer.triton import Array, HasArray, Triton
from node.results import Measurement, Result, Segment, Segmentation
from node.series import Series, Volume


def declared(manifest: Manifest, model: str) -> Callable[..., Iterator[Result]]:
    """Return the `run` of a plugin that is a manifest alone: its segments, and the volume of each in ml.

    For each role the model is given ROLE (int16) or, where values are no whole numbers, ROLE_field (float32), both
    (slice, row, column), and ROLE_affine (LPS in mm); it answers `labels` and the `affine` of the grid they lie on.
    """
    segments = [
        Segment(label=one.label, type=one.type, category=one.category, laterality=one.laterality, color=one.color)
        for one in manifest.segment
    ]

    def run(*, triton: Triton, **inputs: Series) -> Iterator[Result]:
        volumes = {role: inputs[role].volume() for role in manifest.series}
        answer = triton.infer(model, **given(volumes))
        frame = next(iter(volumes.values())).frame_of_reference_uid
        labels = Volume(array=answer["labels"], affine=answer["affine"], frame_of_reference_uid=frame)
        yield Segmentation(labels=labels, segments=segments)
        counts = np.bincount(labels.array.ravel(), minlength=len(segments) + 1)
        for number, segment in enumerate(segments, 1):
            millilitres = float(counts[number]) * labels.voxel_ml
            yield Measurement(name=codes.SCT.Volume, value=millilitres, unit=codes.UCUM.CubicCentimeter, of=segment)

    return run


def given(volumes: Mapping[str, Volume]) -> dict[str, Array | HasArray]:
    """Return the inputs of a volume model.

    Raises
    ------
    UnsuitableSeries
        A volume lies in another frame of reference than the first: nobody knows where its voxels are in it.
    """
    inputs: dict[str, Array | HasArray] = {}
    (first, reference), *_ = volumes.items()
    for role, volume in volumes.items():
        if volume.frame_of_reference_uid != reference.frame_of_reference_uid:
            raise UnsuitableSeries(f"the images for {role} and {first} have no frame of reference in common")
        inputs[role if volume.array.dtype == np.int16 else f"{role}_field"] = volume
        inputs[f"{role}_affine"] = volume.affine
    return inputs
