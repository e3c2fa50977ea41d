"""What the plugin makes of the model's answers; the network is judged by triton_models/cxr_findings/train.py."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node import Finding, Heatmap, NotSuitable, Result, testing

HERE = Path(__file__).parent
ROWS, COLUMNS = 160, 130
MASS, PNEUMOTHORAX = 13, 18


def results(
    image: Dataset, *, correlation: float = 0.6, given: list[NDArray[np.float32]] | None = None
) -> tuple[Result, ...]:
    """Run the plugin: a mass is seen in the upper left corner of what the network is given, and little else."""

    def quality(image: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        return {"chest": np.array([correlation, 0, 0, 0, 0], np.float32)}

    def model(image: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        if given is not None:
            given.append(image[0])
        probabilities = np.full((len(image), 20), 0.1, np.float32)
        probabilities[:, MASS], probabilities[:, PNEUMOTHORAX] = 0.9, 0.4
        maps = np.zeros((2, *image.shape), np.float32)
        maps[0, :, :20, :20] = 1
        return {"probabilities": probabilities, "shown": np.array([MASS, PNEUMOTHORAX]), "maps": maps}

    return testing.run_plugin(HERE, {"xray": [image]}, {"cxr_quality": quality, "cxr_findings": model})


def chest(*, rows: int = ROWS, photometric: str = "MONOCHROME2", **values: Any) -> Dataset:
    image = testing.radiograph(rows=rows, columns=COLUMNS, photometric=photometric)
    for keyword, value in values.items():
        setattr(image, keyword, value)
    return image


def test_twenty_findings_and_a_map_of_each_that_is_there() -> None:
    found = results(chest())
    reported = {result.name.meaning: result for result in found if isinstance(result, Finding)}
    assert len(reported) == 20
    assert [name for name, finding in reported.items() if finding.present] == ["Mass"]
    assert reported["Mass"].score == pytest.approx(0.9)
    assert reported["Pneumothorax"].score == pytest.approx(0.4)
    (heat,) = (result for result in found if isinstance(result, Heatmap))
    assert heat.label == "Where it was seen: Mass"
    assert heat.array[0, :20, :20].all()
    assert heat.array.sum() == 400


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [(["L", "F"], np.s_[:, :]), (["R", "F"], np.s_[:, ::-1]), (["R", "H"], np.s_[::-1, ::-1]), ("", np.s_[:, :])],
)
def test_the_network_sees_the_image_upright_and_the_map_lies_on_the_image(
    orientation: Any, turned: tuple[slice, slice]
) -> None:
    given: list[NDArray[np.float32]] = []
    image = chest(PatientOrientation=orientation)
    (heat,) = (result for result in results(image, given=given) if isinstance(result, Heatmap))
    assert (given[0] == image.pixel_array[turned]).all()
    assert heat.array[0][turned][:20, :20].all()


@pytest.mark.parametrize(("photometric", "correlation"), [("MONOCHROME1", 0.6), ("MONOCHROME2", -0.6)])
def test_an_image_that_was_stored_or_exported_inverted_is_inverted_again(photometric: str, correlation: float) -> None:
    given: list[NDArray[np.float32]] = []
    image = chest(photometric=photometric)
    results(image, correlation=correlation, given=given)
    assert (given[0] == -image.pixel_array.astype(np.float32)).all()


def test_a_chest_that_the_guard_accepts_is_answered_though_disease_makes_it_unlike_two_lungs() -> None:
    given: list[NDArray[np.float32]] = []
    assert not any(isinstance(result, NotSuitable) for result in results(chest(), correlation=0.1, given=given))
    assert len(given) == 1


def test_the_pixels_decide_whatever_the_header_calls_the_part_of_the_body() -> None:
    assert not any(isinstance(result, NotSuitable) for result in results(chest(BodyPartExamined="RIBCAGE")))


@pytest.mark.parametrize(
    ("image", "correlation", "words"),
    [
        (chest(rows=100), 0.6, "show too little"),
    ],
)
def test_images_that_are_no_frontal_chest_are_not_suitable(image: Dataset, correlation: float, words: str) -> None:
    (result,) = results(image, correlation=correlation)
    assert isinstance(result, NotSuitable)
    assert words in result.reason
