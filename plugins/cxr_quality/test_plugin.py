"""What the plugin makes of the model's answers; the model itself is tested in tests/unit/test_radiograph.py."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node import Finding, Measurement, NotSuitable, Region, testing

HERE = Path(__file__).parent
Model = Callable[[NDArray[np.float32]], Mapping[str, NDArray[Any]]]


def model(*, correlation: float = 0.6, measures: tuple[float, ...] = (0.01, 0, 0, 0), markers: Any = ()) -> Model:
    def answer(image: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        lungs = np.zeros(image.shape, np.uint8)
        lungs[10:50, 8:20], lungs[12:48, 28:40] = 1, 2
        return {
            "chest": np.array([correlation, 10, 8, 50, 40], np.float32),
            "lungs": lungs,
            "measures": np.array(measures, np.float32),
            "markers": np.array(markers, np.float32).reshape(-1, 6),
        }

    return answer


def looked_at(image: Dataset, answer: Model) -> dict[str, bool]:
    results = testing.run_plugin(HERE, {"xray": [image]}, {"cxr_quality": answer})
    return {result.name.meaning: bool(result.present) for result in results if isinstance(result, Finding)}


def test_a_good_chest_has_nothing_wrong_and_a_box_around_its_lungs() -> None:
    results = testing.run_plugin(HERE, {"xray": [testing.radiograph()]}, {"cxr_quality": model()})
    present = [result.name.meaning for result in results if isinstance(result, Finding) and result.present]
    assert present == ["Frontal view of the chest"]
    (lungs,) = [result for result in results if isinstance(result, Region)]
    assert lungs.points.tolist() == [[8, 10], [40, 50]]
    assert [result.value for result in results if isinstance(result, Measurement)] == [1.0]


@pytest.mark.parametrize(
    ("answer", "finding"),
    [
        (model(correlation=-0.6), "Grey scale inverted"),
        (model(measures=(-0.08, 0, 0, 0)), "Mediastinum off the middle: rotated, or one lung smaller"),
        (model(measures=(0, 0.1, 0, 0)), "Anatomy coverage incomplete"),
        (model(measures=(0, 0, 0.2, 0)), "Over exposed"),
        (model(measures=(0, 0, 0, 0.2)), "Under exposed"),
        (model(correlation=0.2), "View is not the one in the header"),
    ],
)
def test_faults_of_a_radiograph_are_found(answer: Model, finding: str) -> None:
    assert looked_at(testing.radiograph(), answer)[finding]


@pytest.mark.parametrize(
    ("letter", "column", "orientation", "wrong"),
    [
        (0, 42, "L", False),
        (0, 2, "L", True),
        (1, 2, "L", False),
        (1, 42, "L", True),
        (0, 42, "R", True),
        (0, 2, "R", False),
    ],
)
def test_a_marker_belongs_on_the_side_where_the_header_puts_it(
    letter: int, column: int, orientation: str, *, wrong: bool
) -> None:
    image = testing.radiograph()
    image.PatientOrientation = [orientation, "F"]
    found = looked_at(image, model(markers=[[letter, 0.9, 1, column, 6, column + 4]]))
    assert found["View and Laterality Marker is incorrect"] == wrong


@pytest.mark.parametrize(("deviation", "found"), [(-4.0, "Under exposed"), (4.0, "Over exposed"), (1.0, None)])
def test_the_deviation_index_gives_the_exposure(deviation: float, found: str | None) -> None:
    image = testing.radiograph()
    image.DeviationIndex = deviation
    seen = looked_at(image, model(measures=(0, 0, 0.2, 0.2)))
    assert [name for name in ("Under exposed", "Over exposed") if seen[name]] == ([found] if found else [])


def test_the_model_gets_the_image_as_it_is_displayed() -> None:
    seen: list[NDArray[np.float32]] = []

    def watching(image: NDArray[np.float32]) -> Mapping[str, NDArray[Any]]:
        seen.append(image)
        return model()(image)

    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        looked_at(testing.radiograph(photometric=photometric), watching)
    assert (seen[0] == -seen[1]).all()


def test_an_image_that_the_guard_refuses_is_not_suitable() -> None:
    def no(**_: Any) -> Mapping[str, NDArray[Any]]:
        return {"suitable": np.array([False]), "reason": np.array(["a foot"]), "score": np.zeros(1, np.float32)}

    models: dict[str, Callable[..., Mapping[str, NDArray[Any]]]]
    models = {"cxr_quality": model(), "guard_chest_or_negative": no}
    (result,) = testing.run_plugin(HERE, {"xray": [testing.radiograph()]}, models)
    assert isinstance(result, NotSuitable)
    assert "a foot" in result.reason
