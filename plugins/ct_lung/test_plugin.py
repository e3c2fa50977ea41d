"""What the plugin makes of the model's answers; the model itself is tested in tests/unit/test_lungs.py."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from node import Caveat, Measurement, NotSuitable, Segmentation, codes, testing

HERE = Path(__file__).parent
STATISTICS = [[2500.04, -820.0, 5.0, -910.0], [2000.0, -810.0, 4.0, -900.0], [4500.04, -815.55, 4.5, -905.0]]


def answer(image: NDArray[np.int16], affine: NDArray[np.float64]) -> dict[str, NDArray[np.generic]]:
    labels = np.zeros(image.shape, np.uint8)
    labels[1, :, :4], labels[1, :, 4:] = 1, 2
    return {"labels": labels, "statistics": np.array(STATISTICS), "reason": np.array([""])}


def refusal(image: NDArray[np.int16], affine: NDArray[np.float64]) -> dict[str, NDArray[np.generic]]:
    nothing = np.full((3, 4), np.nan)
    return {"labels": np.zeros(image.shape, np.uint8), "statistics": nothing, "reason": np.array(["no lungs"])}


def test_both_lungs_are_segments_each_with_four_measurements_and_four_of_both() -> None:
    images = testing.ct_series(slices=3, rows=8, columns=8)
    segmentation, *measurements = testing.run_plugin(HERE, {"ct": images}, {"ct_lung": answer}, judge=False)
    assert isinstance(segmentation, Segmentation)
    assert [segment.label for segment in segmentation.segments] == ["Right lung", "Left lung"]
    assert [segment.laterality for segment in segmentation.segments] == [codes.SCT.Right, codes.SCT.Left]
    values = [result.value for result in measurements if isinstance(result, Measurement)]
    assert values == pytest.approx(np.round(STATISTICS, 1).ravel().tolist())
    assert [result.of.label if result.of else "both" for result in measurements if isinstance(result, Measurement)] == (
        ["Right lung"] * 4 + ["Left lung"] * 4 + ["both"] * 4
    )


def test_images_without_lungs_are_reported_with_the_models_reason() -> None:
    images = testing.ct_series(slices=3, rows=8, columns=8)
    assert testing.run_plugin(HERE, {"ct": images}, {"ct_lung": refusal}) == (NotSuitable("no lungs"),)


def test_the_model_is_given_the_grid_of_the_images() -> None:
    seen: dict[str, Any] = {}

    def model(image: NDArray[np.int16], affine: NDArray[np.float64]) -> dict[str, NDArray[np.generic]]:
        seen.update(shape=image.shape, dtype=image.dtype, affine=affine)
        return refusal(image, affine)

    images = testing.ct_series(slices=3, rows=8, columns=6, spacing=(2.0, 0.5, 0.7))
    testing.run_plugin(HERE, {"ct": images}, {"ct_lung": model})
    assert seen["shape"] == (3, 8, 6)
    assert seen["dtype"] == np.int16
    assert np.linalg.norm(seen["affine"][:3, :3], axis=0) == pytest.approx([2.0, 0.5, 0.7])


def test_a_slice_that_is_missing_makes_the_images_unsuitable() -> None:
    images = testing.without(testing.ct_series(slices=6, rows=8, columns=8), 3)
    (result,) = testing.run_plugin(HERE, {"ct": images}, {"ct_lung": answer})
    assert isinstance(result, NotSuitable)
    assert "spaced" in result.reason


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"ConvolutionKernel": "B70f"}, "kernel B70f is sharp"),
        ({"ContrastBolusAgent": "Iodine"}, "makes the lungs denser"),
    ],
)
def test_a_sharp_kernel_or_contrast_medium_leaves_no_measure_of_emphysema(header: dict[str, str], words: str) -> None:
    images = testing.ct_series(slices=3, rows=8, columns=8)
    for image in images:
        for keyword, value in header.items():
            setattr(image, keyword, value)
    results = testing.run_plugin(HERE, {"ct": images}, {"ct_lung": answer}, judge=False)
    names = {result.name.value for result in results if isinstance(result, Measurement)}
    assert names == {codes.SCT.Volume.value, codes.DCM.MeanAttenuationCoefficient.value}
    assert words in next(result.text for result in results if isinstance(result, Caveat))
