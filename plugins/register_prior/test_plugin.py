"""What the plugin makes of the model's answers; the method itself is tested in tests/unit/test_registering.py."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node import DerivedSeries, Measurement, NotSuitable, Registration, Result, testing

HERE = Path(__file__).parent


def answer(**changed: NDArray[Any]) -> Any:
    def register(**given: NDArray[Any]) -> dict[str, NDArray[Any]]:
        assert given["fixed"].dtype == given["moving"].dtype == given["outside"].dtype == np.int16
        matrix = np.eye(4)
        matrix[:3, 3] = 3, -2, 5
        outputs: dict[str, NDArray[Any]] = {
            "matrix": matrix,
            "vectors": np.zeros((3, 4, 4, 3), np.float32),
            "vectors_affine": np.diag([20.0, 8.0, 8.0, 1.0])[[2, 1, 0, 3]],
            "image": given["fixed"] // 2,
            "likeness": np.array([0.1, 0.5, 0.7]),
            "least_jacobian": np.array([0.7]),
            "overlap": np.array([0.9, 0.95]),
            "mirrored": np.array([0.6, 0.5, 0.4, 0.3]),
        }
        return outputs | changed

    return register


def study(seed: str, make: Any = testing.ct_series, **wanted: Any) -> list[Dataset]:
    images: list[Dataset] = make(slices=20, rows=16, columns=16, seed=seed, **wanted)
    return images


def results(model: Any, now: list[Dataset], before: list[Dataset] | None) -> tuple[Result, ...]:
    images = {"image": now} | ({"prior": before} if before else {})
    return testing.run_plugin(HERE, images, {"register_prior": model})


def test_it_gives_the_motion_the_deformation_and_the_prior_in_place() -> None:
    rigid, deformed, series, *measured = results(answer(), study("now"), study("before"))
    assert isinstance(rigid, Registration)
    assert isinstance(deformed, Registration)
    assert isinstance(series, DerivedSeries)
    assert rigid.deformation is None
    assert deformed.deformation is not None
    assert rigid.matrix[:3, 3].tolist() == deformed.matrix[:3, 3].tolist() == [3, -2, 5]
    assert series.source is rigid.fixed
    assert series.shows is rigid.moving
    assert "PRIOR" in series.description
    assert [result.value for result in measured if isinstance(result, Measurement)] == [0.5, 0.7]


def test_values_that_are_no_whole_numbers_come_back_as_they_were() -> None:
    images = study("now", testing.mr_series), study("before", testing.mr_series)
    for item in (*images[0], *images[1]):
        item.RescaleSlope, item.RescaleIntercept = 0.25, 0
    _, _, series, *_ = results(answer(), *images)
    assert isinstance(series, DerivedSeries)
    half = np.stack([image.pixel_array for image in images[0]]) * 0.25 / 2
    assert np.abs(series.array - half).max() <= half.max() / 1000


def test_without_a_prior_there_is_nothing_to_register() -> None:
    assert results(answer(), study("now"), None) == (
        NotSuitable("no earlier series of the patient that is like it was found"),
    )


def test_too_few_slices_are_not_suitable() -> None:
    few = testing.ct_series(slices=4, rows=16, columns=16, seed="before")
    (result,) = results(answer(), study("now"), few)
    assert result == NotSuitable("the prior's images are 4 slices over 10 mm, too few to be registered")


TURNED = np.array([[0.0, -1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"likeness": np.array([0.1, 0.3, 0.35])}, "correlation is 0.35"),
        ({"mirrored": np.array([0.6, 0.5, 0.4, 0.7])}, "fits better when it is upside down, by 0.10"),
        ({"least_jacobian": np.array([0.24])}, "squeezed to 0.24"),
        ({"least_jacobian": np.array([-0.1])}, "squeezed to -0.10"),
        ({"overlap": np.array([0.1, 0.95])}, "shows 0.10 of the present images"),
        ({"overlap": np.array([0.9, 0.6])}, "Dice of 0.60"),
        ({"matrix": TURNED}, "turned by 90 degrees"),
    ],
)
def test_images_of_different_content_are_not_suitable(changed: dict[str, NDArray[Any]], words: str) -> None:
    (result,) = results(answer(**changed), study("now"), study("before"))
    assert isinstance(result, NotSuitable)
    assert words in result.reason


def test_images_without_a_frame_of_reference_are_not_suitable() -> None:
    now = study("now")
    for item in now:
        del item.FrameOfReferenceUID
    (result,) = results(answer(), now, study("before"))
    assert isinstance(result, NotSuitable)
    assert "Frame of Reference" in result.reason


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_voxels_outside_the_prior_are_air_or_zero(modality: str) -> None:
    sent: list[int] = []

    def model(**given: NDArray[Any]) -> dict[str, NDArray[Any]]:
        sent.append(int(given["outside"][0]))
        outputs: dict[str, NDArray[Any]] = answer()(**given)
        return outputs

    make = testing.ct_series if modality == "CT" else testing.mr_series
    results(model, study("now", make), study("before", make))
    assert sent == [-1024 if modality == "CT" else 0]
