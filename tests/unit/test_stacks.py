from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from node.errors import UnsuitableSeries
from node.images.part10 import Part10
from node.images.stacks import StudyStacks, group_into_stacks
from node.testing import (
    AXIAL,
    CORONAL,
    ct_series,
    duplicated,
    enhanced_ct,
    late,
    mr_series,
    radiograph,
    repeated,
    tilted,
    uid,
    without,
    write,
)

Assemble = Callable[[Sequence[Dataset]], StudyStacks]


@pytest.fixture
def assemble(tmp_path: Path) -> Assemble:
    def from_files(images: Sequence[Dataset]) -> StudyStacks:
        return group_into_stacks(Part10.of_file(path) for path in write(images, tmp_path))

    return from_files


def sizes(assembled: StudyStacks) -> list[int]:
    return [len(series.frames) for series in assembled.series]


def changed(images: Sequence[Dataset], **values: Any) -> list[Dataset]:
    for image in images:
        for keyword, value in values.items():
            setattr(image, keyword, value)
    return list(images)


def numbered(images: Sequence[Dataset], first: int) -> list[Dataset]:
    """The images as further instances of the same series."""
    for number, image in enumerate(images, first):
        image.InstanceNumber = number
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = uid(image.SOPInstanceUID, "further", number)
    return list(images)


def test_a_plain_series_is_one_stack_named_by_its_uid(assemble: Assemble) -> None:
    images = ct_series(slices=5)
    assembled = assemble(images)
    (series,) = assembled.series
    assert series.key == images[0].SeriesInstanceUID
    assert [frame.sop_instance_uid for frame in series.frames] == [image.SOPInstanceUID for image in images]
    assert series.warnings == ()
    assert assembled.set_aside == ()


def test_frames_go_by_position_whatever_their_instance_numbers_say(assemble: Assemble) -> None:
    images = ct_series(slices=5)
    for number, image in enumerate(reversed(images)):
        image.InstanceNumber = number
    (series,) = assemble(images).series
    heights = [frame.position[2] for frame in series.frames if frame.position]
    assert heights == sorted(heights)
    assert len(heights) == 5


def test_frames_ascend_along_row_cross_column_in_every_orientation(assemble: Assemble) -> None:
    (series,) = assemble(ct_series(slices=4, orientation=CORONAL)[::-1]).series
    depths = [frame.position[1] for frame in series.frames if frame.position]
    assert depths == sorted(depths)  # (1, 0, 0) × (0, 0, -1) points to the back: y ascends


def test_keys_do_not_depend_on_the_order_of_arrival(assemble: Assemble, tmp_path: Path) -> None:
    images = [*ct_series(slices=5), *numbered(ct_series(slices=3, orientation=CORONAL), 50)]
    images += numbered(ct_series(slices=3, rows=16), 80)
    paths = write(images, tmp_path)
    grouped = []
    for order in (paths, paths[::-1], paths[4:] + paths[:4]):
        assembled = group_into_stacks(Part10.of_file(path) for path in order)
        grouped.append({series.key: [frame.sop_instance_uid for frame in series.frames] for series in assembled.series})
    assert grouped[0] == grouped[1] == grouped[2]
    series_uid = images[0].SeriesInstanceUID
    assert [len(grouped[0][key]) for key in (series_uid, f"{series_uid}#2", f"{series_uid}#3")] == [5, 3, 3]


@pytest.mark.parametrize(
    "difference",
    [
        pytest.param({"orientation": CORONAL}, id="orientation"),
        pytest.param({"rows": 16}, id="rows"),
        pytest.param({"spacing": (2.5, 0.7, 0.8)}, id="pixel spacing"),
    ],
)
def test_a_series_is_always_split_by_its_grid(assemble: Assemble, difference: dict[str, Any]) -> None:
    assert sizes(assemble([*ct_series(slices=5), *numbered(ct_series(slices=3, **difference), 50)])) == [5, 3]


