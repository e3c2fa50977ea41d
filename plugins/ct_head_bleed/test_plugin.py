"""What the plugin makes of the model's answers; the network is judged by triton_models/ct_head_bleed/train.py."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node import Finding, Heatmap, KeyImages, NotSuitable, Result, Summary, testing
from node.training.phantoms import head

HERE = Path(__file__).parent
HEIGHTS = np.arange(-50, 51, 5.0)
ROWS = 64


def images_of(**values: Any) -> list[Dataset]:
    """Return images of a head, with values of their headers."""
    hu, _ = head.with_bleeds(HEIGHTS, ROWS, np.random.default_rng(1), bleeds=[])
    images = testing.ct_series(array=hu, spacing=(5.0, 240 / ROWS, 240 / ROWS))
    for image in images:
        image.BodyPartExamined = "HEAD"
        for keyword, value in values.items():
            setattr(image, keyword, value)
    return images


def results(images: list[Dataset], *, bleeding: dict[int, float] | None = None) -> tuple[Result, ...]:
    """Run the plugin; subdural blood is seen in some slices, with a probability."""

    def model(image: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        probabilities = np.full((len(image), 6), 0.1, np.float32)
        for index, probability in (bleeding or {}).items():
            probabilities[index, [0, 5]] = probability
        maps = np.linspace(0, 1, image.size, dtype=np.float32).reshape(1, *image.shape)
        return {"probabilities": probabilities, "shown": np.array([0]), "maps": maps}

    return testing.run_plugin(HERE, {"ct": images}, {"ct_head_bleed": model})


def test_blood_is_a_finding_with_a_heat_map_and_key_images() -> None:
    images = images_of()
    found = results(images, bleeding={3: 0.6, 12: 0.9, 13: 0.4})
    reported = {result.name.value: result for result in found if isinstance(result, Finding)}
    assert len(reported) == 6
    assert [name for name, finding in reported.items() if finding.present] == ["1386000", "35486000"]
    assert reported["35486000"].score == pytest.approx(0.9)
    (heat,) = (result for result in found if isinstance(result, Heatmap))
    assert heat.array.shape == (len(HEIGHTS), ROWS, ROWS)
    (key,) = (result for result in found if isinstance(result, KeyImages))
    assert [frame.sop_instance_uid for frame in key.images] == [images[3].SOPInstanceUID, images[12].SOPInstanceUID]


def test_at_most_five_images_are_key_images() -> None:
    found = results(images_of(), bleeding={index: 0.5 + index / 100 for index in range(2, 12)})
    (key,) = (result for result in found if isinstance(result, KeyImages))
    assert len(key.images) == 5


def test_without_blood_there_are_findings_alone() -> None:
    found = results(images_of())
    assert {result.present for result in found if isinstance(result, Finding)} == {False}
    assert found[6:] == (Summary("No haemorrhage inside the skull found", glance="no haemorrhage found"),)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (images_of(BodyPartExamined="CHEST"), "another part of the body"),
        (images_of(ContrastBolusAgent="IODINE"), "contrast medium"),
        (images_of()[:6], "too few"),
        (images_of(PixelSpacing=[6.0, 6.0]), "too wide"),
        (testing.ct_series(slices=20, array=np.full((20, 32, 32), 40), spacing=(5.0, 5.0, 5.0)), "no skull"),
    ],
)
def test_images_that_are_no_plain_head_are_not_suitable(images: list[Dataset], words: str) -> None:
    for image in images:
        if words == "no skull":
            del image.BodyPartExamined
    (result,) = results(images)
    assert isinstance(result, NotSuitable)
    assert words in result.reason
