"""Plugins that make images of images, on a real Triton: of phantoms whose truth is known, and of real images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from node import DerivedSeries, NotSuitable, Summary, Triton, codes
from node.images.series import Series
from tests.flow.test_plugins import answered, real
from tests.flow.test_plugins_on_phantoms import series_of
from tests.studies import ct_denoise, mr_superres, mr_to_ct

SQUARE = 8


def derived(triton: Triton, name: str, series: Series, folder: Path, *skip: str) -> tuple[DerivedSeries, list[Dataset]]:
    """Run a plugin, and return the one series it makes and its images as they were written."""
    result, *_, summary = answered(triton, name, series, folder, *skip)
    assert isinstance(summary, Summary)
    assert isinstance(result, DerivedSeries)
    written = [dcmread(path) for path in sorted((folder / "made").iterdir(), key=lambda path: int(path.stem))]
    return result, [image for image in written if "PixelData" in image]


def off(image: NDArray[np.number], other: NDArray[np.number]) -> float:
    """Return the root of the mean squared difference."""
    return float(np.sqrt(np.mean((image.astype(np.float64) - other) ** 2)))


def squares(array: NDArray[np.number]) -> NDArray[np.number]:
    """Return squares of all slices: single pixels that are chosen by their noisy values would have its bias."""
    slices, rows, columns = array.shape
    parted = array.reshape(slices, rows // SQUARE, SQUARE, columns // SQUARE, SQUARE)
    return parted.swapaxes(2, 3).reshape(-1, SQUARE, SQUARE)


def geometry(images: Sequence[Dataset]) -> NDArray[np.float64]:
    return np.array([[*map(float, image.ImagePositionPatient), *map(float, image.PixelSpacing)] for image in images])


def test_noise_and_streaks_of_a_phantom_become_less(triton: Triton, tmp_path: Path) -> None:
    series = series_of(ct_denoise.images(), tmp_path)
    result, images = derived(triton, "ct_denoise", series, tmp_path)
    assert off(result.array, ct_denoise.truth()) < 0.8 * off(series.volume().array, ct_denoise.truth())
    stored = np.stack([image.pixel_array * image.RescaleSlope + image.RescaleIntercept for image in images])
    assert np.array_equal(stored, result.array)


def test_a_real_chest_keeps_its_hu_and_its_geometry(triton: Triton, tmp_path: Path) -> None:
    series = real("CT/chest_cmb_crc_100", tmp_path, every=12)
    result, images = derived(triton, "ct_denoise", series, tmp_path)
    before, after = squares(series.volume().array), squares(result.array)
    mean, even = before.mean((1, 2)), before.std((1, 2)) < 120
    for lowest, highest in ((0, 100), (-130, -60), (-950, -800)):  # soft tissue, fat, lung
        tissue = even & (mean > lowest) & (mean < highest)
        assert abs(float(after[tissue].mean()) - float(before[tissue].mean())) < 3
        assert np.median(after[tissue].std((1, 2))) < 0.6 * np.median(before[tissue].std((1, 2)))
    assert np.allclose(geometry(images)[:, :3], [frame.position for frame in series.frames])
    uids = {image.SeriesInstanceUID for image in images}
    assert len(uids) == 1
    assert uids.isdisjoint({series.series_uid})
    for image, frame in zip(images, series.frames, strict=True):
        assert image.SOPClassUID == frame.sop_class_uid
        assert image.ImageType[0] == "DERIVED"
        assert [item.ReferencedSOPInstanceUID for item in image.SourceImageSequence] == [frame.sop_instance_uid]
        assert image.DerivationDescription.startswith("Denoised by CT: less noise and fewer streaks")


def test_a_tilted_real_head_is_declined(triton: Triton, tmp_path: Path) -> None:
    images = real("CT/head_missing_and_odd_geometry/gantrytilting/001", tmp_path)
    (result,) = answered(triton, "ct_denoise", images, tmp_path, "dcentvfy")
    assert isinstance(result, NotSuitable)
    assert "tilted" in result.reason


def test_thick_slices_of_a_phantom_become_thin_ones_nearer_to_the_truth(triton: Triton, tmp_path: Path) -> None:
    series = series_of(mr_superres.images(), tmp_path)
    result, images = derived(triton, "mr_superres", series, tmp_path)
    thick, count = series.volume().array, len(result.array)
    assert count == mr_superres.THICK * (mr_superres.SLICES - 1) + 1
    places = np.arange(count) / mr_superres.THICK
    low = np.minimum(places.astype(int), len(thick) - 2)
    part = (places - low)[:, None, None]
    linear = thick[low] * (1 - part) + thick[low + 1] * part
    assert off(result.array, mr_superres.fine()) < 0.95 * off(linear, mr_superres.fine())
    assert np.diff(geometry(images)[:, 2]) == pytest.approx(1.0, abs=1e-3)
    assert {(float(image.SliceThickness), float(image.SpacingBetweenSlices)) for image in images} == {(1.0, 1.0)}


def test_thick_slices_of_a_real_head_become_thin_slices(triton: Triton, tmp_path: Path) -> None:
    series = real("MR/T1_sag_brain_35", tmp_path)
    result, images = derived(triton, "mr_superres", series, tmp_path)
    assert len(images) == round(34 * 4.8) + 1
    assert np.linalg.norm(np.diff(geometry(images)[:, :3], axis=0), axis=1) == pytest.approx(1.0, abs=1e-3)
    middle = result.array[::24][:2]  # every fifth source slice lies 24 mm from the last
    assert off(middle, series.volume().array[::5][:2]) < 0.1 * series.volume().array.max()


def test_thin_slices_of_a_real_head_need_no_slices_between(triton: Triton, tmp_path: Path) -> None:
    images = real("MR/T1_3d_enhanced_xa30", tmp_path)
    (result,) = answered(triton, "mr_superres", images, tmp_path)
    assert isinstance(result, NotSuitable)


def test_ct_of_a_phantom_is_estimated_from_its_mr(triton: Triton, tmp_path: Path) -> None:
    series = series_of(mr_to_ct.images(), tmp_path)
    result, images = derived(triton, "mr_to_ct", series, tmp_path)
    _, ct = mr_to_ct.pair()
    assert np.abs(result.array - ct)[ct > -300].mean() < 160
    assert np.array_equal(np.stack([image.pixel_array for image in images]), result.array)


def test_an_image_estimated_from_a_real_head_is_not_marked_as_an_acquired_ct(triton: Triton, tmp_path: Path) -> None:
    series = real("MR/T1_sag_brain_35", tmp_path)
    result, images = derived(triton, "mr_to_ct", series, tmp_path)
    assert result.array.min() < -800
    for image in images:
        assert image.Modality == "MR"
        assert list(image.ImageType)[:2] == ["DERIVED", "SECONDARY"]
        assert image.SyntheticData == "YES"
        assert "synthetic" in image.SeriesDescription
        assert image.DerivationCodeSequence[0].CodeMeaning == "CT values estimated from MR by a network"
        (mapping,) = image.RealWorldValueMappingSequence
        assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == codes.UCUM.HounsfieldUnit.value
        assert (image.WindowCenter, image.WindowWidth) == (40, 400)
