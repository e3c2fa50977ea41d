"""The volume is measured in both studies, and compared where there is a prior."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node import Comparison, Measurement, testing

HERE = Path(__file__).parent


def fake_model(image: NDArray[np.int16]) -> dict[str, NDArray[np.uint8]]:
    return {"mask": (image > 200).astype(np.uint8)}


def images(edge: int, date: str, seed: str) -> list[Dataset]:
    """Return a CT of a date with a dense cube of an edge, in voxels of 1 mm."""
    array = np.full((16, 32, 32), -1000, np.int16)
    array[2 : 2 + edge, 8 : 8 + edge, 8 : 8 + edge] = 400
    found = testing.ct_series(array=array, spacing=(1.0, 1.0, 1.0), seed=seed)
    for image in found:
        image.StudyDate = date
    return found


def test_the_change_since_the_prior_is_reported() -> None:
    given = {"ct": images(10, "20240102", "now"), "prior": images(5, "20230102", "before")}
    _, comparison = testing.run_plugin(HERE, given, {"template": fake_model})
    assert isinstance(comparison, Comparison)
    assert comparison.percent == pytest.approx(700)
    assert comparison.days == 365


def test_without_a_prior_the_volume_is_reported_alone() -> None:
    _, measurement = testing.run_plugin(HERE, {"ct": images(10, "20240102", "now")}, {"template": fake_model})
    assert isinstance(measurement, Measurement)
    assert measurement.value == pytest.approx(1.0)
