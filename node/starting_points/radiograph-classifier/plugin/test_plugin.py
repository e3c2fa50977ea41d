"""The score of the model is the score of the finding, and the threshold says what it means."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from node import Finding, testing

HERE = Path(__file__).parent


def finding(score: float) -> Finding:
    """Return the finding where the model gives a score."""

    def fake_model(image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        assert image.ndim == 2
        return {"score": np.array([score], np.float32)}

    (found,) = testing.run_plugin(HERE, {"xray": [testing.radiograph()]}, {"template": fake_model})
    assert isinstance(found, Finding)
    return found


def test_a_high_score_is_present_and_a_low_one_absent() -> None:
    assert finding(0.9).present
    assert not finding(0.1).present


def test_just_below_the_threshold_it_is_indeterminate() -> None:
    assert finding(0.45).presence == "indeterminate"
