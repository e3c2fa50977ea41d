"""Every DICOM file in `../shared/data/dicom`, from bytes to pixels, against pydicom, highdicom and known facts."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.pixels.processing import apply_color_lut

from node.errors import UnsuitableSeries
from node.images.part10 import Part10
from node.images.series import Series
from node.images.stacks import StudyStacks, group_into_stacks

DATA = Path(__file__).parents[3] / "shared" / "data" / "dicom"

pytestmark = [
    pytest.mark.skipif(not DATA.is_dir(), reason="the real DICOM files are not beside this repository"),
    pytest.mark.filterwarnings("ignore::UserWarning:pydicom"),
]


def files(*parts: str) -> list[Path]:
    return sorted(path for path in DATA.joinpath(*parts).rglob("*") if path.is_file() and path.name != "SOURCE.txt")


def assembled(paths: Sequence[Path]) -> StudyStacks:
    return group_into_stacks(Part10.of_file(path) for path in paths)


def alone(path: Path) -> Series:
    (series,) = assembled([path]).series
    return series


def names_its_instance(series: Series, asked: Callable[[], object]) -> bool:
    """Whether what was asked of a series is answered, or refused in a sentence that names its instance."""
    try:
        asked()
    except UnsuitableSeries as error:
        return series.frames[0].sop_instance_uid in str(error)
    return True


FOLDERS = sorted({path.parent for path in files()}) if DATA.is_dir() else []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(DATA)))
def test_every_file_ends_in_a_series_or_with_a_reason(folder: Path) -> None:
    for path in (path for path in folder.iterdir() if path.is_file() and path.name != "SOURCE.txt"):
        outcome = assembled([path])
        assert len(outcome.series) + len(outcome.set_aside) <= 1
        for series in outcome.series:
            assert names_its_instance(series, series.volume)
        for _, reason in outcome.set_aside:
            assert reason
    assembled([path for path in folder.iterdir() if path.is_file()])


def as_pydicom_decodes(path: Path, series: Series) -> list[NDArray[Any]] | None:
    """The frames as pydicom's own `pixel_array` has them, None where it has none."""
    dataset = pydicom.dcmread(path, force=True)
    try:
        array = dataset.pixel_array
    except (AttributeError, ValueError, RuntimeError):
        return None
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        array = apply_color_lut(array, dataset)
        array = (array >> 8).astype(np.uint8) if array.dtype == np.uint16 else array
    colour = 1 if array.shape[-1] == 3 and int(dataset.get("SamplesPerPixel", 1)) == 3 else 0
    colour = max(colour, int(dataset.PhotometricInterpretation == "PALETTE COLOR"))
    planes = array[None] if array.ndim == 2 + colour else array
    return [planes[frame.number - 1] for frame in series.frames]


@pytest.mark.parametrize(
    "case",
    [
        "CR",
        "CT",
        "DX",
        "MG",
        "MR",
        "NM",
        "OP",
        "PT",
        "SM",
        "US",
        "SC_colour_encodings",
        "charset",
    ],
)
def test_every_frame_equals_the_frame_that_pydicom_decodes(case: str) -> None:
    compared = 0
    for path in files(case):
        for series in assembled([path]).series:
            expected = as_pydicom_decodes(path, series)
            if expected is None:
                continue
            for mine, theirs in zip(series.read(series.frames), expected, strict=True):
                assert np.array_equal(mine, theirs), path.name
                assert mine.dtype == theirs.dtype.newbyteorder("="), path.name
                compared += 1
    assert compared > 0


def test_a_chest_ct_is_one_volume_in_hounsfield_units() -> None:
    paths = files("CT", "chest_cmb_crc_100")
    (series,) = assembled(paths).series
    datasets = sorted(map(pydicom.dcmread, paths), key=lambda item: float(item.ImagePositionPatient[2]))
    expected = np.stack(
        [dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept) for dataset in datasets]
    )
    volume = series.volume()
    assert volume.array.shape == (100, 512, 512)
    assert volume.array.dtype == np.int16
    assert np.array_equal(volume.array, np.maximum(expected, -1024))
    assert volume.spacing == pytest.approx((2.5, 0.9, 0.9), abs=0.01)
    assert series.warnings == ()


@pytest.mark.parametrize("folder", ["CT/chest_cmb_crc_100", "MR/T1_sag_brain_35", "MR/pacsman_synthetic_128"])
def test_the_grid_equals_the_grid_that_highdicom_computes(folder: str) -> None:
    paths = files(*folder.split("/"))
    (series,) = assembled(paths).series
    mine = series.volume()
    theirs = highdicom.get_volume_from_series([pydicom.dcmread(path) for path in paths])
    if theirs.affine[:3, 0] @ mine.affine[:3, 0] < 0:
        theirs = theirs.flip_spatial(axes=[0])
    assert np.allclose(mine.affine, theirs.affine, atol=1e-3)
    assert np.array_equal(mine.array, theirs.array.clip(-1024 if series.modality == "CT" else -np.inf))


