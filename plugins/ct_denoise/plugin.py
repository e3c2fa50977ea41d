"""Make a derived series of CT images with less noise and fewer streaks."""

from collections.abc import Iterator

import numpy as np

from node import DerivedSeries, NotSuitable, Result, Series, Summary, Triton, Volume, codes

WIDEST_MM = 1.2
"""Wider pixels are refused: the network was not trained on them."""
HIGHEST_HU = 3071
"""The highest value of a 12-bit scanner. Higher values are metal; they are not changed."""


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
    yield Summary("A series with less noise was made, to be read beside the original images", glance="less noise")


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
