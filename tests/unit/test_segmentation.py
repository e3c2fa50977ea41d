"""Segmentations of every form are what highdicom alone would have made, and are read back by it to the same masks."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.codes import SCT
from node.compose import Case, Identity, write_object
from node.compose.seg import Form, SegmentationForm, SegmentationPart, _segment_descriptions, segmentation_objects
from node.compose.seg_frames import PixelStream
from node.images.part10 import Part10
from node.images.series import Series
from node.images.stacks import group_into_stacks
from node.results import Segment, Segmentation
from node.testing import CORONAL, ct_series, enhanced_ct, mr_series
from node.testing import write as write_images

OBLIQUE = (0.9396926, 0.3420201, 0.0, -0.2961981, 0.8137977, 0.5)
SEGMENTS = tuple(
    Segment(label=label, type=kind, category=SCT.Organ)
    for label, kind in (("Liver", SCT.Liver), ("Kidney", SCT.Kidney), ("Spleen", SCT.Spleen))
)
STACKS: dict[str, Callable[[], list[Dataset]]] = {
    "axial": ct_series,
    "coronal": lambda: ct_series(orientation=CORONAL),
    "oblique": lambda: ct_series(orientation=OBLIQUE),
    "odd number of bits": lambda: ct_series(rows=13, columns=11),
    "mr": mr_series,
}
OWN = {
    "DimensionOrganizationUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "ContributingEquipmentSequence",
    "BodyPartExamined",
    "PositionReferenceIndicator",
    "ContentDescription",
    "InstanceCreatorUID",
}
"""What is not of the frames: names, and what every object of the node has."""


@pytest.mark.parametrize("kind", STACKS)
@pytest.mark.parametrize("form", ["BINARY", "LABELMAP", "FRACTIONAL"])
def test_the_object_equals_that_of_highdicom(tmp_path: Path, kind: str, form: Form) -> None:
    series = _series(tmp_path, STACKS[kind]())
    result = _probable(series) if form == "FRACTIONAL" else _labelled(series)
    made, theirs = _made(series, result, form), _theirs(series, result, form)
    if form == "LABELMAP":
        theirs.SegmentSequence = [*theirs.SegmentSequence[1:], theirs.SegmentSequence[0]]
    for element in theirs:
        if element.keyword in OWN or element.keyword.startswith(("Content", "Instance", "Series", "Contributing")):
            continue
        if element.keyword == "PixelData":  # but for the byte that makes it even: highdicom's is the character 0
            length = made.NumberOfFrames * made.Rows * made.Columns * made.BitsAllocated // 8
            assert made.PixelData[:length] == element.value[:length]
            continue
        assert element.keyword in made, element.keyword
        assert _plain(made[element.tag]) == _plain(element), element.keyword


def test_encoded_groups_are_the_bytes_that_pydicom_writes(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    content = _bytes(segmentation_objects(_form(series, _labelled(series)), number=0)[0])
    again = BytesIO()
    read = dcmread(BytesIO(content))
    assert len(list(read.iterall())) > 500, "all is decoded"
    read.save_as(again, enforce_file_format=True)
    assert again.getvalue() == content


@pytest.mark.parametrize("kind", [*STACKS, "enhanced"])
def test_highdicom_reads_the_labels_back(tmp_path: Path, kind: str) -> None:
    series = _series(tmp_path, [enhanced_ct()] if kind == "enhanced" else STACKS[kind]())
    result = _labelled(series)
    for form in ("BINARY", "LABELMAP"):
        read = hd.seg.Segmentation.from_dataset(_made(series, result, form))
        volume = read.get_volume(combine_segments=True, rescale_fractional=False)
        assert _same_place(volume, series, result.labels.array)


def test_overlapping_segments_keep_all_their_voxels(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    masks = _overlapping(series)
    grid = _labelled(series).labels
    result = Segmentation.of_masks([grid.with_array(mask) for mask in masks], SEGMENTS[:2])
    made = _made(series, result)
    assert made.SegmentsOverlap == "YES"
    assert made.SegmentationType == "BINARY"
    read = hd.seg.Segmentation.from_dataset(made)
    for number, mask in enumerate(masks, 1):
        back = read.get_volume(segment_numbers=[number], combine_segments=False)
        assert _same_place(back, series, mask.astype(np.uint8))


def test_masks_that_do_not_touch_do_not_overlap(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    labelled = _labelled(series)
    masks = [labelled.labels.with_array(labelled.labels.array == number) for number in (1, 2, 3)]
    result = Segmentation.of_masks(masks, SEGMENTS)
    assert (result.labels.array == labelled.labels.array).all()
    assert _made(series, result).SegmentsOverlap == "NO"


def test_probabilities_are_read_back_as_far_as_a_byte_tells_them(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    result = _probable(series)
    made = _made(series, result, "FRACTIONAL")
    assert (made.SegmentationType, made.SegmentationFractionalType) == ("FRACTIONAL", "PROBABILITY")
    read = hd.seg.Segmentation.from_dataset(made)
    for number, mask in enumerate(result.masks, 1):
        back = read.get_volume(segment_numbers=[number], combine_segments=False)
        assert np.abs(_in_order(back, series) - mask.array).max() <= 0.5 / 255 + 1e-6


def test_without_fractional_objects_probabilities_from_a_half_on_are_a_mask(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    result = _probable(series)
    read = hd.seg.Segmentation.from_dataset(_made(series, result, "BINARY"))
    for number, mask in enumerate(result.masks, 1):
        back = read.get_volume(segment_numbers=[number], combine_segments=False)
        assert _same_place(back, series, (mask.array >= 0.5).astype(np.uint8))


def test_a_label_map_describes_each_value_and_the_background_last(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    made = _made(series, _labelled(series), "LABELMAP")
    assert [item.SegmentNumber for item in made.SegmentSequence] == [1, 2, 3, 0]
    assert made.NumberOfFrames == 7, "the slice without a voxel is left out"


@pytest.mark.parametrize("most", [100, 12, 7, 5, 2])
def test_no_object_has_more_frames_than_it_may(tmp_path: Path, most: int) -> None:
    series = _series(tmp_path, ct_series())
    result = _labelled(series)
    made = _parts(series, result, most=most)
    assert all(seg.NumberOfFrames <= most for seg in made)
    assert len({seg.SeriesInstanceUID for seg in made}) == len(made), "viewers show one object of a series"
    labels = np.zeros_like(result.labels.array)
    names = [segment.label for segment in SEGMENTS]
    for seg in made:
        for item in seg.SegmentSequence:
            read, number = hd.seg.Segmentation.from_dataset(seg), int(item.SegmentNumber)
            back = read.get_volume(segment_numbers=[number], combine_segments=False)
            labels[_in_order(back, series) > 0] = names.index(item.SegmentLabel) + 1
    assert (labels == result.labels.array).all()
    tracked = [item.TrackingUID for seg in made for item in seg.SegmentSequence]
    assert len(set(tracked)) == 3, "however it is cut, a segment has one Tracking UID"


@pytest.mark.parametrize("most", [3, 1])
def test_label_maps_are_cut_by_slices(tmp_path: Path, most: int) -> None:
    series = _series(tmp_path, ct_series())
    result = _labelled(series)
    made = _parts(series, result, "LABELMAP", most=most)
    assert [seg.NumberOfFrames for seg in made] == ([3, 3, 1] if most == 3 else [1] * 7)
    back = sum(
        _in_order(hd.seg.Segmentation.from_dataset(seg).get_volume(combine_segments=True), series) for seg in made
    )
    assert (back == result.labels.array).all()


def test_pixels_are_read_in_any_pieces_and_again() -> None:
    pixels = PixelStream(lambda: iter([b"abc", b"d", b"efgh"]), 8)
    assert (pixels.seek(0, 2), pixels.seek(0)) == (8, 0)
    assert [pixels.read(3), pixels.read(4), pixels.read(), pixels.read()] == [b"abc", b"defg", b"h", b""]
    pixels.seek(0)
    assert pixels.read(100) == b"abcdefgh"


@pytest.mark.parametrize(
    ("masks", "segments", "said"),
    [
        ([], SEGMENTS, "one volume for each segment"),
        ([np.zeros((8, 32, 32), bool)], SEGMENTS[:2], "1 masks for 2 segments"),
        ([np.full((8, 32, 32), 1.5)], SEGMENTS[:1], "from 1.5 to 1.5"),
        ([np.full((8, 32, 32), np.nan)], SEGMENTS[:1], "not from 0 to 1"),
        ([np.zeros((8, 32, 32), bool), np.zeros((7, 32, 32), bool)], SEGMENTS[:2], "all of one shape"),
    ],
)
def test_impossible_masks_are_refused(
    tmp_path: Path, masks: list[NDArray[Any]], segments: Sequence[Segment], said: str
) -> None:
    grid = _labelled(_series(tmp_path, ct_series())).labels
    with pytest.raises(ValueError, match=said):
        Segmentation.of_masks([type(grid)(array=mask, affine=grid.affine) for mask in masks], segments)


def _series(folder: Path, images: Sequence[Dataset]) -> Series:
    (series,) = group_into_stacks(Part10.of_file(path) for path in write_images(images, folder / "images")).series
    return series


def _labelled(series: Series) -> Segmentation:
    """Return labels 1 to 3 on all slices but the last, alike in no two directions."""
    labels = np.zeros((len(series.frames), int(series.header.Rows), int(series.header.Columns)), np.uint8)
    for index in range(len(labels) - 1):
        labels[index, 1 : 3 + index, 1:5] = 1
        labels[index, 2:4, 6 : 7 + index // 2] = 2 if index % 3 else 0
        labels[index, 11, 5 + index % 6] = 3
    grid = _grid(series)
    return Segmentation(labels=grid.with_array(labels), segments=SEGMENTS)


def _grid(series: Series) -> Any:
    from node.images.series import Volume

    shape = (len(series.frames), int(series.header.Rows), int(series.header.Columns))
    return Volume(
        array=np.zeros(shape, np.uint8), affine=series.affine(), frame_of_reference_uid=series.frame_of_reference_uid
    )


def _probable(series: Series) -> Segmentation:
    labels = _labelled(series).labels
    random = np.random.default_rng(3)
    masks = [(labels.array == number) * random.random(labels.array.shape) for number in (1, 2, 3)]
    return Segmentation.of_masks([labels.with_array(mask.astype(np.float32)) for mask in masks], SEGMENTS)


def _overlapping(series: Series) -> list[NDArray[np.bool_]]:
    first = np.zeros(_grid(series).array.shape, bool)
    second = first.copy()
    first[1:6, 3:12, 3:12] = True
    second[3:7, 8:15, 5:9] = True
    return [first, second]


def _form(series: Series, result: Segmentation, form: Form = "BINARY", most: int | None = None) -> SegmentationForm:
    case = Case(inputs={"ct": series}, results=[result], identity=_identity(series), most_frames=most)
    return SegmentationForm(case=case, order=0, form=form)


def _parts(series: Series, result: Segmentation, form: Form = "BINARY", most: int | None = None) -> list[Dataset]:
    made = segmentation_objects(_form(series, result, form, most), number=0)
    return [dcmread(BytesIO(_bytes(part))) for part in made]


def _made(series: Series, result: Segmentation, form: Form = "BINARY") -> Dataset:
    (made,) = _parts(series, result, form)
    assert {item.SegmentNumber for item in made.SegmentSequence} - {0} == {*range(1, len(result.segments) + 1)}
    return made


def _bytes(made: Dataset) -> bytes:
    content = BytesIO()
    write_object(made, content)
    return content.getvalue()


def _theirs(series: Series, result: Segmentation, form: Form) -> Dataset:
    """Return what highdicom makes of the whole stack, as it reads it itself."""
    identity = _identity(series)
    whole = SegmentationPart(segments=(1, 2, 3), slices=range(len(series.frames)))
    pixels = np.stack([mask.array for mask in result.masks], -1) if result.masks else result.labels.array
    built = hd.seg.Segmentation(
        source_images=list(series.headers),
        pixel_array=pixels,
        segmentation_type=form,
        segment_descriptions=list(_segment_descriptions(_form(series, result, form), whole)),
        series_instance_uid="1.2.3",
        series_number=3001,
        sop_instance_uid="1.2.4",
        instance_number=1,
        manufacturer="isocenter project",
        manufacturer_model_name="isocenter",
        software_versions="ISOCENTER_0_1",
        device_serial_number=identity.device_uid,
    )
    content = BytesIO()
    built.save_as(content)
    return dcmread(BytesIO(content.getvalue()))


def _plain(element: Any) -> str:
    """Return an element in words, but for UIDs drawn by lot, and with the decimals that a distance of slices has."""
    words = element.to_json_dict(None, 0)
    if element.VR == "SQ":
        for item in element.value:
            item.pop("DimensionOrganizationUID", None)
        words = [item.to_json_dict() for item in element.value]
    return re.sub(r"\d+\.\d+", lambda found: f"{float(found[0]):.6f}", str(words))


def _in_order(volume: hd.Volume, series: Series) -> NDArray[Any]:
    """Return an array of highdicom's on the grid of the series, (slice, row, column)."""
    whole = np.zeros((len(series.frames), *volume.array.shape[1:3]), np.float32)
    array = volume.array[..., 0] if volume.array.ndim == 4 else volume.array
    inverse = np.linalg.inv(series.affine())
    for index in range(len(array)):
        place = inverse @ volume.affine @ [index, 0, 0, 1]
        assert np.allclose(place[1:3], 0, atol=1e-2)
        whole[round(place[0])] = array[index]
    return whole


def _same_place(volume: hd.Volume, series: Series, expected: NDArray[Any]) -> bool:
    return bool((_in_order(volume, series) == expected).all())


def _identity(series: Series) -> Identity:
    return Identity(
        study_uid=series.study_uid,
        revision=1,
        plugin="organs",
        version="1.0.0",
        title="Organs",
        manufacturer="",
        models=("organs 1",),
        at=datetime(2026, 11, 21, 9, 30, 15, tzinfo=UTC),
        first_series_number=3001,
        device_uid="2.25.42",
    )
