"""Make a derived series of slices 1 mm apart from a stack of thick slices of a head."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node import Caveat, DerivedSeries, NotSuitable, Result, Series, Summary, Triton, Volume, codes

HEADS = {"", "HEAD", "BRAIN", "SKULL", "HEADNECK"}
"""Body Part Examined of a head (PS3.16 Annex L), or empty."""
LEAST_SLICES = 8
DISTANCES_MM = 2.5, 6.5
"""Distances of slices from which the network learned to make 1 mm."""
WIDEST_MM = 1.2
"""Largest width of pixels: the plane must be finer than the slices."""
SAME_PLACE = 0.1
"""Part of the distance of new slices within which one lies on a measured slice."""
LEAST_THICK = 0.7
"""Least thickness of a slice, as a part of the distance between slices."""


def run(mr: Series, triton: Triton) -> Iterator[Result]:
    """Check that the stack has thick slices of a head, and make the slices between."""
    volume = mr.volume()
    if reason := unsuitable(mr, volume):
        yield NotSuitable(reason)
        return
    given = volume.as_int16()
    answer = triton.infer("mr_superres", image=given, affine=volume.affine)
    lowest, highest = float(volume.array.min()), float(volume.array.max())
    thin = answer["values"].clip(lowest, highest)  # stored values must fit their bits
    yield DerivedSeries(
        array=thin,
        source=mr,
        description="Thin slices",
        derivation=codes.DCM.SpatialResampling,
        affine=answer["affine"],
    )
    yield Caveat(likeness(volume, thin, answer["affine"]))
    apart = f"{volume.spacing[0]:.1f} mm"
    yield Summary(f"Slices between those that were measured, {apart} apart, were estimated", glance="thin slices")


def likeness(volume: Volume, thin: NDArray[Any], affine: NDArray[np.float64]) -> str:
    """Say how far the new slices that lie on measured ones differ from these, in percent of the signal.

    The signal is the mean of what is brighter than the mean of the images. Slices between cannot be compared.
    """
    ends = np.array([(index, 0, 0, 1) for index in range(len(volume.array))])
    places = (np.linalg.inv(affine) @ volume.affine @ ends.T)[0]
    nearest = np.rint(places).astype(int)
    on = (np.abs(places - nearest) <= SAME_PLACE) & (nearest >= 0) & (nearest < len(thin))
    given = volume.array[on].astype(np.float64)
    if not given.size or thin.shape[1:] != given.shape[1:] or not given.any():
        return "How far new slices differ from measured ones is not known: none lies in the same place."
    bright = given > given.mean()
    difference = float(np.abs(thin[nearest[on]] - given)[bright].mean() / given[bright].mean()) if bright.any() else 0.0
    return (
        f"Where new slices lie on measured ones ({int(on.sum())} of {len(on)}), their values differ by "
        f"{100 * difference:.0f} % of the signal on average. Slices between were never measured."
    )


def unsuitable(mr: Series, volume: Volume) -> str:
    """Return why the images are not suitable; empty if they are a stack of thick slices of a head."""
    part = str(mr.header.get("BodyPartExamined") or "").upper()
    distance, width = volume.spacing[0], max(volume.spacing[1:])
    thickness = float(mr.header.get("SliceThickness") or distance)
    low, high = DISTANCES_MM
    reasons = {
        "they were never measured: the header says that they are synthetic": mr.header.get("SyntheticData") == "YES",
        f"they are of another part of the body: Body Part Examined is {part}": part not in HEADS,
        "they are frames of one image, of which no slices of another thickness can be made": mr.frames[0].multi_frame,
        f"{len(volume.array)} slices are too few": len(volume.array) < LEAST_SLICES,
        f"their slices are {distance:.1f} mm apart, which is thin already": distance < low,
        f"their slices are {distance:.1f} mm apart, more than {high} mm": distance > high,
        f"their pixels are {width:.1f} mm wide, more than {WIDEST_MM} mm": width > WIDEST_MM,
        f"between slices {thickness:.1f} mm thick lies what was never seen: they are {distance:.1f} mm apart": (
            thickness < LEAST_THICK * distance
        ),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")
