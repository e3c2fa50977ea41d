"""What the plugin makes of outlines it is given; the networks are judged by triton_models/mr_brain/train.py."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node import Finding, Measurement, NotSuitable, Result, Segmentation, testing
from node.training.phantoms.brain import STRUCTURES

HERE = Path(__file__).parent
SHAPE, SPACING = (44, 48, 48), (2.8, 3.0, 3.0)
VOXEL_ML = 2.8 * 3.0 * 3.0 / 1000


def outlines(parts: int = len(STRUCTURES)) -> NDArray[np.uint8]:
    """Return labels of which part n has 2000 + 10 n voxels."""
    labels = np.zeros(SHAPE, np.uint8)
    counts = [2000 + 10 * number for number in range(1, parts + 1)]
    labels.ravel()[: sum(counts)] = np.repeat(np.arange(1, parts + 1), counts)
    return labels


def images(kept: int = SHAPE[0], spacing: tuple[float, float, float] = SPACING, **header: Any) -> list[Dataset]:
    made = testing.mr_series(array=np.full((kept, *SHAPE[1:]), 700), spacing=spacing)
    for image in made:
        for keyword, value in ({"BodyPartExamined": "BRAIN"} | header).items():
            setattr(image, keyword, value)
    return made


def results(
    given: list[Dataset], labels: NDArray[np.uint8], conditions: tuple[float, float] = (0.9, 0.2)
) -> tuple[Result, ...]:
    """Run the plugin on a model that answers with these labels and conditions; return its results."""

    def brain(image: NDArray[np.float32], affine: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        assert image.shape == labels.shape
        assert affine.shape == (4, 4)
        return {"labels": labels, "conditions": np.array(conditions, np.float32)}

    return testing.run_plugin(HERE, {"mr": given}, {"mr_brain": brain}, judge=False)


def test_every_part_is_outlined_and_has_the_volume_of_its_voxels() -> None:
    labels = outlines()
    found = results(images(), labels)
    (outlined, *_) = found
    assert isinstance(outlined, Segmentation)
    assert tuple(segment.label for segment in outlined.segments) == STRUCTURES
    assert np.array_equal(outlined.labels.array, labels)
    reported = {result.of.label: result.value for result in found if isinstance(result, Measurement) and result.of}
    expected = {name: (2000 + 10 * number) * VOXEL_ML for number, name in enumerate(STRUCTURES, 1)}
    assert reported == pytest.approx(expected, abs=0.006)
    (brain,) = (result.value for result in found if isinstance(result, Measurement) and not result.of)
    fluid = sum(value for name, value in expected.items() if "entricle" in name)
    assert brain == pytest.approx(sum(expected.values()) - fluid, abs=0.006)


def test_the_condition_that_fits_the_volumes_has_its_probability() -> None:
    found = results(images(), outlines())
    reported = {result.name.meaning: result for result in found if isinstance(result, Finding)}
    assert [item.present for item in reported.values()] == [True, False]
    assert reported["Volumes as in dementia"].score == pytest.approx(0.9)
    assert reported["Volumes as in Parkinson's disease"].score == pytest.approx(0.2)


def test_without_probabilities_of_conditions_there_are_no_findings() -> None:
    found = results(images(), outlines(), (np.nan, np.nan))
    assert not [result for result in found if isinstance(result, Finding)]


@pytest.mark.parametrize("seen", [14, 15])
def test_if_three_parts_are_missing_no_condition_is_reported(seen: int) -> None:
    found = results(images(), outlines(seen))
    assert len([result for result in found if isinstance(result, Finding)]) == (2 if seen == 15 else 0)
    assert len([result for result in found if isinstance(result, Measurement)]) == seen + 1


def test_echo_and_repetition_time_of_a_multi_frame_image_are_found() -> None:
    image = testing.enhanced_mr(slices=44, rows=48, columns=48, spacing=SPACING)
    image.BodyPartExamined = "BRAIN"
    echo = Dataset()
    echo.EffectiveEchoTime = 90.0
    image.PerFrameFunctionalGroupsSequence[0].MREchoSequence = [echo]
    (result,) = results([image], outlines())
    assert result == NotSuitable("an echo time of 90 ms makes no T1 contrast")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (images(BodyPartExamined="KNEE"), "another part of the body"),
        (images(ContrastBolusAgent="GADOLINIUM"), "contrast medium"),
        (images(ImageType=["DERIVED", "SECONDARY", "MIP"]), "projections"),
        (images(EchoTime=95), "echo time of 95 ms"),
        (images(ScanningSequence="SE", RepetitionTime=3000), "repetition time of 3000 ms"),
        (images(spacing=(4.8, 1.0, 1.0)), "4.8 mm are too coarse"),
        (images(kept=30), "too few"),
        (images(), "no whole brain"),
    ],
)
def test_images_that_are_no_t1_of_a_head_are_not_suitable(given: list[Dataset], words: str) -> None:
    (result,) = results(given, np.zeros(SHAPE, np.uint8))
    assert isinstance(result, NotSuitable)
    assert words in result.reason


def test_an_inversion_recovery_may_have_a_long_repetition_time() -> None:
    found = results(images(ScanningSequence=["SE", "IR"], RepetitionTime=2000), outlines())
    assert isinstance(found[0], Segmentation)
