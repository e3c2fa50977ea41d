"""Make a derived series of CT images with less noise and fewer streaks."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from node import Caveat, DerivedSeries, Measurement, NotSuitable, Result, Series, Summary, Triton, Volume, codes
from node.measuring import noise

WIDEST_MM = 1.2
"""Wider pixels are refused: the network was not trained on them."""
HIGHEST_HU = 3071
"""The highest value of a 12-bit scanner. Higher values are metal; they are not changed."""


MOST_COMPARED = 16
"""Noise is measured on about so many images, spread over the stack."""
TISSUE_HU = -100, 150
"""Soft tissue and fluid: where noise hides what is looked for."""
NOISE_BEFORE = codes.own("NOISE_BEFORE", "Noise of the images, in soft tissue")
NOISE_AFTER = codes.own("NOISE_AFTER", "Noise of the derived images, in soft tissue")
DIFFERENCE = codes.own("MEAN_ABSOLUTE_DIFFERENCE", "Mean size of the difference, in soft tissue")


def run(ct: Series, triton: Triton) -> Iterator[Result]:
    """Check that the values are HU of sections, and restore each image."""
    volume = ct.volume()
    if reason := unsuitable(ct, volume):
        yield NotSuitable(reason)
        return
    given = volume.as_int16()
    values = triton.infer("ct_denoise", image=given, affine=volume.affine)["values"]
    restored = np.rint(values).clip(given.array.min(), HIGHEST_HU).astype(np.int16)
    metal = given.array > HIGHEST_HU
    restored[metal] = given.array[metal]
    yield DerivedSeries(array=restored, source=ct, description="Denoised", derivation=codes.DCM.Smoothing)
    every = max(1, len(restored) // MOST_COMPARED)
    yield from compared(given.array[::every], restored[::every])


def compared(before: NDArray[np.int16], after: NDArray[np.int16]) -> Iterator[Result]:
    """Measure noise before and after, and how far the values differ, in soft tissue; say it in a sentence."""
    tissue = (before > TISSUE_HU[0]) & (before < TISSUE_HU[1])
    had, has = noise(before, tissue), noise(after, tissue)
    said = "A series was made to be read beside the original images"
    if math.isnan(had):
        yield Caveat("Noise was not measured: no soft tissue is seen.")
        yield Summary(said, glance="less noise")
        return
    difference = float(np.abs(after[tissue].astype(np.float64) - before[tissue]).mean())
    for name, value in ((NOISE_BEFORE, had), (NOISE_AFTER, has), (DIFFERENCE, difference)):
        yield Measurement(name=name, value=round(value, 1), unit=codes.UCUM.HounsfieldUnit)
    yield Summary(
        f"{said}; noise in soft tissue {had:.0f} HU before and {has:.0f} HU after; values there differ by "
        f"{difference:.0f} HU on average",
        glance=f"noise {had:.0f} to {has:.0f} HU",
    )


def unsuitable(ct: Series, volume: Volume) -> str:
    """Return why the images are not suitable; empty if they are sections in HU with fine pixels."""
    kind = [str(word).upper() for word in ct.header.get("ImageType") or ()]
    if "LOCALIZER" in kind:
        return "they are a projection, and no sections"
    if ct.header.get("SyntheticData") == "YES":
        return "they were never measured: the header says that they are synthetic"
    quantity = str(ct.header.get("RescaleType") or "HU")
    if quantity != "HU":
        return f"their values are no HU: Rescale Type is {quantity}"
    width = max(volume.spacing[1:])
    if width > WIDEST_MM:
        return f"their pixels are {width:.1f} mm wide, more than {WIDEST_MM} mm"
    return ""
