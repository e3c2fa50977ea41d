"""SUV calculated by hand, and what the plugin makes of answers; the model is tested in tests/unit/test_uptake.py."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node import Finding, Measurement, NotSuitable, Result, Segmentation, codes, testing

HERE = Path(__file__).parent
KG, METRES = 80.0, 2.0
BQ_PER_ML = 5000.0
HALF_LIFE = 3600.0


def images(**header: Any) -> list[Dataset]:
    """Return three slices of 5 kBq/ml: 200 MBq, injected two half-lives before the images."""
    series = testing.pet_series(slices=3, rows=8, columns=8)
    for image in series:
        image.PatientWeight, image.PatientSize, image.PatientSex = KG, METRES, "M"
        image.RescaleSlope = 1
        image.PixelData = np.full((8, 8), BQ_PER_ML, np.uint16).tobytes()
        image.SeriesTime = image.AcquisitionTime = "120000"
        given = image.RadiopharmaceuticalInformationSequence[0]
        given.RadiopharmaceuticalStartTime, given.RadionuclideTotalDose = "100000", 200e6
        given.RadionuclideHalfLife = HALF_LIFE
        for keyword, value in header.items():
            at = given if keyword in given or keyword.startswith("Radio") else image
            setattr(at, keyword, value)
    return series


def answer(image: NDArray[np.float32], affine: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    labels = np.zeros(image.shape, np.uint8)
    labels[1, 2:4] = 1
    return {
        "labels": labels,
        "above": (labels > 0).astype(np.uint8),
        "statistics": np.array([[10.0, 8.0, 6.0, 2.5, 3.0]]),
        "total": np.array([3.0, 5.0, 1.0]),
        "threshold": np.array([3.4, 2.0, 0.2]),
    }


def seen(series: list[Dataset]) -> float | str:
    """Return the SUV that the model is given, or why it is given none."""
    given: list[float] = []

    def model(image: NDArray[np.float32], affine: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        given.append(float(image.mean()))
        return answer(image, affine)

    results = testing.run_plugin(HERE, {"pt": series}, {"pt_lesion": model})
    return given[0] if given else next(result.reason for result in results if isinstance(result, NotSuitable))


BY_HAND = BQ_PER_ML * KG * 1000 / (200e6 / 4)
"""Two half-lives after 200 MBq, 50 MBq are left in 80 kg."""


@pytest.mark.parametrize(
    ("header", "suv"),
    [
        ({}, BY_HAND),
        ({"DecayCorrection": "ADMIN"}, BY_HAND / 4),
        ({"Units": "GML"}, BQ_PER_ML),
        ({"SeriesTime": "180000"}, BY_HAND),  # made anew later: the acquisition counts
        ({"RadiopharmaceuticalStartDateTime": "20240102110000"}, BY_HAND / 2),
        ({"RadiopharmaceuticalStartTime": "230000"}, BQ_PER_ML * KG * 1000 / (200e6 * 0.5**13)),  # the evening before
    ],
)
def test_suv_is_the_one_calculated_by_hand(header: dict[str, Any], suv: float) -> None:
    assert seen(images(**header)) == pytest.approx(suv, rel=1e-5)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"PatientWeight": None}, "weighs"),
        ({"RadionuclideTotalDose": None}, "injected activity"),
        ({"RadionuclideHalfLife": None}, "half-life"),
        ({"RadiopharmaceuticalStartTime": None}, "time of the injection"),
        ({"DecayCorrection": "NONE"}, "decay"),
        ({"CorrectedImage": ["DECY"]}, "attenuation"),
        ({"Units": "CNTS"}, "CNTS"),
    ],
)
def test_what_suv_needs_and_the_header_lacks_is_told(header: dict[str, Any], words: str) -> None:
    assert words in str(seen(images(**header)))


def test_a_lone_slice_has_no_volume() -> None:
    assert "have no volume" in str(seen(images()[:1]))


def values() -> dict[tuple[str, str, str], float]:
    results = testing.run_plugin(HERE, {"pt": images()}, {"pt_lesion": answer})
    assert [len(result.segments) for result in results if isinstance(result, Segmentation)] == [2]
    return {
        (
            result.of.label if result.of else "",
            result.name.meaning,
            result.derivation.meaning if result.derivation else "",
        ): result.value
        for result in results
        if isinstance(result, Measurement)
    }


def test_lean_mass_and_surface_are_those_of_their_formulas() -> None:
    found = values()
    lean = 1.10 * KG - 128 * (KG / 200) ** 2
    surface = 0.007184 * KG**0.425 * 200**0.725  # m²
    assert found["Uptake 1", "SUVbw", "Maximum"] == 10
    assert found["Uptake 1", "SUVlbm(James128)", "Maximum"] == pytest.approx(10 * lean / KG, abs=0.01)
    assert found["Uptake 1", "SUVbsa", "Maximum"] == pytest.approx(10 * surface * 10_000 / (KG * 1000), abs=0.01)


def test_glycolysis_is_volume_times_mean() -> None:
    found = values()
    assert found["Uptake 1", "Total Lesion Glycolysis", ""] == pytest.approx(2.5 * 6)
    assert found["All above the threshold", "Total Lesion Glycolysis", ""] == pytest.approx(3 * 5)


def test_nothing_found_is_a_finding() -> None:
    def nothing(image: NDArray[np.float32], affine: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        return {**answer(image, affine), "statistics": np.zeros((0, 5)), "threshold": np.array([4, np.nan, np.nan])}

    results = testing.run_plugin(HERE, {"pt": images()}, {"pt_lesion": nothing})
    assert [result.present for result in results if isinstance(result, Finding)] == [False]
    assert [result.value for result in results if isinstance(result, Measurement)] == [4]


MODELS = {"pt_lesion": answer}


def attenuations(results: Sequence[Result]) -> list[float]:
    unit = codes.UCUM.HounsfieldUnit
    return [result.value for result in results if isinstance(result, Measurement) and result.unit == unit]


def test_a_ct_in_the_same_place_tells_the_attenuation_of_each_uptake() -> None:
    hu = np.full((6, 16, 16), -80, np.int16)
    hu[2:4, 4:8] = 300  # the rows of the uptake, in voxels half as large
    ct = testing.ct_series(array=hu, spacing=(1.25, 0.4, 0.4), origin=(-120.2, -110.2, -50.625))
    assert attenuations(testing.run_plugin(HERE, {"pt": images(), "ct": ct}, MODELS)) == [300]


@pytest.mark.parametrize("frame_of_reference_uid", ["1.2.3", ""])
def test_a_ct_that_lies_elsewhere_or_has_no_volume_is_passed_over(frame_of_reference_uid: str) -> None:
    ct = testing.ct_series(slices=6, rows=16, columns=16, spacing=(1.25, 0.4, 0.4), origin=(-120.2, -110.2, -50.625))
    for image in ct if frame_of_reference_uid else ():
        image.FrameOfReferenceUID = frame_of_reference_uid
    whole = testing.run_plugin(HERE, {"pt": images(), "ct": ct if frame_of_reference_uid else ct[:2] + ct[3:]}, MODELS)
    assert any(isinstance(result, Segmentation) for result in whole)
    assert not attenuations(whole)


def test_a_made_pet_has_the_activity_that_was_asked_for(tmp_path: Path) -> None:
    wanted = np.linspace(0, 40000, 3 * 8 * 8).reshape(3, 8, 8)
    files = testing.write(testing.pet_series(array=wanted), tmp_path)
    (series,) = testing.stacks(files)
    assert np.abs(series.volume().array - wanted).max() < 1
