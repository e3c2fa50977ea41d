"""Outline the left ventricle in short-axis cine images over the heartbeat, and measure it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node import (
    Caveat,
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
from node.measuring import label_components

CAVITY, MYOCARDIUM = 1, 2
"""Labels of the model."""
TIMES = "end-diastole", "end-systole"
FEWEST_PHASES, FEWEST_SLICES = 8, 5
"""Fewer phases may miss the end of systole. Fewer slices are long-axis views, not a stack from base to apex."""
LEAST_MM = 40.0
THICKEST_MM = 15.0
"""Largest distance of slices: with more, the sum of discs is not reliable."""
LEAST_ML = 10.0
"""A smaller cavity is no left ventricle."""
CHANGE, EVERY = 0.25, 2
"""Part of the bright signal by which a moving voxel changes; every second row and column is enough."""
LEAST_MOVING, MOST_MOVING = 0.001, 0.3
"""Part of the voxels that move: 0.004 to 0.01 between end-diastole and end-systole of three real hearts, 0 if still."""
MUSCLE_G_PER_ML = 1.05
"""Density of myocardium (Schulz-Menger et al. 2020)."""
VENTRICLE = codes.SCT.LeftVentricularStructure
INDEXED = (
    codes.own("LV_EDV_INDEX", "LV end-diastolic volume indexed to body surface area"),
    codes.own("LV_ESV_INDEX", "LV end-systolic volume indexed to body surface area"),
    codes.own("LV_SV_INDEX", "LV stroke volume indexed to body surface area"),
    codes.own("LV_MASS_INDEX", "LV mass indexed to body surface area"),
)
METRES, KILOGRAMS = (0.3, 2.5), (2.0, 400.0)
"""What is believed of height and weight."""
PER_M2 = codes.Code("ml/m2", "UCUM", "milliliter per square meter")
GRAM_PER_M2 = codes.Code("g/m2", "UCUM", "gram per square meter")
ML, PERCENT, GRAM = codes.UCUM.CubicCentimeter, codes.UCUM.Percent, codes.Code("g", "UCUM", "gram")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Phase:
    """One phase of the heartbeat: its stack, its volume, and its time in ms after the R wave."""

    series: Series
    volume: Volume
    time: float


def run(cine: Sequence[Series], triton: Triton) -> Iterator[Result]:
    """Check that it is a short-axis stack over a heartbeat; ask the network about all images; measure."""
    if len(cine) < FEWEST_PHASES:
        yield NotSuitable(f"phases of a heartbeat are needed, at least {FEWEST_PHASES}; there are {len(cine)}")
        return
    phases = sorted((phase(series) for series in cine), key=lambda item: item.time)
    if reason := unsuitable(phases) or without_beat(phases):
        yield NotSuitable(reason)
        return
    labels = [ventricle(marked) for marked in outlined(phases, triton)]
    cavities = [discs(marked == CAVITY, phases[0].volume) for marked in labels]
    diastole, systole = int(np.argmax(cavities)), int(np.argmin(cavities))
    if cavities[diastole] < LEAST_ML:
        yield NotSuitable("no left ventricle was found: they may not lie along the short axis of the heart")
        return
    for index, time in ((diastole, TIMES[0]), (systole, TIMES[1])):
        shown = phases[index]
        yield Segmentation(labels=shown.volume.with_array(labels[index]), segments=segments(time), source=shown.series)
    muscle = discs(labels[diastole] == MYOCARDIUM, phases[0].volume)
    yield from measured(cavities[diastole], cavities[systole], muscle)
    if surface := surface_m2(phases[0].series.header):
        yield from indexed(cavities[diastole], cavities[systole], muscle, surface)
    else:
        yield Caveat("Volumes and mass are not indexed: the header lacks height or weight, or they are not believed.")
    filled, emptied = cavities[diastole], cavities[systole]
    ejected = ejection_fraction(filled, emptied)
    said = f"ejection fraction {ejected:.0f} %, end-diastolic volume {filled:.0f} ml, end-systolic {emptied:.0f} ml"
    yield Summary(f"Left ventricle: {said}", glance=f"LVEF {ejected:.0f} %")


def phase(series: Series) -> Phase:
    """Return a stack with its volume and the mean Trigger Time of its slices."""
    times = [float(header.get("TriggerTime") or 0) for header in series.headers]
    return Phase(series=series, volume=series.volume(), time=round(float(np.mean(times)), 1))


def unsuitable(phases: Sequence[Phase]) -> str:
    """Return why the stacks are not suitable; empty if they are the phases of one short-axis cine."""
    first = phases[0].volume
    shape, apart = first.array.shape, first.spacing[0]
    if any(each.volume.array.shape != shape or not np.allclose(each.volume.affine, first.affine) for each in phases):
        return "its phases do not lie on the same slices"
    if shape[0] < FEWEST_SLICES or shape[0] * apart < LEAST_MM:
        return f"{shape[0]} slices over {shape[0] * apart:.0f} mm are too few for a stack from base to apex"
    if apart > THICKEST_MM:
        return f"its slices are {apart:.0f} mm apart, more than {THICKEST_MM:.0f} mm"
    if len({each.time for each in phases}) < len(phases):
        return "several of its phases have the same Trigger Time, so their order is not known"
    return ""


def without_beat(phases: Sequence[Phase]) -> str:
    """Return why the phases do not show a beating heart; empty if something moves and not everything."""
    part = moving([each.volume.array for each in phases])
    if part < LEAST_MOVING:
        return "nothing moves from phase to phase: no beating heart is seen"
    if part > MOST_MOVING:
        return f"{part:.0%} of the images change from phase to phase: that is noise, or the patient moved"
    return ""


def moving(phases: Sequence[NDArray[Any]]) -> float:
    """Return the part of the voxels that change over the phases by a quarter of the bright signal."""
    seen = np.stack([phase[:, ::EVERY, ::EVERY] for phase in phases]).astype(np.float32)
    bright = max(float(np.percentile(seen.mean(0), 99)), 1.0)
    return float((np.ptp(seen, axis=0) > CHANGE * bright).mean())


def outlined(phases: Sequence[Phase], triton: Triton) -> NDArray[np.uint8]:
    """Return the network's labels (phase, slice, row, column). All images go in one request; it sees each by itself."""
    first = phases[0].volume
    affine = first.affine.copy()
    affine[:3, 0] /= first.spacing[0]  # with images 1 mm apart, nothing is resampled between them
    stacked = np.concatenate([each.volume.array for each in phases])
    together = Volume(array=stacked, affine=affine, frame_of_reference_uid=first.frame_of_reference_uid)
    labels = triton.infer("mr_cardiac", **volume_inputs({"image": together}))["labels"]
    return labels.reshape(len(phases), *first.array.shape)


