"""The report is one: a summary, and groups that all have coordinates; what changed since a prior is said."""

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.codes import DCM, SCT, UCUM
from node.compose import Case, Identity, compose, write_object
from node.compose.sr.groups import border
from node.compose.sr.statement_items import INDETERMINATE_FROM, SCORE
from node.errors import BrokenResult
from node.images.part10 import Part10
from node.images.series import Series, Volume
from node.images.stacks import group_into_stacks
from node.results import (
    Comparison,
    Finding,
    Heatmap,
    KeyImages,
    Measurement,
    Region,
    Result,
    Segment,
    Segmentation,
    Summary,
)
from node.testing import ct_series, enhanced_ct, radiograph
from node.testing import write as write_images
from tests.peers import SYSTEM_PATH, missing

NODULE = Segment(label="Nodule 1", type=SCT.Nodule, category=SCT.MorphologicallyAbnormalStructure, region=SCT.Lung)
GROUPS = {"1410": "planar", "1411": "volumetric", "1501": "image-level"}


def test_the_report_is_one_and_every_group_has_coordinates_or_is_of_one_that_has(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    volume = Measurement(name=SCT.Volume, value=1.5, unit=UCUM.CubicCentimeter, of=NODULE)
    missing = replace(NODULE, label="Nodule 2")
    ball = _ball(series)
    both = Segmentation(labels=ball.labels, segments=[NODULE, missing])
    _, report = _composed(series, [both, volume, Finding(name=SCT.Mass, present=False)])
    assert _kinds(report) == ["planar", "volumetric", "planar", "planar"]
    groups = _groups(report)
    placed = {_tracking(group) for group in groups if any(item.ValueType == "SCOORD" for item in group.ContentSequence)}
    assert placed == {_tracking(group) for group in groups}
    content = hd.sr.Comprehensive3DSR.from_dataset(report).content
    (of_segment,) = content.get_volumetric_roi_measurement_groups()
    assert [(one.name, one.value) for one in of_segment.get_measurements()] == [(SCT.Volume, 1.5)]
    outlines = content.get_planar_roi_measurement_groups(tracking_uid=of_segment.tracking_uid)
    assert [[(one.name, one.value) for one in outline.get_measurements()] for outline in outlines] == [
        [(SCT.Area, 12 * 0.64)]
    ]


def test_the_summary_and_its_limits_come_before_everything_that_was_found(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    _, report = _composed(series, [_ball(series), Summary("One nodule of 7 mm", glance="nodule 7 mm")])
    texts, library, measured = report.ContentSequence[-3:]
    assert [_name(one) for one in (texts, library, measured)] == [
        "Qualitative Evaluations", "Image Library", "Imaging Measurements",
    ]  # fmt: skip
    said = [(_name(item), item.TextValue) for item in texts.ContentSequence]
    assert said[:2] == [
        ("Summary", "One nodule of 7 mm"), ("Comment", "Network brought by its user, validation unknown."),
    ]  # fmt: skip
    assert said[2][1].startswith("Research use only")
    assert report.SeriesDescription == "AI Nodules: nodule 7 mm (validation unknown, research)"
    assert {item.ContinuityOfContent for item in _items(report) if item.ValueType == "CONTAINER"} == {"SEPARATE"}


def test_what_has_no_place_stands_in_one_group_with_the_whole_image_as_its_place(tmp_path: Path) -> None:
    series = _series(tmp_path, [radiograph()])
    scored = ((SCT.Mass, 0.9), (SCT.Nodule, 0.1), (SCT.PleuralEffusion, 0.8))
    findings = [Finding(name=name, score=score, threshold=0.5) for name, score in scored]
    area = Measurement(name=SCT.Area, value=3, unit=UCUM.SquareMillimeter)
    (report,) = _composed(series, [area, *findings])
    assert _kinds(report) == ["planar"]
    ((points, reference),) = _coordinates(report)
    rows, columns = int(series.header.Rows), int(series.header.Columns)
    assert points.tolist() == [[0, 0], [columns, 0], [columns, rows], [0, rows], [0, 0]]
    assert reference.ReferencedSOPInstanceUID == series.header.SOPInstanceUID
    (group,) = hd.sr.Comprehensive3DSR.from_dataset(report).content.get_planar_roi_measurement_groups()
    scores = [(one.name.meaning, one.value) for one in group.get_measurements()]
    assert scores == [
        ("Mass, presence score 0-1", 0.9), ("Pleural effusion, presence score 0-1", 0.8), ("Area", 3),
    ]  # fmt: skip
    assert len({one.name.value for one in group.get_measurements()}) == 3


def test_a_viewer_that_prints_numbers_alone_prints_none_of_what_is_absent(tmp_path: Path) -> None:
    series = _series(tmp_path, [radiograph()])
    absent = Finding(name=SCT.Nodule, score=0.1, threshold=0.5)
    unsure = Finding(name=SCT.Mass, score=0.4, threshold=0.5, indeterminate_from=0.3)
    (report,) = _composed(series, [absent, unsure])
    (group,) = hd.sr.Comprehensive3DSR.from_dataset(report).content.get_planar_roi_measurement_groups()
    assert group.get_measurements() == []
    scores = [
        (_name(item), _name(score), float(score.MeasuredValueSequence[0].NumericValue), [*map(_name, _below(score))])
        for item in _items(report)
        if item.ValueType == "CODE"
        for score in _below(item)
        if score.ValueType == "NUM"
    ]
    assert scores == [
        ("Nodule", SCORE.meaning, 0.1, ["Threshold Value"]),
        ("Mass", SCORE.meaning, 0.4, ["Threshold Value", INDETERMINATE_FROM.meaning]),
    ]


@pytest.mark.parametrize("images", [ct_series, lambda: [radiograph()]], ids=["maps", "pictures"])
def test_heat_maps_of_one_series_of_images_share_a_series(tmp_path: Path, images: Callable[[], Any]) -> None:
    series = _series(tmp_path, images())
    array = np.ones((len(series.frames), series.header.Rows, series.header.Columns), np.float32)
    heat = [Heatmap(array=array, source=series, name=DCM.ClassActivation, label=label) for label in ("Mass", "Nodule")]
    *maps, report = _composed(series, heat)
    assert len({one.SOPInstanceUID for one in maps}) == 2
    assert [one.InstanceNumber for one in maps] == [1, 2]
    assert len({(one.SeriesInstanceUID, one.SeriesNumber, one.SeriesDescription) for one in maps}) == 1
    assert report.SeriesNumber == maps[0].SeriesNumber + 1


def test_a_report_lists_what_was_made_beside_it_as_evidence(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    heat = Heatmap(array=np.ones((8, 32, 32), np.float32), source=series, name=DCM.ClassActivation, label="Attention")
    key = KeyImages(images=[series.frames[1]])
    made = {one.Modality: one for one in _composed(series, [_ball(series), heat, key])}
    (study,) = made["SR"].CurrentRequestedProcedureEvidenceSequence
    listed = {
        item.ReferencedSOPInstanceUID for one in study.ReferencedSeriesSequence for item in one.ReferencedSOPSequence
    }
    assert {made["SEG"].SOPInstanceUID, made["OT"].SOPInstanceUID} <= listed
    assert made["KO"].SOPInstanceUID not in listed, "another archive may have the report without it"
    opened = _coordinates(made["SR"])[0][1].ReferencedSOPInstanceUID
    assert opened == series.frames[1].sop_instance_uid, "the report opens on the key image"


def test_the_outline_is_where_the_segment_is_largest_and_on_that_image(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    _, report = _composed(series, [_ball(series)])
    points, reference = _coordinates(report)[1]
    assert reference.ReferencedSOPInstanceUID == series.frames[4].sop_instance_uid
    assert points.min(axis=0).tolist() == [10, 5]
    assert points.max(axis=0).tolist() == [14, 9], "the outer edges of the pixels, not their centres"
    assert (points[0] == points[-1]).all(), "a closed line ends where it began"


def test_the_frame_of_a_multi_frame_image_is_named_by_its_number(tmp_path: Path) -> None:
    series = _series(tmp_path, [enhanced_ct()])
    *_, report = _composed(series, [_ball(series, at=2)])
    _, reference = _coordinates(report)[1]
    assert reference.ReferencedFrameNumber == series.frames[2].number


def test_a_measurement_of_one_phase_of_a_heartbeat_says_when_it_was(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    measurements = [
        Measurement(name=SCT.Volume, value=value, unit=UCUM.CubicCentimeter, after_r_wave=time)
        for value, time in ((120.0, 0.0), (60.0, 320.5))
    ]
    (report,) = _composed(series, measurements)
    numbers = [item for item in _items(report) if item.ValueType == "NUM" and _name(item) == "Volume"]
    times = [next(one for one in item.ContentSequence if one.ValueType == "NUM") for item in numbers]
    assert {one.RelationshipType for one in times} == {"INFERRED FROM"}
    values = [(one.MeasuredValueSequence[0].NumericValue, _name(one)) for one in times]
    assert values == [(0.0, "Time after the R wave"), (320.5, "Time after the R wave")]


@pytest.mark.parametrize(
    ("kind", "points", "graphic", "expected"),
    [
        ("point", [(3.5, 4.5)], "POINT", [3.5, 4.5]),
        ("polyline", [(1, 2), (3, 4)], "POLYLINE", [1, 2, 3, 4]),
        ("contour", [(1, 2), (3, 4), (5, 2)], "POLYLINE", [1, 2, 3, 4, 5, 2, 1, 2]),
        ("box", [(1, 2), (5, 7)], "POLYLINE", [1, 2, 5, 2, 5, 7, 1, 7, 1, 2]),
        ("ellipse", [(1, 5), (9, 5), (5, 3), (5, 7)], "ELLIPSE", [1, 5, 9, 5, 5, 3, 5, 7]),
    ],
)
def test_a_region_on_an_image_is_a_planar_group(
    tmp_path: Path, kind: str, points: list[tuple[float, float]], graphic: str, expected: list[float]
) -> None:
    series = _series(tmp_path, [radiograph()])
    region = _region(kind, points, image=series.frames[0], score=0.75, threshold=0.2)
    diameter = Measurement(name=SCT.Diameter, value=8, unit=UCUM.Millimeter, of=region)
    (report,) = _composed(series, [region, diameter])
    item = [item for item in _items(report) if item.ValueType == "SCOORD"][1]
    assert (item.GraphicType, list(item.GraphicData)) == (graphic, expected)
    _, group = hd.sr.Comprehensive3DSR.from_dataset(report).content.get_planar_roi_measurement_groups()
    assert [one.value for one in group.get_measurements()] == [8, 0.75]
    assert _summary(report) == "All algorithms succeeded; with findings"


def test_a_place_in_the_patient_is_reported_in_space_and_drawn_on_its_image(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    assert series.frames[3].position is not None
    at = np.add(series.frames[3].position, (0.8 * 10, 0.8 * 6, 0.4))
    region = _region("point3d", [at], frame_of_reference_uid=series.frame_of_reference_uid)
    (report,) = _composed(series, [region])
    (place,) = [item for item in _items(report) if item.ValueType == "SCOORD3D"]
    assert np.allclose(place.GraphicData, at)
    points, reference = _coordinates(report)[1]
    assert np.allclose(points, [[10.5, 6.5]])
    assert reference.ReferencedSOPInstanceUID == series.frames[3].sop_instance_uid
    assert len({_tracking(group) for group in _groups(report)[1:]}) == 1


def test_a_polygon_in_no_plane_of_the_images_is_reported_in_space_and_its_centre_on_the_nearest(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    corner = series.frames[3].position
    assert corner is not None
    region = _region(
        "polygon3d",
        np.add(corner, [(2, 2, 0), (5, 2, 0), (5, 6, 2.4)]),
        frame_of_reference_uid=series.frame_of_reference_uid,
    )
    (report,) = _composed(series, [region])
    assert _kinds(report) == ["planar", "planar", "planar"]
    assert [len(points) for points, _ in _coordinates(report)] == [5, 1]


def test_what_is_said_of_a_region_that_is_not_returned_is_a_broken_result(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    region = _region("point", [(3, 4)], image=series.frames[0])
    twin = replace(region)
    stray = Measurement(name=SCT.Diameter, value=8, unit=UCUM.Millimeter, of=twin)
    with pytest.raises(BrokenResult, match="'Spot'"):
        compose(_case(series, [region, stray]))


def test_a_comparison_tells_what_was_what_is_and_how_fast(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    known = replace(NODULE, tracking_uid="2.25.77")
    measured = Measurement(name=SCT.Volume, value=1.5, unit=UCUM.CubicCentimeter, of=known)
    compared = Comparison(measurement=measured, prior=0.75, days=90)
    seg, report = _composed(series, [_ball(series, known), compared])
    assert seg.SegmentSequence[0].TrackingUID == "2.25.77"
    (group,) = hd.sr.Comprehensive3DSR.from_dataset(report).content.get_volumetric_roi_measurement_groups()
    assert group.tracking_uid == "2.25.77"
    told = [(one.name.meaning, one.value, one.unit.value) for one in group.get_measurements()]
    assert told == [
        ("Volume", 1.5, "cm3"),
        ("Value in the prior", 0.75, "cm3"),
        ("Time since the prior", 90, "d"),
        ("Change since the prior", 0.75, "cm3"),
        ("Change since the prior in percent", 100, "%"),
        ("Doubling time", 90, "d"),
    ]


@pytest.mark.parametrize(("prior", "value", "doubling"), [(2, 1, None), (0, 1, None), (1, 2, 100), (1, 1, None)])
def test_only_what_grows_has_a_doubling_time(prior: float, value: float, doubling: float | None) -> None:
    known = replace(NODULE, tracking_uid="2.25.77")
    measured = Measurement(name=SCT.Volume, value=value, unit=UCUM.CubicCentimeter, of=known)
    assert Comparison(measurement=measured, prior=prior, days=100).doubling_days == doubling


def test_a_comparison_needs_the_tracking_uid_of_the_prior() -> None:
    measured = Measurement(name=SCT.Volume, value=1, unit=UCUM.CubicCentimeter, of=NODULE)
    with pytest.raises(ValueError, match="tracking_uid"):
        Comparison(measurement=measured, prior=1, days=100)


def test_a_segmentation_in_several_objects_has_a_group_for_each_and_its_numbers_once(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    volume = Measurement(name=SCT.Volume, value=1.5, unit=UCUM.CubicCentimeter, of=NODULE)
    *segs, report = _composed(series, [_ball(series), volume], most_frames=2)
    groups = hd.sr.Comprehensive3DSR.from_dataset(report).content.get_volumetric_roi_measurement_groups()
    assert len(segs) == len(groups) == 3
    assert [len(group.get_measurements()) for group in groups] == [1, 0, 0]
    named = [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in _items(report) if _segment(item)]
    assert named == [seg.SOPInstanceUID for seg in segs]


@pytest.mark.skipif(bool(missing("dsrdump")), reason=missing("dsrdump"))
def test_dsrdump_reads_the_report(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    region = _region("ellipse", [(1, 5), (9, 5), (5, 3), (5, 7)], image=series.frames[0], score=0.5, threshold=0.2)
    _, report = _composed(series, [_ball(series), region])
    path = tmp_path / "report.dcm"
    report.save_as(path)
    read = subprocess.run(["dsrdump", path], capture_output=True, text=True, check=False, env={"PATH": SYSTEM_PATH})
    assert read.returncode == 0, read.stderr
    assert "E: " not in read.stderr
    assert "Nodule 1" in read.stdout


def test_a_border_of_very_many_corners_is_thinned_out() -> None:
    rough = np.random.default_rng(5).random((400, 200)) > 0.3
    rough[:, 0] = True
    outline = border(rough)
    assert 2000 < len(outline) <= 4000


def _series(folder: Path, images: Sequence[Dataset]) -> Series:
    (series,) = group_into_stacks(Part10.of_file(path) for path in write_images(images, folder / "images")).series
    return series


def _ball(series: Series, segment: Segment = NODULE, at: int = 4) -> Segmentation:
    """Return a segment on many slices that is largest on the one at that place: 12 pixels there."""
    labels = np.zeros((len(series.frames), int(series.header.Rows), int(series.header.Columns)), np.uint8)
    labels[max(at - 2, 0) : at + 3, 6:8, 11:13] = 1
    labels[at, 5:9, 11:13] = labels[at, 6:8, 10:14] = 1
    volume = Volume(array=labels, affine=series.affine(), frame_of_reference_uid=series.frame_of_reference_uid)
    return Segmentation(labels=volume, segments=[segment])


def _region(kind: str, points: object, **values: object) -> Region:
    return Region(kind=kind, points=np.array(points), label="Spot", type=SCT.Nodule, **values)  # type: ignore[arg-type]


def _composed(series: Series, results: Sequence[Result], **more: Any) -> list[Dataset]:
    made = compose(_case(series, results, **more))
    read = []
    for one in made:
        content = BytesIO()
        write_object(one, content)
        read.append(dcmread(BytesIO(content.getvalue())))
    return read


def _items(dataset: Dataset) -> list[Dataset]:
    below = [item for one in dataset.get("ContentSequence", ()) for item in _items(one)]
    return [dataset, *below] if "ValueType" in dataset else below


def _below(item: Dataset) -> list[Dataset]:
    return list(item.get("ContentSequence", ()))


def _kinds(report: Dataset) -> list[str]:
    found = [item.ContentTemplateSequence[0].TemplateIdentifier for item in _items(report) if _has_template(item)]
    return [GROUPS[one] for one in found if one in GROUPS]


def _has_template(item: Dataset) -> bool:
    return "ContentTemplateSequence" in item


def _segment(item: Dataset) -> bool:
    return "ReferencedSOPSequence" in item and "ReferencedSegmentNumber" in item.ReferencedSOPSequence[0]


def _coordinates(report: Dataset) -> list[tuple[np.ndarray, Dataset]]:
    items = [item for item in _items(report) if item.ValueType == "SCOORD"]
    return [(np.reshape(item.GraphicData, (-1, 2)), item.ContentSequence[0].ReferencedSOPSequence[0]) for item in items]


def _groups(report: Dataset) -> list[Dataset]:
    return [item for item in _items(report) if _name(item) == "Measurement Group"]


def _tracking(group: Dataset) -> str:
    return str(next(item.UID for item in group.ContentSequence if _name(item) == "Tracking Unique Identifier"))


def _summary(report: Dataset) -> str:
    items = [item for item in _items(report) if item.ValueType == "CODE"]
    return next(str(item.ConceptCodeSequence[0].CodeMeaning) for item in items if "CAD" in _name(item))


def _name(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeMeaning)


def _case(series: Series, results: Sequence[Result], **more: Any) -> Case:
    return Case(**{"inputs": {"ct": series}, "results": results, "identity": _identity(series), **more})


def _identity(series: Series) -> Identity:
    return Identity(
        study_uid=series.study_uid,
        revision=1,
        plugin="nodules",
        version="1.0.0",
        title="Nodules",
        manufacturer="",
        models=(),
        at=datetime(2026, 11, 21, 9, 30, 15, tzinfo=UTC),
        first_series_number=3001,
        device_uid="2.25.42",
    )
