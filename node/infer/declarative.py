"""A plugin without code: its manifest names a volume model and what the model's answer is."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from node import codes
from node.errors import BrokenResult, UnsuitableSeries
from node.host import Manifest
from node.images.series import Series, Volume
from node.results import DerivedSeries, Finding, Heatmap, Measurement, Region, Result, Segment, Segmentation
from node.triton.client import Array, HasArray, Triton


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """What a model was asked about, and its answer by the names of its outputs; see `GIVEN` for what those are.

    Parameters
    ----------
    series
        The one that the answer lies on.
    volume
        Its volume; None where its images have no place in the patient.
    """

    series: Series
    volume: Volume | None
    answer: Mapping[str, Array]


def declared(manifest: Manifest, model: str) -> Callable[..., Iterator[Result]]:
    """Return the `run` of a plugin that is a manifest alone.

    For each role the model is given ROLE (int16, in colour uint8) or, where values are no whole numbers, ROLE_field
    (float32), both (slice, row, column), in colour (slice, row, column, 3), and ROLE_affine (LPS in mm) where the
    images have a place in the patient. The first table of the manifest that is there says what it answers.
    """
    results = next(results for table, results in GIVEN.items() if getattr(manifest, table))

    def run(*, triton: Triton, **inputs: Series) -> Iterator[Result]:
        series = {role: inputs[role] for role in manifest.series}
        volumes = {role: one.volume() for role, one in series.items() if one.frames[0].position is not None}
        given = placed(volumes) if len(volumes) == len(series) else flat(series)
        answer = triton.infer(model, **given)
        role = next(iter(series)) if manifest.derived or not volumes else _role(answer, volumes)
        yield from results(manifest, Asked(series=series[role], volume=volumes.get(role), answer=answer))

    return run


def placed(volumes: Mapping[str, Volume]) -> dict[str, Array | HasArray]:
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


def flat(series: Mapping[str, Series]) -> dict[str, Array | HasArray]:
    """Return the inputs of a volume model that are images without a place in the patient, one series of them.

    Raises
    ------
    UnsuitableSeries
        There are several: nobody knows how they lie to one another.
    """
    if len(series) > 1:
        raise UnsuitableSeries(f"the images for {', '.join(series)} have no place in the patient")
    ((role, one),) = series.items()
    images = np.stack([one.image(index) for index in range(len(one.frames))])
    return {role if images.dtype in (np.int16, np.uint8) else f"{role}_field": images}


def _role(answer: Mapping[str, Array], volumes: Mapping[str, Volume]) -> str:
    """Return the role whose grid the model says its answer lies on; the first where it lies on none."""
    if "affine" not in answer:
        return next(iter(volumes))
    found = next((role for role, volume in volumes.items() if np.array_equal(volume.affine, answer["affine"])), None)
    if found is None:
        raise BrokenResult("the model answered on a grid that is none of the images it was given")
    return found


def segments(manifest: Manifest, asked: Asked) -> Iterator[Result]:
    """Give the outlines of `labels` and the volume of each in ml; without a place in the patient, maps of them."""
    named = [
        Segment(label=one.label, type=one.type, category=one.category, laterality=one.laterality, color=one.color)
        for one in manifest.segment
    ]
    labels = asked.answer["labels"]
    counts = np.bincount(labels.ravel(), minlength=len(named) + 1)
    if asked.volume is None:
        yield from _mapped(named, labels, asked.series)
        return
    yield Segmentation(labels=asked.volume.with_array(labels), segments=named)
    for number, segment in enumerate(named, 1):
        millilitres = float(counts[number]) * asked.volume.voxel_ml
        yield Measurement(name=codes.SCT.Volume, value=millilitres, unit=codes.UCUM.CubicCentimeter, of=segment)


def _mapped(named: list[Segment], labels: Array, series: Series) -> Iterator[Result]:
    """Give each segment as a heat map of 0 and 1: a Segmentation is for images with a frame of reference."""
    for number, segment in enumerate(named, 1):
        mask = (labels == number).astype(np.uint8)
        yield Finding(name=segment.type, present=bool(mask.any()))
        if mask.any():
            yield Heatmap(array=mask, source=series, name=segment.type, label=segment.label, window=(0, 1))


def findings(manifest: Manifest, asked: Asked) -> Iterator[Result]:
    """Give a finding for each of `probabilities`, present where `present` says so."""
    probabilities, present = asked.answer["probabilities"], asked.answer["present"]
    if len(probabilities) != len(manifest.finding):
        raise BrokenResult(
            f"the model gave {len(probabilities)} findings, and plugin.toml names {len(manifest.finding)}"
        )
    for one, probability, there in zip(manifest.finding, probabilities, present, strict=True):
        yield Finding(name=one.name, present=bool(there), probability=float(probability))


def regions(manifest: Manifest, asked: Asked) -> Iterator[Result]:
    """Give each of `boxes` as a box on the image in its middle, the likeliest first."""
    frames = asked.series.frames
    size = (int(asked.series.header.Columns), int(asked.series.header.Rows))
    for number, (box, score, of) in enumerate(
        zip(*(asked.answer[name] for name in ("boxes", "scores", "classes")), strict=True), 1
    ):
        if not 0 <= of < len(manifest.region):
            raise BrokenResult(f"the model gave a box of class {of}, and plugin.toml names {len(manifest.region)}")
        kind = manifest.region[int(of)]
        low, high = box[[2, 1]].clip(0, size), box[[5, 4]].clip(0, size)
        middle = int(np.clip((box[0] + box[3]) / 2, 0, len(frames) - 1))
        yield Region(
            kind="box",
            points=np.array([low, high], np.float64),
            label=f"{kind.label} {number}",
            type=kind.type,
            category=kind.category,
            image=frames[middle],
            probability=float(np.clip(score, 0, 1)),
        )


def derived(manifest: Manifest, asked: Asked) -> Iterator[Result]:
    """Give the images of `values`, of the first role's and on their grid, or on another where `affine` says so."""
    said = manifest.derived
    if said is None:
        return
    affine = asked.answer.get("affine")
    if affine is not None and (asked.volume is None or np.array_equal(affine, asked.volume.affine)):
        affine = None
    yield DerivedSeries(
        array=asked.answer["values"],
        source=asked.series,
        description=said.description,
        derivation=said.derivation,
        affine=affine,
        synthetic=said.synthetic,
    )


GIVEN: Mapping[str, Callable[[Manifest, Asked], Iterator[Result]]] = {
    "segment": segments,
    "finding": findings,
    "region": regions,
    "derived": derived,
}
"""A table of the manifest → the results that are made of the model's answer."""
