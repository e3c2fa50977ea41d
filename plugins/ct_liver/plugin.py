"""The liver in a CT: outlined by a network, then measured: volume, attenuation and that of the spleen, each lesion."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from node import (
    Acquisition,
    Caveat,
    Code,
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
    counted,
)
from node.measuring import Component, find_components, size_measurements

LIVER, LESION, SPLEEN = 1, 2, 3
"""Labels of the model."""
TRUNKS = {
    "ABDOMEN", "ABDOMENPELVIS", "CHEST", "CHESTABDOMEN", "CHESTABDPELVIS", "LIVER", "NECKCHESTABDOMEN",
    "NECKCHESTABDPELV", "WHOLEBODY",
}  # fmt: skip
"""Body Part Examined that may show a liver (PS3.16 Annex L)."""
THICKEST_MM = 5.0
LEAST_SLICES, LEAST_MM = 10, 50.0
NARROWEST_MM = 210.0
"""Trunks of adults are wider; heads, necks and limbs are narrower."""
BODY_HU = -300
LEAST_LIVER_ML, LEAST_SPLEEN_ML = 100.0, 20.0
LEAST_LESION_MM = 5.0
"""Lesions with a smaller mean diameter are not reported."""
MOST = 20
"""At most so many lesions are listed: the largest."""
INSIDE = 0.5
"""Least part of a lesion's rim that is liver. A lesion with less lies outside the liver."""
CONTRAST_HU = 80.0
"""Spleen and fatty liver have lower values without contrast medium."""
STEATOSIS_KV = 120.0
STEATOTIC_HU = 40.0
"""Up to this value without contrast medium, steatosis is moderate to severe (Boyce et al. 2010)."""
STEATOSIS = Code("197321007", "SCT", "Steatosis of liver")
BELOW_SPLEEN = codes.own("liver-spleen-HU", "Attenuation of the liver less that of the spleen")
CUT = codes.DCM.AnatomyCoverageIncomplete
HU, ML = codes.UCUM.HounsfieldUnit, codes.UCUM.CubicCentimeter


def run(ct: Series, triton: Triton) -> Iterator[Result]:
    """Ask the model for liver, lesions and spleen, and measure them."""
    volume = ct.volume()
    if reason := unsuitable(ct, volume):
        yield NotSuitable(reason)
        return
    volume = volume.as_int16()
    answer = triton.infer("ct_liver", image=volume, affine=volume.affine)["labels"]
    if np.isin(answer, (LIVER, LESION)).sum() * volume.voxel_ml < LEAST_LIVER_ML:
        yield NotSuitable("no liver is seen")
        return
    focal = sorted(lesions(answer, volume.spacing), key=lambda lesion: -lesion.diameter)[:MOST]
    segments, labels = outlined(answer, focal, volume.voxel_ml)
    yield Segmentation(labels=volume.with_array(labels), segments=segments)
    measured = list(organs(volume, labels, segments[: len(segments) - len(focal)], ct))
    yield from measured
    for lesion, of in zip(focal, segments[len(segments) - len(focal) :], strict=True):
        yield from size_measurements(lesion, of, volume.array, volume.voxel_ml)
    if focal:
        slices = sorted({lesion.slice for lesion in focal})
        yield KeyImages(images=[ct.frames[index] for index in slices], description="Where each lesion is largest")
    yield summary(
        focal, steatosis=any(isinstance(each, Finding) and each.present and each.name == STEATOSIS for each in measured)
    )


def summary(focal: list[Component], *, steatosis: bool) -> Summary:
    """Say how many lesions there are, the largest, and whether the liver is fatty."""
    fatty = "; attenuation as in steatosis" if steatosis else ""
    if not focal:
        none = f"no focal lesion of {LEAST_LESION_MM:.0f} mm or more found"
        return Summary(f"Liver outlined; {none}{fatty}", glance="steatosis" if steatosis else "no focal lesion found")
    count = counted(len(focal), "focal lesion")
    return Summary(f"{count}, the largest {focal[0].diameter:.0f} mm{fatty}", glance=f"{count} found")


