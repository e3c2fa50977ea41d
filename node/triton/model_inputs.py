"""The inputs of a volume model: arrays with their affines, named for the roles of a plugin."""

from collections.abc import Mapping

import numpy as np

from node.errors import UnsuitableSeries
from node.images.series import Series, Volume
from node.triton.client import Array, HasArray


def volume_inputs(volumes: Mapping[str, Volume]) -> dict[str, Array | HasArray]:
    """Return the inputs of a volume model that is given a volume for each role.

    They are ROLE (int16), or ROLE_field (float32) for values that are not whole numbers, both (slice, row, column), and
    ROLE_affine, float64 (4, 4), (slice, row, column, 1) to mm LPS.

    Raises
    ------
    UnsuitableSeries
        A volume is in another frame of reference than the first: their positions cannot be compared.
    """
    inputs: dict[str, Array | HasArray] = {}
    (first, reference), *_ = volumes.items()
    for role, volume in volumes.items():
        if volume.frame_of_reference_uid != reference.frame_of_reference_uid:
            raise UnsuitableSeries(f"the images for {role} and {first} have no frame of reference in common")
        inputs[role if volume.array.dtype == np.int16 else f"{role}_field"] = volume
        inputs[f"{role}_affine"] = volume.affine
    return inputs


def image_inputs(series: Mapping[str, Series]) -> dict[str, Array | HasArray]:
    """Return the inputs of a volume model that is given images without a position in the patient.

    They are ROLE (int16, or uint8), or ROLE_field (float32) for values that are not whole numbers: (slice, row,
    column), in colour (slice, row, column, 3).

    Raises
    ------
    UnsuitableSeries
        There are several series: their positions to each other are not known.
    """
    if len(series) > 1:
        raise UnsuitableSeries(f"the images for {', '.join(series)} have no place in the patient")
    ((role, images_of_role),) = series.items()
    images = np.stack([images_of_role.image(index) for index in range(len(images_of_role.frames))])
    return {role if images.dtype in (np.int16, np.uint8) else f"{role}_field": images}
