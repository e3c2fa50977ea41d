"""Objects are read back from their bytes, with highdicom where it can, and compared with what was asked for."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node.codes import SCT, UCUM
from node.compose import Case, compose
from node.compose.palette import PALETTE
from node.errors import BrokenResult
from node.images.series import Series, Volume
from node.results import Finding, Measurement, Segmentation
from node.testing import CORONAL, ct_series, enhanced_ct
from tests.lung_case import (
    LEFT,
    NODULE,
    RIGHT,
    bytes_of,
    composed,
    lung_case,
    lung_identity,
    lung_labels,
    lung_segmentation,
    lungs_on,
    on_grid_of,
    series_of,
    shape_of,
)

OBLIQUE = (0.9396926, 0.3420201, 0.0, -0.2961981, 0.8137977, 0.5)


def test_a_segmentation_gives_back_the_labels_it_was_made_of(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series())
    labels = lung_labels(series)
    seg, *_ = composed(series, [lung_segmentation(series, labels)])
    assert seg.SegmentationType == "BINARY"
    assert [item.SegmentLabel for item in seg.SegmentSequence] == ["Right lung", "Left lung", "Nodule 1"]
    assert (_decoded(seg, series) == labels).all()


@pytest.mark.parametrize("orientation", [CORONAL, OBLIQUE])
def test_each_frame_lies_on_the_image_it_names(
    tmp_path: Path, orientation: tuple[float, float, float, float, float, float]
) -> None:
    images = ct_series(orientation=orientation)
    by_uid = {image.SOPInstanceUID: image for image in images}
    series = series_of(tmp_path, reversed(images))
    labels = lung_labels(series)
    seg, *_ = composed(series, [lung_segmentation(series, labels)])
    assert (_decoded(seg, series) == labels).all()
    for frame in seg.PerFrameFunctionalGroupsSequence:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        image = by_uid[source.ReferencedSOPInstanceUID]
        assert source.ReferencedSOPClassUID == image.SOPClassUID
        assert np.allclose(frame.PlanePositionSequence[0].ImagePositionPatient, image.ImagePositionPatient, atol=1e-4)
    listed = seg.ReferencedSeriesSequence[0]
    assert listed.SeriesInstanceUID == images[0].SeriesInstanceUID
    assert {item.ReferencedSOPInstanceUID for item in listed.ReferencedInstanceSequence} == set(by_uid)


def test_frames_of_a_multi_frame_image_are_named_by_their_numbers(tmp_path: Path) -> None:
    image = enhanced_ct()
    series = series_of(tmp_path, [image])
    labels = np.zeros(shape_of(series), np.uint8)
    labels[2, 4:9, 5:9] = 1
    seg, *_ = composed(series, [Segmentation(labels=on_grid_of(series, labels), segments=[RIGHT])])
    (frame,) = seg.PerFrameFunctionalGroupsSequence
    source = frame.DerivationImageSequence[0].SourceImageSequence[0]
    assert source.ReferencedSOPInstanceUID == image.SOPInstanceUID
    assert source.ReferencedSOPClassUID == image.SOPClassUID
    assert source.ReferencedFrameNumber == series.frames[2].number
    group = image.PerFrameFunctionalGroupsSequence[series.frames[2].number - 1]
    position = frame.PlanePositionSequence[0].ImagePositionPatient
    assert np.allclose(position, group.PlanePositionSequence[0].ImagePositionPatient)
    assert len(seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 1


def test_frames_without_a_voxel_are_left_out(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series(slices=8))
    labels = np.zeros(shape_of(series), np.uint8)
    labels[3, :4, :4] = 1
    labels[4, :4, :4] = 2
    seg, *_ = composed(series, [Segmentation(labels=on_grid_of(series, labels), segments=[RIGHT, LEFT])])
    assert seg.NumberOfFrames == 2


@pytest.mark.parametrize("kind", [bool, np.int64, np.uint16, np.int8])
def test_labels_may_be_of_any_integer_type(tmp_path: Path, kind: type) -> None:
    series = series_of(tmp_path, ct_series())
    labels = (lung_labels(series) == 1).astype(kind)
    seg, *_ = composed(series, [Segmentation(labels=on_grid_of(series, labels), segments=[RIGHT])])
    assert (_decoded(seg, series) == labels).all()


def test_images_that_do_not_share_an_orientation_carry_no_segmentation(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series())
    turned = replace(series.frames[3], orientation=(0.999, 0.0447, 0.0, -0.0447, 0.999, 0.0))
    crooked = replace(series, frames=(*series.frames[:3], turned, *series.frames[4:]))
    with pytest.raises(BrokenResult, match="orientation"):
        compose(
            Case(
                inputs={"ct": crooked},
                results=[lungs_on(series)],
                identity=lung_identity(series),
            )
        )


@pytest.mark.parametrize(
    "change",
    [
        lambda volume: replace(volume, affine=volume.affine + np.eye(4) * 0.01),
        lambda volume: replace(volume, array=volume.array[:-1]),
        lambda volume: replace(volume, frame_of_reference_uid="1.2.3"),
    ],
)
def test_labels_on_no_grid_of_the_inputs_are_a_broken_result(
    tmp_path: Path, change: Callable[[Volume], Volume]
) -> None:
    series = series_of(tmp_path, ct_series())
    result = Segmentation(labels=change(on_grid_of(series, lung_labels(series))), segments=[RIGHT, LEFT, NODULE])
    with pytest.raises(BrokenResult, match="grid"):
        compose(lung_case(series, [result]))


def test_segments_say_what_and_where_and_by_what_they_were_made(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series())
    seg, *_ = composed(series, [lungs_on(series)])
    right, left, nodule = seg.SegmentSequence
    side = right.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0]
    assert side.CodeMeaning == "Right"
    region = nodule.AnatomicRegionSequence[0]
    assert (region.CodeMeaning, region.AnatomicRegionModifierSequence[0].CodeMeaning) == ("Lung", "Left")
    assert right.SegmentAlgorithmType == "AUTOMATIC"
    algorithm = right.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("CT lung", "1.0.0")
    assert "ct_lung_net 3" in algorithm.AlgorithmParameters
    for item, color in zip((right, left, nodule), ((10, 200, 30), PALETTE[1], PALETTE[2]), strict=True):
        assert item.RecommendedDisplayCIELabValue == list(hd.color.CIELabColor.from_rgb(*color).value)


def test_two_segmentations_of_two_series_are_two_objects_in_series_of_their_own(tmp_path: Path) -> None:
    thick = series_of(tmp_path / "thick", ct_series(series="thick", slices=4, spacing=(5.0, 0.8, 0.8)))
    thin = series_of(tmp_path / "thin", ct_series(series="thin"))
    results = [
        Segmentation(labels=on_grid_of(thin, lung_labels(thin) == 1), segments=[RIGHT]),
        Segmentation(labels=on_grid_of(thick, lung_labels(thick) == 2), segments=[NODULE]),
    ]
    objects = compose(Case(inputs={"thick": thick, "thin": thin}, results=results, identity=lung_identity(thin)))
    assert [made.Modality for made in objects] == ["SEG", "SEG", "SR"]
    assert [made.SeriesNumber for made in objects] == [3001, 3002, 3003]
    assert len({made.SeriesInstanceUID for made in objects} | {thick.series_uid, thin.series_uid}) == 5
    named = [made.ReferencedSeriesSequence[0].SeriesInstanceUID for made in objects[:2]]
    assert named == [thin.series_uid, thick.series_uid]
    assert objects[0].SegmentSequence[0].TrackingUID != objects[1].SegmentSequence[0].TrackingUID


def test_of_two_series_on_one_grid_a_segmentation_lies_on_the_one_it_names(tmp_path: Path) -> None:
    before, after = (series_of(tmp_path / name, ct_series(series=name)) for name in ("before", "after"))
    named = replace(lungs_on(after), source=after)
    seg, *_ = compose(Case(inputs={"before": before, "after": after}, results=[named], identity=lung_identity(after)))
    assert [one.SeriesInstanceUID for one in seg.ReferencedSeriesSequence] == [after.series_uid]


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    def bytes_(folder: Path) -> list[bytes]:
        series = series_of(folder, ct_series())
        volume = Measurement(name=SCT.Volume, value=3.5, unit=UCUM.CubicCentimeter, of=LEFT)
        results = [lungs_on(series), volume, Finding(name=SCT.Mass, present=False)]
        return [bytes_of(made) for made in compose(lung_case(series, results))]

    assert bytes_(tmp_path / "one") == bytes_(tmp_path / "two")


def _decoded(seg: Dataset, series: Series) -> NDArray[np.uint8]:
    """Return the labels (slice, row, column) that a SEG says, frame by frame at the image it names."""
    read = hd.seg.Segmentation.from_dataset(seg)
    places = {(frame.sop_instance_uid, frame.number): index for index, frame in enumerate(series.frames)}
    labels = np.zeros(shape_of(series), np.uint8)
    pixels = read.pixel_array.reshape(-1, *labels.shape[1:])
    shared = seg.SharedFunctionalGroupsSequence[0]
    for plane, group in zip(pixels, seg.PerFrameFunctionalGroupsSequence, strict=True):
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        place = places[source.ReferencedSOPInstanceUID, int(source.get("ReferencedFrameNumber", 1))]
        number = (group if "SegmentIdentificationSequence" in group else shared).SegmentIdentificationSequence[0]
        labels[place][plane > 0] = number.ReferencedSegmentNumber
    return labels
