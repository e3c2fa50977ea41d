"""What a plugin's test looks like: images made on the spot, a fake Triton, results as plain values."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from node import Measurement, Segmentation, testing

HERE = Path(__file__).parent


def fake_model(image: NDArray[np.int16]) -> dict[str, NDArray[np.uint8]]:
    return {"mask": (image > 200).astype(np.uint8)}


def test_a_dense_block_is_outlined_where_it_lies_and_measured() -> None:
    array = np.full((5, 32, 32), -1000, np.int16)
    array[1:4, 8:16, 8:16] = 400
    images = testing.ct_series(array=array, spacing=(2.0, 1.0, 1.0))

    segmentation, measurement = testing.run_plugin(HERE, {"ct": images}, {"template": fake_model})

    assert isinstance(segmentation, Segmentation)
    assert (segmentation.labels.array == (array > 200)).all()
    assert isinstance(measurement, Measurement)
    assert measurement.value == pytest.approx(3 * 8 * 8 * 2.0 / 1000)
