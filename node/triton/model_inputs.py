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

    It has the name of `node.serving.input_names`. MONOCHROME1 is turned over (PS3.3 C.7.6.3.1.2): a network
    gets the values of the same picture stored as MONOCHROME2.

    Raises
    ------
    UnsuitableSeries
        There are several series: their positions to each other are not known.
    """
    if len(series) > 1:
        raise UnsuitableSeries(f"the images for {', '.join(series)} have no place in the patient")
    ((role, images_of_role),) = series.items()
    names = input_names(role, (role,))
    images = np.stack([_as_seen(images_of_role, index) for index in range(len(images_of_role.frames))])
    return {names.image if images.dtype in (np.int16, np.uint8) else names.floats: images}


def _as_seen(series: Series, index: int) -> Array:
    """Return an image with higher values whiter: the ends of what its bits can hold change places."""
    image, frame = series.image(index), series.frames[index]
    values = frame.image.values
    if image.ndim == 3 or values.get("PhotometricInterpretation") != "MONOCHROME1":
        return image
    bits = int(values.get("BitsStored") or 0)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if values.get("PixelRepresentation") else (0, 2**bits - 1)
    ends = (low + high) * frame.slope + 2 * frame.intercept
    if frame.lut is not None:
        ends = float(image.min()) + float(image.max())
    turned = ends - image.astype(np.float64)
    fits = image.dtype == np.int16 and turned.min() >= -(2**15) and turned.max() < 2**15
    return np.asarray(turned.round(), np.int16) if fits else np.asarray(turned, np.float32)