def test_an_oblique_series_lies_where_its_positions_say() -> None:
    (series,) = assembled(files("CT", "rtstruct_phantom", "oriented_data")).series
    affine = series.affine()
    assert len(series.frames) == 3
    for index, frame in enumerate(series.frames):
        assert np.allclose((affine @ (index, 0, 0, 1))[:3], frame.position or (), atol=1e-3)


def test_an_enhanced_mr_is_one_volume_of_96_frames() -> None:
    (path,) = files("MR", "T1_3d_enhanced_xa30")
    series = alone(path)
    dataset = pydicom.dcmread(path)
    groups = dataset.PerFrameFunctionalGroupsSequence
    positions = [group.PlanePositionSequence[0].ImagePositionPatient for group in groups]
    order = np.argsort(np.array(positions, dtype=float) @ series.frames[0].normal)
    volume = series.volume()
    assert volume.array.shape == (96, 128, 128)
    assert np.array_equal(volume.array, dataset.pixel_array[order])
    assert volume.spacing == pytest.approx((2, 2, 2), abs=0.01)


@pytest.mark.parametrize(
    ("folder", "names"),
    [
        ("CT/transfer_syntaxes_CT1", "CT1_UNC.*"),
        ("MR/enhanced_small", "*"),
        ("MR/transfer_syntaxes_small", "MR_small*"),
    ],
)
def test_every_encoding_of_an_image_gives_the_same_pixels(folder: str, names: str) -> None:
    images = []
    for path in files(*folder.split("/")):
        if path.match(names):
            series = alone(path)
            images.append(np.stack(list(series.read(series.frames))))
    assert len(images) >= 4
    for image in images[1:]:
        assert np.array_equal(image, images[0])


@pytest.mark.parametrize(
    ("folder", "sizes"),
    [
        ("MR/4d_fmri_dti_small/ge/fmri/001", [4, 4]),
        ("MR/4d_fmri_dti_small/ge/dti/001", [4, 4]),
        ("MR/4d_fmri_dti_small/siemens/dti_classic/001", [4, 4]),
        ("MR/phantom_multi_echo", [3, 2, 2]),
        ("dicomdir/98892003/MR2", [1] * 7),
        ("MR/vendors_small/hyperfine/anatomical/001", [8]),
        ("MR/vendors_small/philips_enhanced/anatomical/001", [8]),
        ("MR/vendors_small/generic/rgb/001", [4]),
        ("CT/enhanced_multiframe", [2]),
        ("CT/lung_2_slices", [2]),
        ("CR/ankle_RG3", [1, 1]),
        ("SEG_SR_PM_reference/dcmqi_liver/segmentations", [3]),
        ("SEG_SR_PM_reference/seg_encodings", []),
    ],
)
def test_series_come_apart_into_the_stacks_they_hold(folder: str, sizes: list[int]) -> None:
    assert [len(series.frames) for series in assembled(files(*folder.split("/"))).series] == sizes


@pytest.mark.parametrize(
    "folder",
    [
        "MR/4d_fmri_dti_small/ge/fmri/001",
        "MR/4d_fmri_dti_small/ge/dti/001",
        "MR/4d_fmri_dti_small/siemens/dti_classic/001",
    ],
)
def test_each_time_point_is_a_volume_with_its_own_instances(folder: str) -> None:
    first, second = assembled(files(*folder.split("/"))).series
    assert np.allclose(first.affine(), second.affine())
    numbers = [[int(header.InstanceNumber) for header in series.headers] for series in (first, second)]
    assert max(numbers[0]) < min(numbers[1])
    assert not np.array_equal(first.volume().array, second.volume().array)


def test_a_tilted_gantry_and_a_missing_slice_are_reported_by_instance() -> None:
    for folder, reason in (("gantrytilting", "tilted: instance 1.2.826"), ("sliceincrement", "missing")):
        (series,) = assembled(files("CT", "head_missing_and_odd_geometry", folder)).series
        assert len(series.frames) == 4
        with pytest.raises(UnsuitableSeries, match=reason) as error:
            series.volume()
        assert str(error.value) in series.warnings


def test_a_truncated_file_is_reported_in_a_sentence() -> None:
    (path,) = (path for path in files("MR", "transfer_syntaxes_small") if path.name == "MR_truncated.dcm")
    with pytest.raises(UnsuitableSeries, match="62 bytes of its pixel data are missing"):
        alone(path).volume()


def test_colour_in_every_encoding_is_the_same_picture() -> None:
    lossless = {"SC_rgb_rle.dcm", "SC_rgb_gdcm_KY.dcm", "SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_jpeg_dcmtk.dcm"}
    pictures = [alone(path).image().astype(int) for path in files("SC_colour_encodings") if path.name in lossless]
    assert len(pictures) == 4
    for picture in pictures:
        assert picture.shape == (100, 100, 3)
        assert np.abs(picture - pictures[0]).mean() < 4  # they are JPEG, of the same coloured bars


def test_no_file_stops_the_reading_of_the_others() -> None:
    outcome = assembled(files())
    assert len(outcome.series) > 100
    for series in outcome.series:
        assert names_its_instance(series, series.image)
