"""Register the prior to the present images: rigid matrix, deformation, and the prior on the present grid."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node import (
    Deformation,
    DerivedSeries,
    Measurement,
    NotSuitable,
    Registration,
    Result,
    Series,
    Summary,
    Triton,
    Volume,
    codes,
)

FEWEST_SLICES = 8
LEAST_MM = 40.0
"""Least extent of a stack along its normal."""
LEAST_LIKENESS = 0.5
"""Least mean squared local correlation after registration: with less, the two do not show the same."""
LEAST_JACOBIAN = 0.4
"""Least determinant of the deformation: what must be squeezed more to fit is no part of the same patient."""
LEAST_SHOWN, LEAST_DICE = 0.25, 0.85
"""Least part of the present images that the prior shows, and least Dice of the bodies there."""
MOST_GAIN = 0.05
"""Most that the likeness may gain when the prior is mirrored: a brain, which is symmetric, gains 0.003; a chest that
is mirrored or upside down gains 0.08 or more."""
MIRRORS = ("mirrored from right to left", "mirrored from front to back", "upside down")
MOST_TURN = 30.0
"""Degrees between the two: a patient lies as before, and a head is turned by less."""
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
    if reason := unlike(found):
        yield NotSuitable(f"it and the prior do not show the same: {reason}")
        return
    _, rigid, deformed = (float(value) for value in found["likeness"])
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
    date = str(prior.header.get("AcquisitionDate") or prior.header.get("StudyDate") or "")
    day = f" of {date[:4]}-{date[4:6]}-{date[6:8]}" if len(date) == len("YYYYMMDD") else ""
    yield Summary(f"The prior{day} was aligned with the present images and deformed onto them", glance=f"prior{day}")


def unlike(found: Mapping[str, NDArray[Any]]) -> str:
    """Return why a registration is not believed, the measure and its limit; empty if it is.

    The limits lie between pairs of one patient and of others: README.md has the measurement.
    """
    shown, dice = (float(value) for value in found["overlap"])
    likeness, squeezed = float(found["likeness"][2]), float(found["least_jacobian"][0])
    turned = float(np.degrees(np.arccos(np.clip((np.trace(found["matrix"][:3, :3]) - 1) / 2, -1, 1))))
    as_it_is, *mirrored = (float(value) for value in found["mirrored"])
    gain, how = max((value - as_it_is, how) for value, how in zip(mirrored, MIRRORS, strict=True))
    measures = (
        ("the prior shows {:.2f} of the present images, less than {}", shown, LEAST_SHOWN),
        ("the mean squared local correlation is {:.2f} after registration, less than {}", likeness, LEAST_LIKENESS),
        ("the bodies overlap with a Dice of {:.2f}, less than {}", dice, LEAST_DICE),
        ("the prior would be squeezed to {:.2f} of its volume, less than {}", squeezed, LEAST_JACOBIAN),
    )
    if turned > MOST_TURN:
        return f"the prior would be turned by {turned:.0f} degrees, more than {MOST_TURN:.0f}"
    if gain > MOST_GAIN:
        return f"the prior fits better when it is {how}, by {gain:.2f}"
    return next((words.format(value, limit) for words, value, limit in measures if value < limit), "")


def scaled(volume: Volume) -> Sent:
    """Return a volume as int16; other values are scaled first."""
    array = volume.array
    if array.dtype == np.int16:
        return Sent(volume, 1.0)
    factor = STEPS / max(float(np.abs(array).max()), 1e-6)
    return Sent(volume.with_array(np.rint(array * factor).astype(np.int16)), factor)
