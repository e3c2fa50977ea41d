"""The inputs of a volume model: arrays with their affines, named for the roles of a plugin."""

from collections.abc import Mapping

import numpy as np

from node.errors import UnsuitableSeries
from node.images.series import Series, Volume
from node.serving.input_names import input_names
from node.triton.client import HasArray
from node.triton.tensors import Array


def volume_inputs(volumes: Mapping[str, Volume]) -> dict[str, Array | HasArray]:
    """Return the inputs of a volume model that is given a volume for each role.

    They have the names of `node.serving.input_names`.

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
        names = input_names(role, tuple(volumes))
        inputs[names.image if volume.array.dtype == np.int16 else names.floats] = volume
        inputs[names.affine] = volume.affine
    return inputs


def image_inputs(series: Mapping[str, Series]) -> dict[str, Array | HasArray]:
    """Return the inputs of a volume model that is given images without a position in the patient.

    It has the name of `node.serving.input_names`.

    Raises
    ------
    UnsuitableSeries
        There are several series: their positions to each other are not known.
    """
    if len(series) > 1:
        raise UnsuitableSeries(f"the images for {', '.join(series)} have no place in the patient")
    ((role, images_of_role),) = series.items()
    names = input_names(role, (role,))
    images = np.stack([images_of_role.image(index) for index in range(len(images_of_role.frames))])
    return {names.image if images.dtype in (np.int16, np.uint8) else names.floats: images}