def ventricle(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the labels of one phase with only the largest component of cavity and muscle together."""
    components = label_components(labels > 0)
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    return np.where((components == sizes.argmax()) & (components > 0), labels, 0).astype(np.uint8)


def discs(mask: NDArray[np.bool_], volume: Volume) -> float:
    """Return ml as a sum of discs (Simpson): areas of all slices times their distance, with the gaps between them."""
    _, rows, columns = volume.spacing
    areas = mask.sum((1, 2)) * rows * columns
    return float(areas.sum() * volume.spacing[0] / 1000)


def segments(time: str) -> tuple[Segment, Segment]:
    """Return the segments of cavity and muscle at a time of the heartbeat, in the order of the model's labels."""
    organ = codes.SCT.Organ
    cavity = Segment(label=f"Left ventricle, {time}", type=VENTRICLE, category=organ, color=(210, 60, 60))
    muscle = codes.SCT.StructureOfMyocardiumOfLeftVentricle
    return cavity, Segment(label=f"Myocardium, {time}", type=muscle, category=organ, color=(80, 170, 90))


def measured(diastolic: float, systolic: float, muscle: float) -> Iterator[Measurement]:
    """Measure the ventricle: end-diastolic, end-systolic and stroke volume, ejection fraction, mass of its muscle."""
    (cavity, myocardium), (small, _) = map(segments, TIMES)
    stroke = diastolic - systolic
    loinc = codes.LN
    yield Measurement(name=loinc.LeftVentricularEndDiastolicVolume, value=round(diastolic, 1), unit=ML, of=cavity)
    yield Measurement(name=loinc.LeftVentricularEndSystolicVolume, value=round(systolic, 1), unit=ML, of=small)
    yield Measurement(name=codes.SCT.StrokeVolume, value=round(stroke, 1), unit=ML, site=VENTRICLE)
    yield Measurement(
        name=loinc.LeftVentricularEjectionFractionByMR,
        value=round(ejection_fraction(diastolic, systolic), 1),
        unit=PERCENT,
    )
    yield Measurement(name=loinc.LeftVentricleMass, value=round(MUSCLE_G_PER_ML * muscle, 1), unit=GRAM, of=myocardium)


def ejection_fraction(diastolic: float, systolic: float) -> float:
    """Return the part of the end-diastolic volume that is ejected, in percent."""
    return 100 * (diastolic - systolic) / diastolic


def surface_m2(header: Dataset) -> float:
    """Return the body surface in m² by Du Bois and Du Bois (PS3.16 CID 3663); 0 if height or weight is not known."""
    height, weight = float(header.get("PatientSize") or 0), float(header.get("PatientWeight") or 0)
    if not (METRES[0] <= height <= METRES[1] and KILOGRAMS[0] <= weight <= KILOGRAMS[1]):
        return 0.0
    return float(0.007184 * weight**0.425 * (100 * height) ** 0.725)


def indexed(diastolic: float, systolic: float, muscle: float, surface: float) -> Iterator[Measurement]:
    """Measure the ventricle as a part of the body surface, by which norms are given (Kawel-Boehm et al. 2020)."""
    values = diastolic, systolic, diastolic - systolic, MUSCLE_G_PER_ML * muscle
    for name, value, unit in zip(INDEXED, values, (PER_M2, PER_M2, PER_M2, GRAM_PER_M2), strict=True):
        yield Measurement(name=name, value=round(value / surface, 1), unit=unit, site=VENTRICLE)