@pytest.mark.parametrize(
    "difference",
    [
        pytest.param({"FrameOfReferenceUID": uid("elsewhere")}, id="frame of reference"),
        pytest.param({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, id="localizer"),
        pytest.param({"PhotometricInterpretation": "MONOCHROME1"}, id="photometric interpretation"),
    ],
)
def test_a_series_is_always_split_by_kind_of_image(assemble: Assemble, difference: dict[str, Any]) -> None:
    further = changed(numbered(ct_series(slices=3, origin=(-120, -110, 60)), 50), **difference)
    assert sizes(assemble([*ct_series(slices=5), *further])) == [5, 3]


def test_an_orientation_that_wavers_within_rounding_splits_nothing(assemble: Assemble) -> None:
    images = ct_series(slices=6)
    for index, image in enumerate(images):
        image.ImageOrientationPatient = [1, 0.0005 + (-1) ** index * 1e-6, 0, 0, 1, 0]
    assert sizes(assemble(images)) == [6]


def test_step_and_shoot_with_an_acquisition_number_per_slice_stays_one_stack(assemble: Assemble) -> None:
    images = ct_series(slices=8)
    for number, image in enumerate(images, 1):
        image.AcquisitionNumber = number
    assert sizes(assemble(images)) == [8]


def test_step_and_shoot_that_lacks_slices_stays_one_stack_that_says_so(assemble: Assemble) -> None:
    images = ct_series(slices=24)
    for index, image in enumerate(images):
        image.AcquisitionNumber = index // 4
    (series,) = assemble(without(images, 4)).series
    with pytest.raises(UnsuitableSeries, match="missing"):
        series.volume()


@pytest.mark.parametrize("keyword", ["AcquisitionNumber", "SliceThickness"])
def test_regions_that_are_even_each_and_uneven_together_are_split(assemble: Assemble, keyword: str) -> None:
    fossa = changed(ct_series(slices=4, spacing=(2.5, 0.8, 0.8)), **{keyword: 1})
    brain = numbered(ct_series(slices=6, spacing=(5, 0.8, 0.8), origin=(-120, -110, -40)), 50)
    assembled = assemble([*fossa, *changed(brain, **{keyword: 2})])
    assert sizes(assembled) == [6, 4]
    assert [series.volume().spacing[0] for series in assembled.series] == pytest.approx([5, 2.5])


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"EchoTime": [12, 24]}, id="echo time"),
        pytest.param({"EchoNumbers": [1, 2]}, id="echo number"),
        pytest.param({"DiffusionBValue": [0.0, 1000.0]}, id="b-value"),
        pytest.param({"TemporalPositionIdentifier": [1, 2]}, id="temporal position"),
        pytest.param({"AcquisitionNumber": [1, 2]}, id="acquisition number"),
        pytest.param({"ImageType": [["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]]}, id="image type"),
        pytest.param({"ContentTime": ["101500", "101600"]}, id="content time"),
        pytest.param({"TriggerTime": [0, 400]}, id="trigger time"),
    ],
)
def test_repeated_positions_are_separated(assemble: Assemble, values: dict[str, Any]) -> None:
    images = repeated(mr_series(slices=4), 2, **values)
    for image in images:  # without it, only the attribute under test can tell them apart
        image.InstanceNumber = None
    if "EchoNumbers" in values:
        images = changed(images, EchoTime=None)
    assembled = assemble(images)
    assert sizes(assembled) == [4, 4]
    for series in assembled.series:
        series.volume()
        (keyword,) = values
        assert len({str(header.get(keyword)) for header in series.headers}) == 1
        assert "separated by" in series.warnings[0]


def test_diffusion_is_split_by_b_value_and_then_by_direction(assemble: Assemble) -> None:
    images = repeated(
        mr_series(slices=3),
        4,
        DiffusionBValue=[0.0, 1000.0, 1000.0, 1000.0],
        DiffusionGradientOrientation=[None, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
    )
    assembled = assemble(changed(images, InstanceNumber=None))
    assert sizes(assembled) == [3, 3, 3, 3]
    headers = [series.header for series in assembled.series]
    values = {(str(header.DiffusionBValue), str(header.get("DiffusionGradientOrientation"))) for header in headers}
    assert len(values) == 4


def test_an_echo_that_lacks_a_slice_does_not_stop_the_others(assemble: Assemble) -> None:
    images = repeated(mr_series(slices=4), 3, EchoTime=[10, 20, 30])
    assembled = assemble(without(images, 11))
    assert sizes(assembled) == [4, 4, 3]
    assert [series.header.EchoTime for series in assembled.series] == [10, 20, 30]


def test_time_points_that_only_instance_numbers_tell_apart_are_split_in_their_order(assemble: Assemble) -> None:
    images = repeated(mr_series(slices=4), 3)
    for index, image in enumerate(images):
        image.AcquisitionTime = f"1015{index:02d}"  # another for every slice: tells nothing apart
    assembled = assemble(images)
    assert sizes(assembled) == [4, 4, 4]
    numbers = [sorted(int(header.InstanceNumber) for header in series.headers) for series in assembled.series]
    assert numbers == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]


def test_a_true_duplicate_stays_and_the_volume_names_it(assemble: Assemble) -> None:
    images = duplicated(ct_series(slices=6), 2)
    (series,) = assemble(images).series
    assert len(series.frames) == 7
    with pytest.raises(UnsuitableSeries, match="same position") as error:
        series.volume()
    assert images[2].SOPInstanceUID in str(error.value)
    assert images[-1].SOPInstanceUID in str(error.value)
    assert str(error.value) in series.warnings


def test_late_slices_join_their_stack(assemble: Assemble) -> None:
    in_time, afterwards = late(ct_series(slices=6), 2)
    assert sizes(assemble(in_time)) == [4]
    assert sizes(assemble([*in_time, *afterwards])) == [6]


def test_warnings_say_what_prevents_a_volume(assemble: Assemble) -> None:
    (tilted_series,) = assemble(tilted(ct_series(slices=4), 14)).series
    assert "tilted" in tilted_series.warnings[0]


def test_images_without_positions_are_stacks_of_their_own(assemble: Assemble) -> None:
    images = [radiograph(), *numbered([radiograph()], 2)]
    assembled = assemble(images)
    assert sizes(assembled) == [1, 1]
    assert [series.key for series in assembled.series] == [
        images[0].SeriesInstanceUID,
        f"{images[0].SeriesInstanceUID}#2",
    ]
    with pytest.raises(UnsuitableSeries, match="no position"):
        assembled.series[0].volume()


def test_a_multi_frame_image_becomes_its_frames(assemble: Assemble) -> None:
    image = enhanced_ct(slices=5)
    image.PerFrameFunctionalGroupsSequence[0], image.PerFrameFunctionalGroupsSequence[4] = (
        image.PerFrameFunctionalGroupsSequence[4],
        image.PerFrameFunctionalGroupsSequence[0],
    )
    (series,) = assemble([image]).series
    assert [frame.number for frame in series.frames] == [5, 2, 3, 4, 1]
    assert len(series.headers) == 1
    assert all(frame.intercept == -1024 for frame in series.frames)
    assert series.volume().spacing == pytest.approx((2.5, 0.8, 0.8))


def test_a_multi_frame_image_of_several_time_points_is_split(assemble: Assemble) -> None:
    assembled = assemble([enhanced_ct(slices=4, times=3)])
    assert [[frame.number for frame in series.frames] for series in assembled.series] == [
        [1, 4, 7, 10],
        [2, 5, 8, 11],
        [3, 6, 9, 12],
    ]
    assert "temporal position 1" in assembled.series[0].warnings[0]


def test_a_cine_without_positions_is_one_stack(assemble: Assemble) -> None:
    image = radiograph()
    image.NumberOfFrames, image.PixelData = 3, image.PixelData * 3
    (series,) = assemble([image]).series
    assert [frame.number for frame in series.frames] == [1, 2, 3]


def test_results_and_documents_make_no_series(assemble: Assemble) -> None:
    report = radiograph(series="report")
    del report.Rows, report.Columns, report.PixelData
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.34"
    segmentation = radiograph(series="segmentation")
    segmentation.SOPClassUID = segmentation.file_meta.MediaStorageSOPClassUID = SegmentationStorage
    assembled = assemble([report, segmentation])
    assert assembled == StudyStacks(series=(), set_aside=())


def test_a_missing_modality_does_not_matter(assemble: Assemble) -> None:
    images = ct_series(slices=3)
    for image in images:
        del image.Modality, image.InstanceNumber, image.SeriesNumber, image.ImageType
    (series,) = assemble(images).series
    assert (series.modality, len(series.frames)) == ("", 3)


@pytest.mark.parametrize(
    ("keyword", "value", "reason"),
    [
        ("Rows", None, "no Rows"),
        ("Columns", None, "no Columns"),
        ("ImagePositionPatient", [1, 2], "Position"),
        ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0], "right angles"),
        ("PixelSpacing", [1, 2, 3], "Pixel Spacing"),
        ("RescaleSlope", 0, "Slope"),
        ("BitsAllocated", 12, "Bits Allocated"),
        ("BitsStored", 17, "Bits Stored"),
        ("PixelRepresentation", 7, "Pixel Representation"),
        ("SamplesPerPixel", 2, "Samples per Pixel"),
        ("PhotometricInterpretation", None, "Photometric"),
        ("NumberOfFrames", 10**9, "frames"),
        ("SeriesInstanceUID", None, "Series Instance UID"),
        ("StudyInstanceUID", None, "Study Instance UID"),
        ("PixelData", None, "no pixel data"),
    ],
)
def test_an_instance_that_makes_no_sense_is_set_aside_with_a_reason(
    assemble: Assemble, keyword: str, value: object, reason: str
) -> None:
    images = ct_series(slices=4)
    if value is None:
        delattr(images[1], keyword)
    else:
        setattr(images[1], keyword, value)
    assembled = assemble(images)
    assert sizes(assembled) == [3]
    ((set_aside, stated),) = assembled.set_aside
    assert set_aside == images[1].SOPInstanceUID
    assert reason in stated


