"""Outline the parts of the brain in a T1-weighted MR and measure them; a second network judges the volumes."""

from collections.abc import Iterator

import numpy as np
from pydicom.dataset import Dataset

from node import (
    Finding,
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
)

SCT = codes.SCT
SEGMENTS = tuple(
    Segment(label=label, type=kind, category=SCT.AnatomicalStructure, color=color)
    for label, kind, color in (
        ("Cerebral white matter", SCT.CerebralWhiteMatter, (245, 245, 245)),
        ("Cerebral cortex", SCT.CerebralCortex, (205, 62, 78)),
        ("Lateral ventricles", SCT.LateralVentricle, (120, 18, 134)),
        ("Inferior horns of the lateral ventricles", SCT.InferiorHornOfLateralVentricle, (196, 58, 250)),
        ("Cerebellar white matter", SCT.CerebellarWhiteMatter, (220, 248, 164)),
        ("Cerebellar cortex", SCT.CerebellarCortex, (230, 148, 34)),
        ("Thalamus", SCT.Thalamus, (0, 118, 14)),
        ("Caudate nucleus", SCT.CaudateNucleus, (122, 186, 220)),
        ("Putamen", SCT.Putamen, (236, 13, 176)),
        ("Globus pallidus", SCT.GlobusPallidus, (12, 48, 255)),
        ("Third ventricle", SCT.ThirdVentricle, (204, 182, 142)),
        ("Fourth ventricle", SCT.FourthVentricle, (42, 204, 164)),
        ("Brain stem", SCT.BrainStem, (119, 159, 176)),
        ("Hippocampus", SCT.Hippocampus, (220, 216, 20)),
        ("Amygdala", SCT.Amygdala, (103, 255, 255)),
        ("Nucleus accumbens", SCT.NucleusAccumbens, (255, 165, 0)),
        ("Ventral diencephalon", codes.DCM.VentralDiencephalon, (165, 42, 42)),
    )
)
"""In the order of the model's labels; both sides together, in the colours of FreeSurfer."""
FLUID = {"Lateral ventricles", "Inferior horns of the lateral ventricles", "Third ventricle", "Fourth ventricle"}
CONDITIONS = (
    codes.own("as-in-dementia", "Volumes as in dementia"),
    codes.own("as-in-parkinson", "Volumes as in Parkinson's disease"),
)
"""In the order of the second network's outputs."""
PRESENT = 0.5
HEADS = {"HEAD", "BRAIN", "SKULL", "HEADNECK"}
"""Body Part Examined of a head (PS3.16 Annex L)."""
LONGEST_ECHO_MS = 25.0
"""T1 contrast needs a short echo; T2, FLAIR and diffusion have longer echoes."""
LONGEST_REPETITION_MS = 1500.0
"""A spin echo without inversion shows proton density with a longer repetition time."""
PROJECTIONS = {"MAXIMUM INTENSITY PROJECTION", "PROJECTION IMAGE", "MAXIMUM", "MINIMUM", "MIP", "MINIP"}
"""Values of Image Type of projections."""
COARSEST_MM = 3.0
LEAST_SLICES, LEAST_MM = 40, 110.0
LEAST_BRAIN_ML = 400.0
FEWEST_PARTS = 15
"""Fewest of the 17 parts that must be seen before the volumes are judged."""
DIGITS = 2


def run(mr: Series, triton: Triton) -> Iterator[Result]:
    """Ask for the parts of the brain and measure them; if most are seen, report what their volumes are like."""
    if reason := of_another_kind(mr.header):
        yield NotSuitable(reason)
        return
    volume = mr.volume()
    if reason := too_coarse(volume):
        yield NotSuitable(reason)
        return
    image = volume.with_array(volume.array.astype(np.float32))
    answer = triton.infer("mr_brain", image=image, affine=volume.affine)
    labels = answer["labels"]
    volumes = np.bincount(labels.ravel(), minlength=len(SEGMENTS) + 1)[1:] * volume.voxel_ml
    brain = sum(ml for ml, of in zip(volumes, SEGMENTS, strict=True) if of.label not in FLUID)
    if brain < LEAST_BRAIN_ML:
        yield NotSuitable("no whole brain is seen")
        return
    yield Segmentation(labels=volume.with_array(labels), segments=SEGMENTS)
    unit = codes.UCUM.CubicCentimeter
    for ml, of in zip(volumes, SEGMENTS, strict=True):
        if ml:
            yield Measurement(name=SCT.Volume, value=round(ml, DIGITS), unit=unit, of=of)
    yield Measurement(name=SCT.Volume, value=round(brain, DIGITS), unit=unit, site=SCT.Brain)
    seen, at_a_glance = f"Brain {brain:.0f} ml", f"brain {brain:.0f} ml"
    if np.count_nonzero(volumes) < FEWEST_PARTS:
        yield Summary(f"{seen}; too few of its parts were seen to judge their volumes", glance=at_a_glance)
        return
    like = []
    for name, probability in zip(CONDITIONS, answer["conditions"].tolist(), strict=True):
        if not np.isnan(probability):  # NaN: the second network was not trained on such volumes
            yield Finding(name=name, score=probability, threshold=PRESENT)
            like += [name.meaning] if probability >= PRESENT else []
    yield Summary("; ".join([seen, *like]), glance=at_a_glance)


def of_another_kind(header: Dataset) -> str:
    """Return why the images are not suitable; empty if the header allows T1-weighted images of a head."""
    part = str(header.get("BodyPartExamined") or "").upper()
    if part and part not in HEADS:
        return f"they are of another part of the body: Body Part Examined is {part}"
    if header.get("ContrastBolusAgent"):
        return "contrast medium was given, and the network was trained without"
    if PROJECTIONS & {str(word).upper() for word in header.get("ImageType") or ()}:
        return "they are projections, not slices"
    echo, repetition = (timing(header, *keywords) for keywords in (ECHO, REPETITION))
    if echo > LONGEST_ECHO_MS:
        return f"an echo time of {echo:.0f} ms makes no T1 contrast"
    sequence = header.get("ScanningSequence") or ()
    if "SE" in sequence and "IR" not in sequence and repetition > LONGEST_REPETITION_MS:
        return f"a repetition time of {repetition:.0f} ms in a spin echo makes no T1 contrast"
    return ""


ECHO = "EchoTime", "MREchoSequence", "EffectiveEchoTime"
REPETITION = "RepetitionTime", "MRTimingAndRelatedParametersSequence", "RepetitionTime"


def timing(header: Dataset, plain: str, group: str, within: str) -> float:
    """Return a time in ms from the header or the first functional group that has it (PS3.3 C.8.13.5); 0 without."""
    groups = (header.get(f"{kind}FunctionalGroupsSequence") or [Dataset()] for kind in ("Shared", "PerFrame"))
    items = [header, *((sequence[0].get(group) or [Dataset()])[0] for sequence in groups)]
    times = (item.get(plain if item is header else within) for item in items)
    return next((float(time) for time in times if time), 0.0)


def too_coarse(volume: Volume) -> str:
    """Return why parts of a brain cannot be measured in a volume; empty if they can."""
    coarsest = max(volume.spacing)
    if coarsest > COARSEST_MM:
        return f"voxels of {coarsest:.1f} mm are too coarse, {COARSEST_MM:.0f} mm are asked for"
    height = volume.spacing[0] * len(volume.array)
    if len(volume.array) < LEAST_SLICES or height < LEAST_MM:
        return f"{len(volume.array)} slices over {height:.0f} mm are too few for a brain"
    return ""
