"""What the plugin measures of outlines it is given; the network is judged by triton_models/ct_liver/train.py."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node import Caveat, Finding, KeyImages, Measurement, NotSuitable, Result, Segmentation, codes, testing

HERE = Path(__file__).parent
SHAPE, SPACING = (20, 60, 60), (5.0, 4.0, 4.0)
LIVER_HU, SPLEEN_HU, LESION_HU = 55, 48, 15
CENTRE, RADII = np.array([50, 120, 120]), np.array([15, 12, 20])
"""Of a lesion, mm: (slice, row, column)."""
HU = codes.UCUM.HounsfieldUnit


def ellipsoid(centre: NDArray[np.int64], radii: NDArray[np.int64]) -> NDArray[np.bool_]:
    offsets = (np.indices(SHAPE).T * SPACING - centre) / radii
    return np.asarray((offsets**2).sum(-1).T <= 1)


def abdomen(*, liver_hu: int = LIVER_HU, spleen_hu: int = SPLEEN_HU) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Return a body with liver, spleen and a lesion, and what a faultless network marks."""
    hu, marked = np.full(SHAPE, -1000, np.int16), np.zeros(SHAPE, np.uint8)
    hu[:, 4:56, 2:58] = -90
    marked[2:18, 10:50, 6:40], marked[6:14, 30:50, 44:54] = 1, 3
    marked[ellipsoid(CENTRE, RADII)] = 2
    noise = np.random.default_rng(3).normal(0, 8, SHAPE)
    for label, value in ((1, liver_hu), (2, LESION_HU), (3, spleen_hu)):
        hu[marked == label] = np.rint(value + noise[marked == label])
    return hu, marked


def results(hu: NDArray[np.int16], marked: NDArray[np.uint8], **header: Any) -> tuple[Result, ...]:
    """Run the plugin on images with these values in their headers."""
    return answered(testing.ct_series(spacing=SPACING, array=hu), marked, **header)


