"""Register the prior to the present images: rigid matrix, deformation, and the prior on the present grid."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from node import (
    Deformation,
    DerivedSeries,
    Measurement,
    NotSuitable,
    Registration,
    Result,
    Series,
    Triton,
    Volume,
    codes,
)

FEWEST_SLICES = 8
LEAST_MM = 40.0
"""Least extent of a stack along its normal."""
LEAST_LIKENESS = 0.3
"""Least mean squared local correlation after registration: with less, the two do not show the same."""
STEPS = 4000.0
"""Values that are not int16 are scaled to so many steps before they are sent."""
AIR_HU = -1024
CORRELATION = codes.own("LOCAL_CORRELATION", "Mean squared local correlation with the prior")
RIGID = codes.own("LOCAL_CORRELATION_RIGID", "Mean squared local correlation with the prior, rigidly aligned")


@dataclass(frozen=True, slots=True)
class Sent:
    """A volume as int16, and the factor by which its values were multiplied."""

    volume: Volume
    factor: float


def run(image: Series, prior: Series | None, triton: Triton) -> Iterator[Result]:
    """Ask for the registration of the prior to the image; if there is none, report why."""
    if prior is None:
        yield NotSuitable("no earlier series of the patient that is like it was found")
        return
    if not (image.frame_of_reference_uid and prior.frame_of_reference_uid):
        yield NotSuitable("the images or the prior's have no Frame of Reference UID")
        return
    here, there = scaled(image.volume()), scaled(prior.volume())
    for name, volume in (("its images", here.volume), ("the prior's images", there.volume)):
        slices, reach = len(volume.array), len(volume.array) * volume.spacing[0]
        if slices < FEWEST_SLICES or reach < LEAST_MM:
            yield NotSuitable(f"{name} are {slices} slices over {reach:.0f} mm, too few to be registered")
            return
    outside = AIR_HU if image.modality == "CT" else 0
    found = triton.infer(
        "register_prior",
        fixed=here.volume,
        fixed_affine=here.volume.affine,
        moving=there.volume,
        moving_affine=there.volume.affine,
        outside=np.array([outside], np.int16),
    )
    _, rigid, deformed = (float(value) for value in found["likeness"])
    if deformed < LEAST_LIKENESS:
        yield NotSuitable(f"it and the prior are too unlike: their mean squared local correlation is {deformed:.2f}")
        return
    deformation = Deformation(vectors=found["vectors"], affine=found["vectors_affine"])
    yield Registration(fixed=image, moving=prior, matrix=found["matrix"])
    yield Registration(fixed=image, moving=prior, matrix=found["matrix"], deformation=deformation)
    yield DerivedSeries(
        array=found["image"] if there.factor == 1 else found["image"] / there.factor,
        source=image,
        shows=prior,
        description="PRIOR, deformed onto the present images",
        derivation=codes.DCM.DeformedForRegistration,
    )
    for measured, value in ((RIGID, rigid), (CORRELATION, deformed)):
        yield Measurement(name=measured, value=round(value, 3), unit=codes.UCUM.NoUnits)


def scaled(volume: Volume) -> Sent:
    """Return a volume as int16; other values are scaled first."""
    array = volume.array
    if array.dtype == np.int16:
        return Sent(volume, 1.0)
    factor = STEPS / max(float(np.abs(array).max()), 1e-6)
    return Sent(volume.with_array(np.rint(array * factor).astype(np.int16)), factor)
