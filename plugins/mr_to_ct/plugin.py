"""Estimate the CT of a head from T1-weighted MR. The HU are not measured, and are marked as synthetic."""

from collections.abc import Iterator

import numpy as np

from node import DerivedSeries, NotSuitable, Result, Series, Summary, Triton, Volume, codes

HEADS = {"", "HEAD", "BRAIN", "SKULL", "HEADNECK"}
"""Body Part Examined of a head (PS3.16 Annex L), or empty."""
LEAST_SLICES, LEAST_MM = 8, 60.0
LONGEST_ECHO_MS = 30.0
"""With a longer echo time images are not T1-weighted."""
HU = -1024, 3071
WINDOW = -160.0, 240.0
SYNTHETIC_CT = codes.own("SYNTHETIC_CT", "CT values estimated from MR by a network")


def run(mr: Series, triton: Triton) -> Iterator[Result]:
    """Check that it is a T1-weighted head, and estimate its HU."""
    volume = mr.volume()
    if reason := unsuitable(mr, volume):
        yield NotSuitable(reason)
        return
    given = volume.as_int16()
    values = triton.infer("mr_to_ct", image=given, affine=volume.affine)["values"]
    yield DerivedSeries(
        array=np.rint(values).clip(*HU).astype(np.int16),
        source=mr,
        description="HU estimated from MR",
        derivation=SYNTHETIC_CT,
        synthetic=True,
        unit=codes.UCUM.HounsfieldUnit,
        window=WINDOW,
    )
    yield Summary("HU were estimated from MR; no CT was acquired", glance="HU estimated from MR")


def unsuitable(mr: Series, volume: Volume) -> str:
    """Return why the images are not suitable; empty if they are a T1-weighted stack of a head."""
    part = str(mr.header.get("BodyPartExamined") or "").upper()
    height = volume.spacing[0] * len(volume.array)
    echo = float(mr.header.get("EchoTime") or 0)
    reasons = {
        "they were never measured: the header says that they are synthetic": mr.header.get("SyntheticData") == "YES",
        f"they are of another part of the body: Body Part Examined is {part}": part not in HEADS,
        "they are frames of one image, which cannot hold values of another kind": mr.frames[0].multi_frame,
        f"they are not T1-weighted: the echo time is {echo:.0f} ms": echo > LONGEST_ECHO_MS,
        f"{len(volume.array)} slices over {height:.0f} mm are too few for a head": (
            len(volume.array) < LEAST_SLICES or height < LEAST_MM
        ),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")