def answered(images: list[Dataset], marked: NDArray[np.uint8], **header: Any) -> tuple[Result, ...]:
    for image in images:
        for keyword, value in ({"BodyPartExamined": "ABDOMEN"} | header).items():
            setattr(image, keyword, value)

    def model(image: NDArray[np.int16], affine: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        return {"labels": marked}

    return testing.run_plugin(HERE, {"ct": images}, {"ct_liver": model})


def values(found: tuple[Result, ...], label: str) -> dict[tuple[str, str], float]:
    """Return the measurements of a segment, by name and derivation."""
    reported = (
        result
        for result in found
        if isinstance(result, Measurement) and (result.of.label if result.of else "") == label
    )
    return {(item.name.meaning, item.derivation.meaning if item.derivation else ""): item.value for item in reported}


def present(found: tuple[Result, ...]) -> dict[str, bool]:
    return {result.name.meaning: bool(result.present) for result in found if isinstance(result, Finding)}


def test_liver_lesions_and_spleen_are_segments_of_their_own() -> None:
    hu, marked = abdomen()
    (outlines, *_) = results(hu, marked)
    assert isinstance(outlines, Segmentation)
    assert [segment.label for segment in outlines.segments] == ["Liver without lesions", "Spleen", "Lesion 1"]
    assert outlines.labels.array.tolist() == np.choose(marked, (0, 1, 3, 2)).tolist()
    lesion = outlines.segments[2]
    assert (lesion.type, lesion.region) == (codes.SCT.Lesion, codes.SCT.Liver)


def test_attenuation_and_volume_are_those_of_simpleitk() -> None:
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    hu, marked = abdomen()
    found = results(hu, marked)
    image, labels = sitk.GetImageFromArray(hu), sitk.GetImageFromArray(marked)
    statistics = sitk.LabelIntensityStatisticsImageFilter()
    for item in (image, labels):
        item.SetSpacing(SPACING[::-1])
    statistics.Execute(labels, image)
    for label, number in (("Liver without lesions", 1), ("Spleen", 3)):
        reported = values(found, label)
        assert reported["Mean Attenuation Coefficient", ""] == pytest.approx(statistics.GetMean(number), abs=0.051)
        deviation = statistics.GetStandardDeviation(number)
        assert reported["Standard Deviation of Attenuation Coefficient", ""] == pytest.approx(deviation, abs=0.06)
        assert reported["Volume", ""] == pytest.approx(statistics.GetPhysicalSize(number) / 1000, abs=0.051)
    lesion = values(found, "Lesion 1")
    assert lesion["Volume", ""] == pytest.approx(statistics.GetPhysicalSize(2), abs=0.51)
    assert lesion["Mean Attenuation Coefficient", ""] == pytest.approx(statistics.GetMean(2), abs=0.51)
    whole = (statistics.GetPhysicalSize(1) + statistics.GetPhysicalSize(2)) / 1000
    assert values(found, "")["Volume", ""] == pytest.approx(whole, abs=0.051)


def test_the_axes_of_a_lesion_are_those_of_the_ellipsoid_and_its_long_one_that_of_scikit_image() -> None:
    hu, marked = abdomen()
    found = values(results(hu, marked), "Lesion 1")
    assert found["Long axis", ""] == pytest.approx(40, abs=4)
    assert found["Short axis", ""] == pytest.approx(24, abs=4)
    measure = pytest.importorskip("skimage.measure", reason="scikit-image is not installed")
    (region,) = measure.regionprops((marked[CENTRE[0] // 5] == 2).astype(np.uint8), spacing=SPACING[1:])
    assert found["Long axis", ""] == pytest.approx(region.feret_diameter_max, abs=SPACING[1])


def test_without_contrast_medium_fat_is_reported_and_the_liver_compared_with_the_spleen() -> None:
    healthy, fatty = (results(*abdomen(liver_hu=hu)) for hu in (LIVER_HU, 30))
    assert present(healthy)["Steatosis of liver"] is False
    assert present(fatty)["Steatosis of liver"] is True
    less = values(fatty, "")["Attenuation of the liver less that of the spleen", ""]
    assert less == pytest.approx(30 - SPLEEN_HU, abs=1)


@pytest.mark.parametrize("header", [{"ContrastBolusAgent": "IODINE"}, {"KVP": 80}, {}])
def test_with_contrast_medium_or_another_voltage_fat_is_not_reported(header: dict[str, Any]) -> None:
    hu, marked = abdomen(spleen_hu=SPLEEN_HU if header else 120)
    found = results(hu, marked, **header)
    assert "Steatosis of liver" not in present(found)
    assert not [name for name, _ in values(found, "") if "less" in name]
    assert any("not judged" in result.text for result in found if isinstance(result, Caveat))


def test_a_liver_that_is_cut_off_has_no_volume() -> None:
    hu, marked = abdomen()
    assert present(results(hu, marked))["Anatomy coverage incomplete"] is False
    found = results(hu[3:], marked[3:])
    assert present(found)["Anatomy coverage incomplete"] is True
    assert ("Volume", "") not in values(found, "Liver without lesions") | values(found, "")
    assert ("Volume", "") in values(found, "Spleen")


def test_a_small_piece_or_a_piece_outside_the_liver_is_no_lesion_and_key_images_show_the_lesions() -> None:
    hu, marked = abdomen()
    marked[10, 12, 12] = 2
    marked[10:13, 52:55, 20:24] = 2
    *_, outlines, key = sorted(results(hu, marked), key=lambda result: isinstance(result, Segmentation | KeyImages))
    assert isinstance(outlines, Segmentation)
    assert isinstance(key, KeyImages)
    assert len(outlines.segments) == 3
    assert outlines.labels.array[10, 12, 12] == 1
    images = testing.ct_series(spacing=SPACING, array=hu)
    assert [frame.sop_instance_uid for frame in key.images] == [images[CENTRE[0] // 5].SOPInstanceUID]


@pytest.mark.parametrize(
    ("kept", "spacing", "header", "words"),
    [
        (20, SPACING, {"BodyPartExamined": "HEAD"}, "another part of the body"),
        (20, (7.0, 4.0, 4.0), {}, "7.0 mm apart"),
        (8, SPACING, {}, "too few"),
        (20, (5.0, 3.0, 3.0), {}, "too narrow"),
        (20, SPACING, {}, "no liver"),
    ],
)
def test_images_that_are_no_abdomen_are_not_suitable(
    kept: int, spacing: tuple[float, float, float], header: dict[str, str], words: str
) -> None:
    hu, marked = abdomen()
    images = testing.ct_series(spacing=spacing, array=hu[:kept])
    (result,) = answered(images, np.zeros_like(marked[:kept]), **header)
    assert isinstance(result, NotSuitable)
    assert words in result.reason