def test_numbers_that_are_none_are_set_aside(tmp_path: Path) -> None:
    path = write(ct_series(slices=1, origin=(-123.25, 0, 0)), tmp_path)[0]
    path.write_bytes(path.read_bytes().replace(b"-123.25", b"-12x.25"))
    assembled = group_into_stacks([Part10.of_file(path)])
    assert assembled.series == ()
    assert "Image Position (Patient)" in assembled.set_aside[0][1]


def test_bytes_that_are_no_dicom_are_set_aside(tmp_path: Path) -> None:
    noise = tmp_path / "noise"
    noise.write_bytes(np.random.default_rng(1).bytes(3000))
    empty = tmp_path / "empty"
    empty.touch()
    assembled = group_into_stacks([Part10.of_file(noise), Part10.of_file(empty)])
    assert assembled.series == ()
    assert len(assembled.set_aside) == 2


def test_the_same_instance_twice_counts_once(tmp_path: Path) -> None:
    places = [Part10.of_file(path) for path in write(ct_series(slices=3), tmp_path)]
    assembled = group_into_stacks([*places, places[0]])
    assert sizes(assembled) == [3]
    assert "same SOP Instance UID" in assembled.set_aside[0][1]


def test_instances_are_read_out_of_one_file_that_holds_them_all(tmp_path: Path) -> None:
    images = ct_series(slices=4, orientation=AXIAL)
    paths = write(images, tmp_path / "single")
    pack, places = tmp_path / "pack", []
    with pack.open("wb") as file:
        for path in paths:
            file.write(b"between")
            places.append(Part10(path=pack, offset=file.tell(), length=path.stat().st_size))
            file.write(path.read_bytes())
    packed = group_into_stacks(places).series[0].volume()
    single = group_into_stacks(Part10.of_file(path) for path in paths).series[0].volume()
    assert np.array_equal(packed.array, single.array)


def test_an_instance_cut_off_in_its_header_does_not_go_on_in_the_next(tmp_path: Path) -> None:
    path = write(ct_series(slices=1), tmp_path)[0]
    assembled = group_into_stacks([Part10(path=path, length=600)])
    assert assembled.series == ()
    assert len(assembled.set_aside) == 1
