"""A real FDG PET from neck to knee, with a sarcoma in the thigh that an expert outlined, and parts of it."""

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread

from node import Measurement, NotSuitable, Result, Segmentation, testing
from node.images.series import Series
from node.triton import Triton
from tests.conftest import DATA
from tests.peers import ROOT

PLUGIN = ROOT / "plugins" / "pt_lesion"
IMAGES = DATA / "open3d" / "pet" / "FDG_PET_STS_001_dicom"
OUTLINE = DATA / "open3d" / "pet" / "RTSTRUCT_STS_001" / "1-1.dcm"
pytestmark = pytest.mark.skipif(not IMAGES.exists(), reason="the real PET is not beside this repository")


@pytest.fixture(scope="module")
def series() -> Series:
    (stack,) = testing.stacks(IMAGES)
    return stack


@pytest.fixture(scope="module")
def results(series: Series, triton: Triton) -> tuple[Result, ...]:
    return testing.run_plugin(PLUGIN, {"pt": series}, triton)


def measured(results: tuple[Result, ...]) -> dict[tuple[str, str], float]:
    """Return values by the label of their subject and by name, maxima before means."""
    found = [result for result in results if isinstance(result, Measurement)]
    return {(result.of.label if result.of else "", result.name.meaning): result.value for result in reversed(found)}


def masks(results: tuple[Result, ...]) -> dict[str, NDArray[np.bool_]]:
    """Return where each segment is, by its label."""
    (outlined,) = (result for result in results if isinstance(result, Segmentation))
    return {segment.label: mask.array > 0 for segment, mask in zip(outlined.segments, outlined.masks, strict=True)}


def test_the_liver_is_the_reference_and_the_organs_are_named(results: tuple[Result, ...]) -> None:
    values = measured(results)
    assert values["Liver, reference", "SUVbw, mean"] == pytest.approx(2.13, abs=0.05)
    assert values["", "Threshold Value"] == pytest.approx(3.69, abs=0.1)
    organs = {label for label in masks(results) if label.endswith("by its place")}
    assert organs == {f"{name}, by its place" for name in ("Brain", "Heart", "Kidneys", "Ureters", "Bladder")}


def test_suv_is_calculated_anew_from_the_header(series: Series, results: tuple[Result, ...]) -> None:
    (given,) = series.header.RadiopharmaceuticalInformationSequence
    seconds = (11 * 60 + 20) * 60 + 11 - (10 * 60 + 35) * 60
    left = float(given.RadionuclideTotalDose) * 2 ** (-seconds / float(given.RadionuclideHalfLife))
    highest = series.volume().array.max() * float(series.header.PatientWeight) * 1000 / left
    assert measured(results)["Bladder, by its place", "SUVbw"] == pytest.approx(highest, abs=0.01)


def test_the_largest_uptake_is_the_tumour_that_the_expert_outlined(series: Series, results: tuple[Result, ...]) -> None:
    contours = dcmread(OUTLINE).ROIContourSequence[0].ContourSequence
    points = np.concatenate([np.array(contour.ContourData, np.float64).reshape(-1, 3) for contour in contours])
    uptakes = {label: mask for label, mask in masks(results).items() if label.startswith("Uptake")}
    largest = max(uptakes.values(), key=lambda mask: int(mask.sum()))
    affine = series.affine()
    places = np.argwhere(largest) @ affine[:3, :3].T + affine[:3, 3]
    assert ((places >= points.min(0)) & (places <= points.max(0))).all(1).mean() > 0.95


@pytest.mark.parametrize("part", [slice(0, 110), slice(210, None)], ids=["pelvis and tumour", "head and neck"])
def test_images_without_the_liver_are_not_suitable(part: slice, triton: Triton) -> None:
    """Without the liver, the threshold would come from another organ, and bladder or brain would be listed."""
    at = {dcmread(file, stop_before_pixels=True).ImagePositionPatient[2]: file for file in IMAGES.glob("*.dcm")}
    (some,) = testing.stacks([file for _, file in sorted(at.items())][part])
    (result,) = testing.run_plugin(PLUGIN, {"pt": some}, triton)
    assert isinstance(result, NotSuitable)
    assert "liver" in result.reason
