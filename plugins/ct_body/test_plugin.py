"""What the plugin makes of the model's answers; the model itself is tested in tests/unit/test_tissue.py."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from node import Caveat, Finding, Measurement, NotSuitable, Segmentation, codes, testing

HERE = Path(__file__).parent


def model(*, score: float = 120.0, contrast: float = 0.0, reason: str = "") -> Any:
    def answer(image: NDArray[np.int16], affine: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        labels = np.zeros(image.shape, np.uint8)
        labels[1, :4] = [[1], [2], [3], [4]]
        return {
            "labels": labels,
            "statistics": np.array([[100, 450.04], [2000, 40], [3000, -100], [500, -95], [0.25, 300]], np.float64),
            "score": np.array([score, 200.0, contrast]),
            "reason": np.array([reason]),
        }

    return answer


def results(answer: Any, **header: Any) -> tuple[Any, ...]:
    images = testing.ct_series(slices=3, rows=8, columns=8)
    for image in images:
        for keyword, value in header.items():
            setattr(image, keyword, value)
    return testing.run_plugin(HERE, {"ct": images}, {"ct_body": answer})


def test_each_tissue_has_volume_mean_area_and_density() -> None:
    segmentation, *found = results(model())
    assert isinstance(segmentation, Segmentation)
    assert len(segmentation.segments) == 5
    values = [
        result.value for result in found if isinstance(result, Measurement) and result.of == segmentation.segments[0]
    ]
    assert values == pytest.approx([100, 10 * 100 / 200, 450.0])
    score = next(
        result for result in found if isinstance(result, Measurement) and result.name.meaning == "Calcium score"
    )
    assert score.value == 120
    assert score.method == codes.DCM.AgatstonScoringMethod
    assert score.of == segmentation.segments[4]


def test_contrast_medium_is_reported_and_calcium_then_is_not() -> None:
    segmentation, *found = results(model(score=np.nan, contrast=80))
    assert [segment.label for segment in segmentation.segments][-1] == "Fat inside the rib cage"
    assert [result.present for result in found if isinstance(result, Finding)] == [True]
    assert not [
        result for result in found if isinstance(result, Measurement) and result.name.meaning == "Calcium score"
    ]


def test_images_without_a_chest_are_reported_with_the_models_reason() -> None:
    assert results(model(reason="no ribs")) == (NotSuitable("no ribs"),)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"KVP": 100}, "defined at 120 kV"),
        ({"KVP": None}, "defined at 120 kV"),
        ({"ConvolutionKernel": "BONE"}, "kernel BONE is sharp"),
        ({"ContrastBolusAgent": "Iodine"}, "as bright as calcium"),
    ],
)
def test_calcium_is_scored_by_its_method_or_not_at_all(header: dict[str, Any], words: str) -> None:
    segmentation, *found = results(model(), **header)
    assert len(segmentation.segments) == 4
    assert "Calcium score" not in {result.name.meaning for result in found if isinstance(result, Measurement)}
    assert words in next(result.text for result in found if isinstance(result, Caveat))
