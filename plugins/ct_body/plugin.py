"""Outline bone, muscle, fat and calcium of the chest, and measure volume, mean area, density and a calcium score."""

import math
from collections.abc import Iterator

from node import (
    Acquisition,
    Caveat,
    Finding,
    Measurement,
    NotSuitable,
    Result,
    Segment,
    Segmentation,
    Series,
    Summary,
    Triton,
    codes,
)

BONE = Segment(label="Bone", type=codes.SCT.Bone, category=codes.SCT.Tissue, color=(235, 220, 140))
MUSCLE = Segment(
    label="Muscle of the chest wall", type=codes.SCT.ChestWallMuscle, category=codes.SCT.Tissue, color=(205, 75, 70)
)
OUTER_FAT, INNER_FAT = (
    Segment(label=label, type=codes.SCT.AdiposeTissue, category=codes.SCT.Tissue, region=codes.SCT.Thorax, color=color)
    for label, color in (("Fat outside the rib cage", (70, 120, 235)), ("Fat inside the rib cage", (70, 200, 120)))
)
CALCIUM = Segment(
    label="Calcium inside the rib cage",
    type=codes.DCM.Calcium,
    category=codes.SCT.MorphologicallyAbnormalStructure,
    color=(235, 60, 220),
)
SEGMENTS = (BONE, MUSCLE, OUTER_FAT, INNER_FAT, CALCIUM)
CONTRAST = codes.own("ct-contrast", "Contrast medium in the vessels")
MEAN_AREA = codes.own("MEAN_SLICE_AREA", "Mean area per slice")
AGATSTON_KV = 120.0
CONTRAST_ML = 5.0
"""Smaller volumes are streaks, or the bright inside of a bone."""
MM_PER_CM = 10.0


def run(ct: Series, triton: Triton) -> Iterator[Result]:
    """Ask the model for tissues; if it sees no chest, report its reason."""
    volume = ct.volume().as_int16()
    answer = triton.infer("ct_body", image=volume, affine=volume.affine)
    if reason := str(answer["reason"][0]):
        yield NotSuitable(reason)
        return
    score, height, contrast = map(float, answer["score"])
    how = Acquisition.of(ct.header)
    reason = unscored(how, contrast) or ("slices are too thick or tilted" if math.isnan(score) else "")
    scored = not reason
    segments = SEGMENTS if scored else SEGMENTS[:-1]
    yield Segmentation(labels=volume.with_array(answer["labels"]), segments=segments)
    for segment, (millilitres, density) in zip(segments, answer["statistics"], strict=False):
        yield Measurement(
            name=codes.SCT.Volume, value=round(millilitres, 1), unit=codes.UCUM.CubicCentimeter, of=segment
        )
        if millilitres == 0 or segment is CALCIUM:
            continue
        area = MM_PER_CM * millilitres / height
        yield Measurement(
            name=MEAN_AREA,
            value=round(area, 1),
            unit=codes.UCUM.SquareCentimeter,
            of=segment,
        )
        yield Measurement(
            name=codes.DCM.MeanAttenuationCoefficient,
            value=round(density, 1),
            unit=codes.UCUM.HounsfieldUnit,
            of=segment,
        )
    yield Finding(name=CONTRAST, present=contrast >= CONTRAST_ML, notable=False)
    if scored:
        yield Measurement(
            name=codes.DCM.CalciumScore,
            value=round(score, 1),
            unit=codes.UCUM.NoUnits,
            method=codes.DCM.AgatstonScoringMethod,
            of=CALCIUM,
        )
        yield Caveat(
            f"Calcium score: of all vessels and valves in the chest together, so that categories of coronary scores do "
            f"not apply; after Agatston with {how.in_words()}; not known to be gated."
        )
        yield Summary(
            f"Tissues of the chest outlined; calcium score {score:.0f} (Agatston, all vessels and valves)",
            glance=f"calcium score {score:.0f}",
        )
    else:
        yield Caveat(f"No calcium score: {reason}. Acquired with {how.in_words()}.")
        yield Summary(f"Tissues of the chest outlined; no calcium score: {reason}", glance="no calcium score")


def unscored(how: Acquisition, contrast_ml: float) -> str:
    """Return why calcium is not scored; empty if it may be (Agatston et al., J Am Coll Cardiol 1990;15:827)."""
    if how.contrast or contrast_ml >= CONTRAST_ML:
        return "contrast medium is as bright as calcium"
    if how.kilovolts != AGATSTON_KV:
        return "the score is defined at 120 kV"
    if how.sharp:
        return f"kernel {how.kernel} is sharp, and its noise counts as calcium"
    return ""
