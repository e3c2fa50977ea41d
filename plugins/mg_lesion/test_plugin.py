"""What the plugin makes of the models' answers; density is tested in tests/unit/test_density.py."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node import Finding, Measurement, NotSuitable, Region, Result, testing

HERE = Path(__file__).parent
ROWS, COLUMNS = 320, 260


def results(image: Dataset, *, breast: bool = True, dense: float = 0.3) -> tuple[Result, ...]:
    """Run the plugin on a breast of 200 × 150 pixels, with two masses in it and one outside, and a cluster."""

    def model(image: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        tissue, answer = np.zeros(image.shape, np.uint8), np.zeros(image.shape, np.uint8)
        if breast:
            tissue[0, 60:260, :150] = 1
            tissue[0, 60 : 60 + round(200 * dense), :150] = 2
        answer[0, 100:110, 20:30] = 1
        answer[0, 150:170, 50:80] = 1
        answer[0, 20:40, 200:220] = 1
        answer[0, 200:212, 100:112] = 2
        answer[0, 240:242, 10:12] = 2
        return {"labels": answer, "tissue": tissue}

    return testing.run_plugin(HERE, {"mg": [image]}, {"mg_lesion": model}, judge=False)


def mammogram(*, rows: int = ROWS, **values: Any) -> Dataset:
    image = testing.mammogram(rows=rows, columns=COLUMNS)
    image.ViewPosition = "CC"
    image.ImagerPixelSpacing = [0.5, 0.5]
    for keyword, value in values.items():
        setattr(image, keyword, value)
    return image


def measured(found: tuple[Result, ...]) -> dict[tuple[str, str], float]:
    values = [result for result in found if isinstance(result, Measurement)]
    return {(value.of.label if value.of else "", value.name.meaning): value.value for value in values}


def present(found: tuple[Result, ...]) -> list[str]:
    return [result.name.meaning for result in found if isinstance(result, Finding) and result.present]


def test_lesions_within_the_breast_are_outlined_and_measured_the_largest_first() -> None:
    found = results(mammogram())
    regions = {result.label: result.points for result in found if isinstance(result, Region)}
    assert {label: [points.min(0).tolist(), points.max(0).tolist()] for label, points in regions.items()} == {
        "Breast": [[0, 60], [150, 260]],
        "Mass 1": [[50, 150], [80, 170]],
        "Mass 2": [[20, 100], [30, 110]],
        "Calcifications 1": [[100, 200], [112, 212]],
    }
    values = measured(found)
    assert (values["Mass 1", "Width"], values["Mass 1", "Length"]) == (15.0, 10.0)
    assert values["Breast", "Area"] == pytest.approx(200 * 150 * 0.25 / 100)
    assert values["Breast", "Percent Fibroglandular Tissue"] == pytest.approx(30)


def test_a_magnified_view_is_measured_in_the_breast() -> None:
    values = measured(results(mammogram(EstimatedRadiographicMagnificationFactor=2)))
    assert values["Mass 1", "Width"] == 7.5


def test_without_a_size_of_pixels_there_is_density_and_nothing_in_mm() -> None:
    image = mammogram()
    del image.ImagerPixelSpacing
    assert [name for _, name in measured(results(image))] == ["Percent Fibroglandular Tissue"]


@pytest.mark.parametrize(
    ("dense", "composition"),
    [
        (0.1, "Almost entirely fat"),
        (0.3, "Scattered fibroglandular densities"),
        (0.6, "Heterogeneously dense"),
        (1.0, "Extremely dense"),
    ],
)
def test_the_composition_follows_from_percent_density(dense: float, composition: str) -> None:
    assert present(results(mammogram(), dense=dense))[0] == composition


def test_density_is_measured_from_above_alone() -> None:
    found = results(mammogram(ViewPosition="MLO"))
    assert not any("Fibroglandular" in name for _, name in measured(found))
    assert present(found) == ["Mass", "Calcification Cluster"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"PresentationIntentType": "FOR PROCESSING"}, "for processing"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "STEREO_SCOUT"]}, "one for a biopsy"),
        ({"BreastImplantPresent": "YES"}, "an implant"),
        ({"rows": 100}, "show too little"),
        ({"NumberOfFrames": 2, "PixelData": bytes(2 * 2 * ROWS * COLUMNS)}, "several frames"),
    ],
)
def test_images_that_are_no_mammogram_are_not_suitable(values: dict[str, Any], words: str) -> None:
    (result,) = results(mammogram(**values))
    assert isinstance(result, NotSuitable)
    assert words in result.reason


def test_without_a_breast_nothing_is_reported() -> None:
    (result,) = results(mammogram(), breast=False)
    assert result == NotSuitable("no breast is seen in the image")
