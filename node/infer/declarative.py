"""Run a plugin without code: its manifest names a volume model and the results that are made of the model's outputs."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from node import codes
from node.errors import BrokenResult
from node.host import Manifest
from node.images.series import Series, Volume
from node.results import (
    DerivedSeries,
    Finding,
    Heatmap,
    Measurement,
    OperatingPoint,
    Region,
    Result,
    Segment,
    Segmentation,
)
from node.triton.client import Triton
from node.triton.model_inputs import image_inputs, volume_inputs
from node.triton.tensors import Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelAnswer:
    """What a model answered, and on which images.

    Parameters
    ----------
    outputs
        Outputs by name; each function of `RESULTS_OF_TABLE` names those that it needs.
    series
        The series that the outputs lie on.
    volume
        Its volume; None where its images have no position in the patient.
    """

    outputs: Mapping[str, Array]
    series: Series
    volume: Volume | None


def declared_run(manifest: Manifest, model: str) -> Callable[..., Iterator[Result]]:
    """Return the `run` of a plugin that consists of a manifest alone.

    The model is given `volume_inputs`, or `image_inputs` where the images have no position in the patient. The first
    table that the manifest has says which results are made of the outputs.
    """
    results = next(results for table, results in RESULTS_OF_TABLE.items() if getattr(manifest, table))

    def run(*, triton: Triton, **inputs: Series) -> Iterator[Result]:
        series = {role: inputs[role] for role in manifest.series}
        volumes = {role: images.volume() for role, images in series.items() if images.placed}
        given = volume_inputs(volumes) if len(volumes) == len(series) else image_inputs(series)
        outputs = triton.infer(model, **given)
        role = next(iter(series)) if manifest.derived or not volumes else _role(outputs, volumes)
        yield from results(manifest, ModelAnswer(outputs=outputs, series=series[role], volume=volumes.get(role)))

    return run


def _role(outputs: Mapping[str, Array], volumes: Mapping[str, Volume]) -> str:
    """Return the role whose grid the output `affine` names; the first role if there is no such output."""
    if "affine" not in outputs:
        return next(iter(volumes))
    found = next((role for role, volume in volumes.items() if np.array_equal(volume.affine, outputs["affine"])), None)
    if found is None:
        raise BrokenResult("the model answered on a grid that is none of the images it was given")
    return found


def segments(manifest: Manifest, answer: ModelAnswer) -> Iterator[Result]:
    """Yield a segmentation of `labels`, and the volume of each segment in ml; heat maps where there is no volume."""
    named = [
        Segment(
            label=table.label,
            type=table.type,
            category=table.category,
            laterality=table.laterality,
            region=table.region,
            color=table.color,
        )
        for table in manifest.segment
    ]
    labels = answer.outputs["labels"]
    counts = np.bincount(labels.ravel(), minlength=len(named) + 1)
    if answer.volume is None:
        yield from _segment_maps(named, labels, answer.series)
        return
    yield Segmentation(labels=answer.volume.with_array(labels), segments=named)
    for number, segment in enumerate(named, 1):
        millilitres = float(counts[number]) * answer.volume.voxel_ml
        yield Measurement(name=codes.SCT.Volume, value=millilitres, unit=codes.UCUM.CubicCentimeter, of=segment)


def _segment_maps(named: list[Segment], labels: Array, series: Series) -> Iterator[Result]:
    """Yield each segment as a heat map of 0 and 1: a Segmentation needs images with a frame of reference."""
    for number, segment in enumerate(named, 1):
        mask = (labels == number).astype(np.uint8)
        yield Finding(name=segment.type, present=bool(mask.any()))
        if mask.any():
            yield Heatmap(array=mask, source=series, name=segment.type, label=segment.label, window=(0, 1))


def findings(manifest: Manifest, answer: ModelAnswer) -> Iterator[Result]:
    """Yield a finding for each of `probabilities`, present from the threshold of its table on."""
    probabilities = answer.outputs["probabilities"]
    if len(probabilities) != len(manifest.finding):
        raise BrokenResult(
            f"the model gave {len(probabilities)} findings, and plugin.toml names {len(manifest.finding)}"
        )
    for table, score in zip(manifest.finding, probabilities, strict=True):
        point = table.operating_point
        yield Finding(
            name=table.name,
            score=float(score),
            threshold=table.threshold,
            operating_point=None if point is None else OperatingPoint(**point.model_dump()),
        )


def regions(manifest: Manifest, answer: ModelAnswer) -> Iterator[Result]:
    """Yield each of `boxes`, (z, y, x) low and high, that reaches its threshold, as a box on its middle image.

    The highest score comes first.
    """
    frames = answer.series.frames
    size = (int(answer.series.header.Columns), int(answer.series.header.Rows))
    number = 0
    for box, score, of in zip(*(answer.outputs[name] for name in ("boxes", "scores", "classes")), strict=True):
        if not 0 <= of < len(manifest.region):
            raise BrokenResult(f"the model gave a box of class {of}, and plugin.toml names {len(manifest.region)}")
        kind = manifest.region[int(of)]
        if score < kind.threshold:
            continue
        number += 1
        low, high = box[[2, 1]].clip(0, size), box[[5, 4]].clip(0, size)
        middle = int(np.clip((box[0] + box[3]) / 2, 0, len(frames) - 1))
        yield Region(
            kind="box",
            points=np.array([low, high], np.float64),
            label=f"{kind.label} {number}",
            type=kind.type,
            category=kind.category,
            image=frames[middle],
            score=float(np.clip(score, 0, 1)),
            threshold=kind.threshold,
        )


def derived(manifest: Manifest, answer: ModelAnswer) -> Iterator[Result]:
    """Yield the images of `values`, derived from the first role: on its grid, or on the grid of the output `affine`."""
    table = manifest.derived
    if table is None:
        return
    affine = answer.outputs.get("affine")
    if affine is not None and (answer.volume is None or np.array_equal(affine, answer.volume.affine)):
        affine = None
    yield DerivedSeries(
        array=answer.outputs["values"],
        source=answer.series,
        description=table.description,
        derivation=table.derivation,
        affine=affine,
        synthetic=table.synthetic,
    )


RESULTS_OF_TABLE: Mapping[str, Callable[[Manifest, ModelAnswer], Iterator[Result]]] = {
    "segment": segments,
    "finding": findings,
    "region": regions,
    "derived": derived,
}
"""A table of the manifest → the function that makes results of the model's outputs."""
