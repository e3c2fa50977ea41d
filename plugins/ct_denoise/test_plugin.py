"""What the plugin makes of the model's answer; the network is judged by triton_models/ct_denoise/train.py."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node import Caveat, DerivedSeries, Measurement, NotSuitable, Result, Summary, codes, testing

HERE = Path(__file__).parent


def results(images: list[Dataset]) -> tuple[Result, ...]:
    """Run the plugin; the model adds 0.4 HU, and takes 5000 from what is above 1000 HU."""

    def model(image: NDArray[np.int16], affine: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        return {
            "values": np.where(image > 1000, image - 5000.0, image + 0.4).astype(np.float32),
            "affine": affine,
        }

    return testing.run_plugin(HERE, {"ct": images}, {"ct_denoise": model}, judge=False)


def images_of(array: NDArray[np.int16] | None = None, **values: Any) -> list[Dataset]:
    images = testing.ct_series(array=array)
    for image in images:
        for keyword, value in values.items():
            setattr(image, keyword, value)
    return images


def test_the_answer_is_a_series_of_whole_hu_on_the_grid_of_the_images() -> None:
    hu = np.full((3, 32, 32), 40, np.int16)
    hu[1, 4, 5] = 2000
    made, *_, summary = results(images_of(hu))
    assert isinstance(summary, Summary)
    assert isinstance(made, DerivedSeries)
    assert made.array.dtype == np.int16
    assert made.array[0, 0, 0] == 40
    assert made.array[1, 4, 5] == 40  # no value below the lowest there was
    assert (made.affine, made.synthetic, made.derivation) == (None, False, codes.DCM.Smoothing)


def test_noise_is_measured_before_and_after() -> None:
    hu = np.random.default_rng(3).normal(40, 15, (3, 64, 64)).astype(np.int16)
    found = {item.name.value: item.value for item in results(images_of(hu)) if isinstance(item, Measurement)}
    assert found["NOISE_BEFORE"] == pytest.approx(15, rel=0.1)
    assert found["NOISE_AFTER"] == found["NOISE_BEFORE"], "the model of this test adds less than half a HU"
    assert found["MEAN_ABSOLUTE_DIFFERENCE"] == 0


def test_without_soft_tissue_no_noise_is_measured() -> None:
    found = results(images_of(np.full((3, 32, 32), -900, np.int16)))
    assert not any(isinstance(item, Measurement) for item in found)
    assert Caveat("Noise was not measured: no soft tissue is seen.") in found


def test_metal_stays_as_it_was() -> None:
    hu = np.full((3, 32, 32), 40, np.int16)
    hu[1, 4, 5] = 3000
    made, *_ = results(images_of(hu, RescaleSlope=2))
    assert isinstance(made, DerivedSeries)
    assert made.array[1, 4, 5] == 2 * (3000 + 1024) - 1024


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "a projection"),
        ({"SyntheticData": "YES"}, "never measured"),
        ({"RescaleType": "US"}, "no HU: Rescale Type is US"),
        ({"PixelSpacing": [1.5, 1.5]}, "1.5 mm wide"),
    ],
)
def test_images_that_are_no_section_in_hu_are_not_suitable(values: dict[str, Any], words: str) -> None:
    (result,) = results(images_of(**values))
    assert isinstance(result, NotSuitable)
    assert words in result.reason
