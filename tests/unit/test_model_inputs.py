"""A model that was added gets a radiograph as it is meant to be seen, however it is stored."""

from pathlib import Path

import numpy as np
import pytest

from node import testing
from node.testing.data_set import set_pixels
from node.triton.model_inputs import image_inputs
from tests.matrix import series_in

SEEN = np.arange(48 * 40, dtype=np.uint16).reshape(48, 40) * 2
"""12 bits, higher is whiter."""


def given(image: object, folder: Path) -> np.ndarray:
    """Return the picture that a model is given."""
    ((picture,),) = image_inputs({"image": series_in(folder, [image])}).values()
    return np.asarray(picture, np.float64)


def test_a_radiograph_of_monochrome1_comes_as_its_twin_of_monochrome2(tmp_path: Path) -> None:
    twin = testing.radiograph(array=4095 - SEEN, photometric="MONOCHROME1")
    assert (given(twin, tmp_path / "twin") == SEEN).all()
    assert (given(testing.radiograph(array=SEEN), tmp_path / "plain") == SEEN).all()


def test_a_signed_twin_and_a_rescaled_twin_agree_too(tmp_path: Path) -> None:
    signed = testing.radiograph(array=SEEN, photometric="MONOCHROME1")
    set_pixels(signed, (-1 - (SEEN.astype(np.int16) - 2048)), bits_stored=12, photometric="MONOCHROME1")
    signed.PixelRepresentation = 1
    assert (given(signed, tmp_path / "signed") == SEEN.astype(np.int16) - 2048).all()
    rescaled = testing.radiograph(array=4095 - SEEN, photometric="MONOCHROME1")
    rescaled.RescaleSlope, rescaled.RescaleIntercept, rescaled.RescaleType = "2", "-100", "US"
    assert given(rescaled, tmp_path / "rescaled") == pytest.approx(2.0 * SEEN - 100)
