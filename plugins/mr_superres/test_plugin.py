"""What the plugin makes of the model's answer; the network is judged by triton_models/mr_superres/train.py."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node import Caveat, DerivedSeries, NotSuitable, Result, Summary, codes, testing

HERE = Path(__file__).parent
SPACING = 4.0, 0.9, 0.9


def images_of(slices: int = 10, spacing: tuple[float, float, float] = SPACING, **values: Any) -> list[Dataset]:
    images = testing.mr_series(slices=slices, spacing=spacing)
    for image in images:
        image.BodyPartExamined = "HEAD"
        for keyword, value in values.items():
            setattr(image, keyword, value)
    return images


def results(images: list[Dataset], *, darker: float = 1.0, shifted: float = 0.0) -> tuple[Result, ...]:
    """Run the plugin; the model repeats each slice four times, and gives one value that no slice has."""

    def model(image: NDArray[np.int16], affine: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        values = np.repeat(image, 4, 0)[: 4 * len(image) - 3].astype(np.float32) * np.float32(darker)
        values[0, 0, 0] = 1e5
        there = affine @ np.diag([0.25, 1, 1, 1])
        there[:3, 3] += shifted * there[:3, 0]
        return {"values": values, "affine": there}

    return testing.run_plugin(HERE, {"mr": images}, {"mr_superres": model})


def test_the_answer_is_a_series_of_its_own_grid_within_the_values_there_were() -> None:
    images = images_of()
    made, said, summary = results(images)
    assert isinstance(said, Caveat)
    assert said.text.startswith("Where new slices lie on measured ones (10 of 10), their values differ by 0 % of")
    assert isinstance(summary, Summary)
    assert "4.0 mm apart, were estimated" in summary.text
    assert isinstance(made, DerivedSeries)
    assert made.array.shape == (37, 32, 32)
    assert made.affine is not None
    assert np.linalg.norm(made.affine[:3, 0]) == pytest.approx(1.0)
    assert made.array.max() == max(image.pixel_array.max() for image in images)
    assert made.derivation == codes.DCM.SpatialResampling


@pytest.mark.parametrize(
    ("darker", "shifted", "words"),
    [(0.97, 0.0, "differ by 3 % of the signal"), (1.0, 0.5, "is not known: none lies in the same place")],
)
def test_how_far_new_slices_differ_from_measured_ones_is_said(darker: float, shifted: float, words: str) -> None:
    (said,) = (item.text for item in results(images_of(), darker=darker, shifted=shifted) if isinstance(item, Caveat))
    assert words in said


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (images_of(SyntheticData="YES"), "never measured"),
        (images_of(BodyPartExamined="KNEE"), "KNEE"),
        ([testing.enhanced_mr(slices=10)], "frames of one image"),
        (images_of(5), "5 slices are too few"),
        (images_of(spacing=(2.0, 0.9, 0.9)), "2.0 mm apart, which is thin already"),
        (images_of(spacing=(8.0, 0.9, 0.9)), "8.0 mm apart, more than"),
        (images_of(spacing=(4.0, 2.0, 2.0)), "2.0 mm wide"),
        (images_of(spacing=(6.0, 0.9, 0.9), SliceThickness=3.0), "what was never seen"),
        (testing.without(images_of(20), 9), "missing"),
    ],
)
def test_images_that_are_no_thick_slices_of_a_head_are_not_suitable(images: list[Dataset], words: str) -> None:
    for image in images:
        if "PerFrameFunctionalGroupsSequence" in image:
            image.BodyPartExamined = "HEAD"
    (result,) = results(images)
    assert isinstance(result, NotSuitable)
    assert words in result.reason
