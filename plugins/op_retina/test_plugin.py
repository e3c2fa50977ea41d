"""What the plugin makes of the models' answers; the networks are judged by triton_models/op_retina/train.py."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node import Finding, Heatmap, Measurement, NotSuitable, Result, Segmentation, testing
from node.training.phantoms.fundus import fundus

HERE = Path(__file__).parent
ROWS = 240
PHOTO, VESSELS = fundus(ROWS, np.random.default_rng(2), grade=2)
WIDE = np.pad(PHOTO, ((10, 10), (60, 40), (0, 0)))
"""With a black margin, as cameras have it."""


def results(image: Dataset, levels: tuple[float, ...] = (0.1, 0.0, 0.0, 0.0)) -> tuple[Result, ...]:
    """Run the plugin with networks that tell these levels, and see vessels where the photograph's first row begins."""

    def grading(image: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        maps = np.ones((1, *image.shape[:3]), np.float32)
        return {"probabilities": np.array([levels], np.float32), "shown": np.array([0]), "maps": maps}

    def outlining(image: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        labels = np.zeros(image.shape[:3], np.uint8)
        labels[0, 40:60, 30:50] = 1
        return {"labels": labels}

    return testing.run_plugin(
        HERE, {"photo": [image]}, {"op_retina": grading, "op_retina_vessels": outlining}, judge=False
    )


@pytest.mark.parametrize(
    ("levels", "grade"),
    [
        ((0.1, 0.0, 0.0, 0.0), ""),
        ((0.9, 0.2, 0.1, 0.0), "312903003"),
        ((0.9, 0.7, 0.1, 0.3), "312904009"),
        ((0.9, 0.8, 0.6, 0.3), "312905005"),
        ((0.9, 0.8, 0.7, 0.6), "59276001"),
        ((0.2, 0.9, 0.9, 0.9), ""),
    ],
)
def test_the_grade_is_the_highest_level_that_is_likely_with_all_below_it(levels: tuple[float, ...], grade: str) -> None:
    reported = {
        result.name.value: result
        for result in results(testing.fundus_photograph(array=PHOTO), levels)
        if isinstance(result, Finding)
    }
    assert len(reported) == 6
    assert reported["4855003"].present == bool(grade)
    assert reported["REFERABLE_RETINOPATHY"].present == (grade not in ("", "312903003"))
    grades = {name: finding for name, finding in reported.items() if name not in ("4855003", "REFERABLE_RETINOPATHY")}
    assert [name for name, finding in grades.items() if finding.present] == [grade] * bool(grade)
    assert [finding.score for finding in grades.values()] == [None] * 4  # a grade is stated; its levels have scores


def test_map_and_vessels_lie_on_the_photograph_and_not_on_its_black_margin() -> None:
    found = results(testing.fundus_photograph(array=WIDE), (0.9, 0.2, 0.1, 0.0))
    (heat,) = (result for result in found if isinstance(result, Heatmap))
    (outlines,) = (result for result in found if isinstance(result, Segmentation))
    lit = WIDE.max(2) > 20
    assert heat.array.shape == outlines.labels.array.shape == (1, *WIDE.shape[:2])
    assert heat.array[0][lit].all()
    assert not heat.array[0, :, :60].any()
    top, left = np.flatnonzero(lit.any(1))[0], np.flatnonzero(lit.any(0))[0]
    assert outlines.labels.array[0, top + 40, left + 30] == 1
    assert outlines.labels.array.sum() == 400
    (density,) = (result for result in found if isinstance(result, Measurement))
    assert density.value == pytest.approx(100 * 400 / lit.sum(), abs=0.05)


def test_without_retinopathy_there_is_no_heat_map() -> None:
    assert not any(isinstance(result, Heatmap) for result in results(testing.fundus_photograph(array=PHOTO)))


def of_the_cornea() -> Dataset:
    image = testing.fundus_photograph(array=PHOTO)
    (region,) = image.AnatomicRegionSequence
    region.CodeValue, region.CodeMeaning = "28726007", "Cornea"
    return image


def grey() -> Dataset:
    image = testing.radiograph(array=PHOTO[..., 1], seed="grey")
    image.Modality = "OP"
    return image


def sequence() -> Dataset:
    image = testing.ultrasound(frames=3)
    image.Modality = "OP"
    return image


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (of_the_cornea(), "another part of the body: Cornea"),
        (grey(), "not in colour"),
        (sequence(), "3 frames"),
        (testing.fundus_photograph(array=PHOTO[::2, ::2].copy()), "too few"),
        (testing.fundus_photograph(array=PHOTO[..., ::-1].copy()), "no red"),
        (testing.fundus_photograph(array=np.zeros_like(PHOTO)), "too few"),
    ],
)
def test_images_that_are_no_colour_photograph_of_a_retina_are_not_suitable(image: Dataset, words: str) -> None:
    (result,) = results(image)
    assert isinstance(result, NotSuitable)
    assert words in result.reason


def test_an_older_header_names_the_retina_in_another_scheme() -> None:
    image = testing.fundus_photograph(array=PHOTO)
    (region,) = image.AnatomicRegionSequence
    region.CodeValue, region.CodingSchemeDesignator = "T-AA610", "SRT"
    assert any(isinstance(result, Finding) for result in results(image))