def unsuitable(ct: Series, volume: Volume) -> str:
    """Return why the images are not suitable; empty if they are a CT of an abdomen that can be measured."""
    part = str(ct.header.get("BodyPartExamined") or "").upper()
    if part and part not in TRUNKS:
        return f"they are of another part of the body: Body Part Examined is {part}"
    apart, _, across = volume.spacing
    if apart > THICKEST_MM:
        return f"its slices are {apart:.1f} mm apart, more than {THICKEST_MM:.0f} mm"
    height = apart * len(volume.array)
    if len(volume.array) < LEAST_SLICES or height < LEAST_MM:
        return f"{len(volume.array)} slices over {height:.0f} mm are too few for a liver"
    width = np.count_nonzero((volume.array[len(volume.array) // 2] > BODY_HU).any(0)) * across
    if width < NARROWEST_MM:
        return f"the body is {width:.0f} mm wide, too narrow for an abdomen"
    return ""


def lesions(answer: NDArray[np.uint8], spacing: tuple[float, float, float]) -> Iterator[Component]:
    """Yield the lesions in the labels, (slice, row, column), without small ones and those outside the liver."""
    for component in find_components(answer == LESION, spacing):
        around = answer[component.box][component.rim]
        if component.diameter >= LEAST_LESION_MM and (around == LIVER).mean() >= INSIDE:
            yield component


def outlined(
    answer: NDArray[np.uint8], focal: list[Component], voxel_ml: float
) -> tuple[list[Segment], NDArray[np.uint8]]:
    """Return segments for the liver without lesions, the spleen if it is seen, and each lesion; and their labels."""
    organ = codes.SCT.Organ
    segments = [Segment(label="Liver without lesions", type=codes.SCT.Liver, category=organ, color=(221, 130, 101))]
    labels = np.isin(answer, (LIVER, LESION)).astype(np.uint8)
    if (spleen := answer == SPLEEN).sum() * voxel_ml >= LEAST_SPLEEN_ML:
        segments.append(Segment(label="Spleen", type=codes.SCT.Spleen, category=organ, color=(157, 108, 162)))
        labels[spleen] = len(segments)
    for number, lesion in enumerate(focal, 1):
        segments.append(
            Segment(
                label=f"Lesion {number}",
                type=codes.SCT.Lesion,
                category=codes.SCT.MorphologicallyAbnormalStructure,
                region=codes.SCT.Liver,
            )
        )
        labels[lesion.box][lesion.mask] = len(segments)
    return segments, labels


def organs(volume: Volume, labels: NDArray[np.uint8], segments: list[Segment], ct: Series) -> Iterator[Result]:
    """Measure liver and spleen; report whether the liver is cut off, and whether it is fatty if that can be seen."""
    cut = bool((labels[[0, -1]] == 1).any())
    yield Finding(name=CUT, present=cut)
    means = []
    for number, of in enumerate(segments, 1):
        hu = volume.array[labels == number]
        if not (cut and number == 1):
            yield Measurement(name=codes.SCT.Volume, value=round(len(hu) * volume.voxel_ml, 1), unit=ML, of=of)
        means.append(float(hu.mean()))
        yield Measurement(name=codes.DCM.MeanAttenuationCoefficient, value=round(means[-1], 1), unit=HU, of=of)
        deviation = codes.DCM.StandardDeviationOfAttenuationCoefficient
        yield Measurement(name=deviation, value=round(float(hu.std()), 1), unit=HU, of=of)
    if not cut and labels.max() > len(segments):
        whole = ((labels == 1) | (labels > len(segments))).sum() * volume.voxel_ml
        yield Measurement(name=codes.SCT.Volume, value=round(whole, 1), unit=ML, site=codes.SCT.Liver)
    how = Acquisition.of(ct.header)
    if reason := no_steatosis(how, max(means)):
        yield Caveat(f"Steatosis is not judged: {reason}. Acquired with {how.in_words()}.")
        return
    yield Caveat(f"Steatosis: attenuation up to {STEATOTIC_HU:.0f} HU without contrast medium; {how.in_words()}.")
    if len(means) > 1:
        yield Measurement(name=BELOW_SPLEEN, value=round(means[0] - means[1], 1), unit=HU, site=codes.SCT.Liver)
    yield Finding(name=STEATOSIS, present=means[0] <= STEATOTIC_HU)


def no_steatosis(how: Acquisition, brightest: float) -> str:
    """Return why steatosis is not judged; empty if it may be (Boyce et al., AJR 2010;194:623)."""
    if how.contrast or brightest > CONTRAST_HU:
        return "contrast medium brightens the liver"
    if how.kilovolts not in (None, STEATOSIS_KV):
        return "the limit is that of 120 kV"
    return ""
