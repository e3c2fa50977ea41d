"""What the plugin makes of the model's answer; the network is judged by triton_models/mr_to_ct/train.py."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node import DerivedSeries, NotSuitable, Result, Summary, codes, testing

HERE = Path(__file__).parent


def images_of(slices: int = 12, **values: Any) -> list[Dataset]:
    images = testing.mr_series(slices=slices, spacing=(6.0, 2.0, 2.0))
    for image in images:
        image.BodyPartExamined = "HEAD"
        for keyword, value in values.items():
            setattr(image, keyword, value)
    return images


def results(images: list[Dataset]) -> tuple[Result, ...]:
    """Run the plugin; the model says that all is 40.4 HU, but for one voxel."""

    def model(image: NDArray[np.int16], affine: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        values = np.full(image.shape, 40.4, np.float32)
        values[0, 0, 0] = 5000
        return {"values": values, "affine": affine}

    return testing.run_plugin(HERE, {"mr": images}, {"mr_to_ct": model}, judge=False)


def test_the_answer_is_a_synthetic_series_of_whole_hu() -> None:
    made, summary = results(images_of())
    assert summary == Summary("HU were estimated from MR; no CT was acquired", glance="HU estimated from MR")
    assert isinstance(made, DerivedSeries)
    assert made.synthetic
    assert made.unit == codes.UCUM.HounsfieldUnit
    assert made.array.dtype == np.int16
    assert (made.array[1, 1, 1], made.array[0, 0, 0]) == (40, 3071)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (images_of(SyntheticData="YES"), "never measured"),
        (images_of(BodyPartExamined="PELVIS"), "PELVIS"),
        (images_of(EchoTime=90), "echo time is 90 ms"),
        (images_of(6), "6 slices over 36 mm"),
        ([testing.enhanced_mr(slices=12)], "frames of one image"),
        (testing.without(images_of(20), 9), "missing"),
    ],
)
def test_images_that_are_no_t1_weighted_head_are_not_suitable(images: list[Dataset], words: str) -> None:
    for image in images:
        if "PerFrameFunctionalGroupsSequence" in image:
            image.BodyPartExamined = "HEAD"
    (result,) = results(images)
    assert isinstance(result, NotSuitable)
    assert words in result.reason
