"""SUV calculated by hand, and what the plugin makes of answers; the model is tested in tests/unit/test_uptake.py."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node import Caveat, Finding, Measurement, NotSuitable, Result, Segmentation, codes, testing

HERE = Path(__file__).parent
KG, METRES = 80.0, 2.0
BQ_PER_ML = 5000.0
HALF_LIFE = 6588.0


def images(**header: Any) -> list[Dataset]:
    """Return three slices of 5 kBq/ml: 200 MBq, injected a half-life before the images."""
    series = testing.pet_series(slices=3, rows=8, columns=8)
    for image in series:
        image.PatientWeight, image.PatientSize, image.PatientSex = KG, METRES, "M"
        image.RescaleSlope = 1
        image.PixelData = np.full((8, 8), BQ_PER_ML, np.uint16).tobytes()
        image.SeriesTime = image.AcquisitionTime = "120000"
        given = image.RadiopharmaceuticalInformationSequence[0]
        given.RadiopharmaceuticalStartTime, given.RadionuclideTotalDose = "101012", 200e6
        given.RadionuclideHalfLife = HALF_LIFE
        for keyword, value in header.items():
            at = given if keyword in given or keyword.startswith("Radio") else image
            setattr(at, keyword, value)
    return series


def answer(image: NDArray[np.float32], affine: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    labels = np.zeros(image.shape, np.uint8)
    labels[1, 2:4] = 1
    reference = np.zeros(image.shape, np.uint8)
    reference[0, 6] = 1
    return {
        "labels": labels,
        "above": labels,
        "statistics": np.array([[10.0, 8.0, 6.0, 2.5, 3.0, 5.0, 0.0, 90.0]]),
        "reference": reference,
        "threshold": np.array([3.4, 2.0, 0.2, 0.0]),
    }


def seen(series: list[Dataset]) -> float | str:
    """Return the SUV that the model is given, or why it is given none."""
    given: list[float] = []

    def model(image: NDArray[np.float32], affine: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        given.append(float(image.mean()))
        return answer(image, affine)

    results = testing.run_plugin(HERE, {"pt": series}, {"pt_lesion": model})
    return given[0] if given else next(result.reason for result in results if isinstance(result, NotSuitable))


BY_HAND = BQ_PER_ML * KG * 1000 / (200e6 / 2)
"""A half-life after 200 MBq, 100 MBq are left in 80 kg."""


@pytest.mark.parametrize(
    ("header", "suv"),
    [
        ({}, BY_HAND),
        ({"DecayCorrection": "ADMIN"}, BY_HAND / 2),
        ({"Units": "GML"}, BQ_PER_ML),
        ({"SeriesTime": "180000"}, BY_HAND),  # made anew later: the acquisition counts
        ({"RadiopharmaceuticalStartDateTime": "20240102110506"}, BY_HAND / 2**0.5),
        ({"SeriesTime": "003000", "AcquisitionTime": "003000", "RadiopharmaceuticalStartTime": "224012"}, BY_HAND),
    ],
)
def test_suv_is_as_calculated_by_hand(header: dict[str, Any], suv: float) -> None:
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
        ({"PatientWeight": 0.08}, "0.08 kg"),
        ({"PatientWeight": 8000}, "8000 kg"),
        ({"RadionuclideTotalDose": 200.0}, "200 Bq"),  # megabecquerel, as some write it
        ({"RadionuclideHalfLife": 109.8}, "109.8 s"),  # minutes
        ({"RadiopharmaceuticalStartTime": "115500"}, "5 minutes"),
        ({"RadiopharmaceuticalStartTime": "230000"}, "780 minutes"),
        ({"Radiopharmaceutical": "Fluorothymidine F^18^"}, "Fluorothymidine"),
        ({"Radiopharmaceutical": None}, "does not name"),
    ],
)
def test_attributes_that_suv_needs_and_the_header_lacks_are_named(header: dict[str, Any], words: str) -> None:
    assert words in str(seen(images(**header)))


def test_a_single_slice_has_no_volume() -> None:
    assert "have no volume" in str(seen(images()[:1]))


def values() -> dict[tuple[str, str, str], float]:
    results = testing.run_plugin(HERE, {"pt": images()}, {"pt_lesion": answer})
    return {
        (
            result.of.label if result.of else "",
            result.name.meaning,
            result.derivation.meaning if result.derivation else "",
        ): result.value
        for result in results
        if isinstance(result, Measurement)
    }


def labels_of(results: Sequence[Result]) -> list[str]:
    return [segment.label for result in results if isinstance(result, Segmentation) for segment in result.segments]


def test_lean_mass_and_surface_are_those_of_their_formulas() -> None:
    found = values()
    lean = 1.10 * KG - 128 * (KG / 200) ** 2
    surface = 0.007184 * KG**0.425 * 200**0.725  # m²
    assert found["Uptake 1", "SUVbw", "Maximum"] == 10
    assert found["Uptake 1", "SUVlbm(James128)", "Maximum"] == pytest.approx(10 * lean / KG, abs=0.01)
    peak = found["Uptake 1", "Peak Value Within ROI", ""]
    assert found["Uptake 1", "SUVlbm(James128), peak", ""] == pytest.approx(peak * lean / KG, abs=0.01)
    assert found["Uptake 1", "SUVbsa", "Maximum"] == pytest.approx(10 * surface * 10_000 / (KG * 1000), abs=0.01)


def test_what_suv_depend_on_is_said() -> None:
    results = testing.run_plugin(HERE, {"pt": images()}, {"pt_lesion": answer})
    (said,) = (result.text for result in results if isinstance(result, Caveat))
    assert f"weight {KG:g} kg, height 200 cm" in said
    assert "MBq injected" in said
    assert "minutes before the images" in said
    assert "No Deauville score: uptake of the blood pool" in said


def test_glycolysis_is_volume_times_mean() -> None:
    found = values()
    assert found["Uptake 1", "Total Lesion Glycolysis", ""] == pytest.approx(2.5 * 6)
    assert found["All uptake that is listed", "Total Lesion Glycolysis", ""] == pytest.approx(3 * 5)


def test_nothing_found_is_a_finding() -> None:
    def nothing(image: NDArray[np.float32], affine: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        none = np.zeros(image.shape, np.uint8)
        return {**answer(image, affine), "statistics": np.zeros((0, 8)), "labels": none, "above": none}

    results = testing.run_plugin(HERE, {"pt": images()}, {"pt_lesion": nothing})
    assert [result.present for result in results if isinstance(result, Finding)] == [False]
    assert labels_of(results) == ["Liver, reference"]
    assert [result.value for result in results if isinstance(result, Measurement)] == [3.4, 2]


@pytest.mark.parametrize(("outcome", "words"), [(1, "evenness"), (2, "trunk"), (3, "lung")])
def test_without_the_liver_there_is_no_threshold_and_no_answer(outcome: int, words: str) -> None:
    def no_liver(image: NDArray[np.float32], affine: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        return {**answer(image, affine), "threshold": np.array([np.nan, np.nan, np.nan, outcome])}

    (result,) = testing.run_plugin(HERE, {"pt": images()}, {"pt_lesion": no_liver})
    assert isinstance(result, NotSuitable)
    assert words in result.reason


def placed(place: int) -> Any:
    def model(image: NDArray[np.float32], affine: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        given = answer(image, affine)
        given["statistics"][0, 6] = place
        return given

    return model


@pytest.mark.parametrize("place", [1, 2, 3, 4, 5])
def test_uptake_in_the_place_of_an_organ_is_named_and_not_listed(place: int) -> None:
    results = testing.run_plugin(HERE, {"pt": images()}, {"pt_lesion": placed(place)})
    assert [result.present for result in results if isinstance(result, Finding)] == [False]
    organ, reference = labels_of(results)
    assert organ.endswith(", by its place")
    assert reference == "Liver, reference"
    assert not [
        result
        for result in results
        if isinstance(result, Measurement) and result.name == codes.DCM.TotalLesionGlycolysis
    ]


MODELS = {"pt_lesion": answer}


def attenuations(results: Sequence[Result]) -> list[float]:
    unit = codes.UCUM.HounsfieldUnit
    return [result.value for result in results if isinstance(result, Measurement) and result.unit == unit]


def density(liver: int, uptake: int) -> list[Dataset]:
    """Return a CT of voxels half as large, with HU in the places of the reference and of the uptake."""
    hu = np.full((6, 16, 16), -1000, np.int16)
    hu[0:2, 12:14] = liver
    hu[2:4, 4:8] = uptake
    return testing.ct_series(array=hu, spacing=(1.25, 0.4, 0.4), origin=(-120.2, -110.2, -50.625))


def test_a_ct_in_the_same_place_gives_the_attenuation_of_each_uptake() -> None:
    results = testing.run_plugin(HERE, {"pt": images(), "ct": density(60, 300)}, MODELS)
    assert attenuations(results) == [300]


@pytest.mark.parametrize("hu", [-800, 10, 400])
def test_a_place_that_is_no_liver_in_the_ct_is_no_reference(hu: int) -> None:
    (result,) = testing.run_plugin(HERE, {"pt": images(), "ct": density(hu, 300)}, MODELS)
    assert isinstance(result, NotSuitable)
    assert f"{hu} HU" in result.reason


def test_fat_with_uptake_above_the_liver_is_brown_fat() -> None:
    results = testing.run_plugin(HERE, {"pt": images(), "ct": density(60, -90)}, MODELS)
    assert labels_of(results) == ["Brown fat, by its place", "Liver, reference"]


@pytest.mark.parametrize("frame_of_reference_uid", ["1.2.3", ""])
def test_a_ct_that_lies_elsewhere_or_has_no_volume_is_passed_over(frame_of_reference_uid: str) -> None:
    ct = density(10, 300)
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
