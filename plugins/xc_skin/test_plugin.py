"""What the plugin makes of the models' answers; the networks are judged by triton_models/xc_skin/train.py."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node import Finding, Heatmap, NotSuitable, Result, Segmentation, testing
from node.training.phantoms.skin import LESIONS, lesion

HERE = Path(__file__).parent
PHOTO, OUTLINE = lesion(128, np.random.default_rng(4), kind="mel")


def results(image: Dataset, *, outline: NDArray[np.uint8] = OUTLINE) -> tuple[Result, ...]:
    """Run the plugin with a network that finds melanoma, and another that returns this outline."""

    def naming(image: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        probabilities = np.full((1, len(LESIONS)), 0.05, np.float32)
        probabilities[0, LESIONS.index("mel")] = 0.7
        maps = np.ones((1, *image.shape[:3]), np.float32)
        return {"probabilities": probabilities, "shown": np.array([4]), "maps": maps}

    def outlining(image: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        return {"labels": outline[None]}

    return testing.run_plugin(HERE, {"photo": [image]}, {"xc_skin": naming, "xc_skin_lesion": outlining})


@pytest.mark.parametrize("modality", ["XC", "ES"])
def test_a_lesion_is_outlined_and_has_seven_probabilities(modality: str) -> None:
    found = results(testing.photograph(array=PHOTO, modality=modality))
    (outlines,) = (result for result in found if isinstance(result, Segmentation))
    assert np.array_equal(outlines.labels.array[0], OUTLINE)
    reported = [result for result in found if isinstance(result, Finding)]
    assert [item.name.meaning for item in reported if item.present] == ["Malignant melanoma of skin"]
    assert sum(item.score or 0 for item in reported) == pytest.approx(1.0)
    assert {item.of for item in reported} == set(outlines.segments)
    (heat,) = (result for result in found if isinstance(result, Heatmap))
    assert heat.array.shape == (1, *PHOTO.shape[:2])


def test_without_a_lesion_there_is_no_answer() -> None:
    assert results(testing.photograph(array=PHOTO), outline=np.zeros_like(OUTLINE)) == (
        NotSuitable("no lesion is seen in it"),
    )


def of_the_bowel() -> Dataset:
    image = testing.photograph(array=PHOTO, modality="ES")
    image.BodyPartExamined = "COLON"
    (region,) = image.AnatomicRegionSequence
    region.CodeValue, region.CodeMeaning = "71854001", "Colon"
    return image


def as_photograph(image: Dataset) -> Dataset:
    image.Modality = "XC"
    return image


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (of_the_bowel(), "of an endoscope"),
        (as_photograph(testing.ultrasound(frames=3)), "3 frames"),
        (as_photograph(testing.radiograph()), "not in colour"),
        (testing.photograph(array=PHOTO[::2, ::2].copy()), "64 × 64 pixels"),
    ],
)
def test_images_that_are_no_photograph_of_skin_are_not_suitable(image: Dataset, words: str) -> None:
    (result,) = results(image)
    assert isinstance(result, NotSuitable)
    assert words in result.reason
