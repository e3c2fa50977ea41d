"""Objects are read back from their bytes, with highdicom where it can, and compared with what was asked for."""

from collections.abc import Callable, Sequence
from dataclasses import replace
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
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pydicom.valuerep import PersonName

from node.codes import DCM, SCT, UCUM, own
from node.compose import Case, Identity, compose, write_object
from node.compose.ascii_text import plain
from node.compose.identity import RESEARCH_USE
from node.compose.palette import PALETTE
from node.errors import BrokenResult
from node.images.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, Part10
from node.images.series import Series, Volume
from node.images.stacks import group_into_stacks
from node.results import Finding, Measurement, NotSuitable, Result, Segment, Segmentation
from node.testing import CORONAL, ct_series, enhanced_ct, radiograph
from node.testing import write as write_images

DESCRIPTIONS = {("276214006", "SCT"), ("111000", "DCM")}
"""Finding category and Algorithm Family."""
OBLIQUE = (0.9396926, 0.3420201, 0.0, -0.2961981, 0.8137977, 0.5)

RIGHT = Segment(label="Right lung", type=SCT.Lung, category=SCT.Organ, laterality=SCT.Right, color=(10, 200, 30))
LEFT = Segment(label="Left lung", type=SCT.Lung, category=SCT.Organ, laterality=SCT.Left)
NODULE = Segment(
    label="Nodule 1",
    type=SCT.Nodule,
    category=SCT.MorphologicallyAbnormalStructure,
    region=SCT.Lung,
    laterality=SCT.Left,
)


def test_a_segmentation_gives_back_the_labels_it_was_made_of(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    labels = _labels(series)
    seg, *_ = _composed(tmp_path, series, [_segmentation(series, labels)])
    assert seg.SegmentationType == "BINARY"
    assert [item.SegmentLabel for item in seg.SegmentSequence] == ["Right lung", "Left lung", "Nodule 1"]
    assert (_decoded(seg, series) == labels).all()


@pytest.mark.parametrize("orientation", [CORONAL, OBLIQUE])
def test_each_frame_lies_on_the_image_it_names(
    tmp_path: Path, orientation: tuple[float, float, float, float, float, float]
) -> None:
    images = ct_series(orientation=orientation)
    by_uid = {image.SOPInstanceUID: image for image in images}
    series = _series(tmp_path, reversed(images))
    labels = _labels(series)
    seg, *_ = _composed(tmp_path, series, [_segmentation(series, labels)])
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
    series = _series(tmp_path, [image])
    labels = np.zeros(_shape(series), np.uint8)
    labels[2, 4:9, 5:9] = 1
    seg, *_ = _composed(tmp_path, series, [Segmentation(labels=_on(series, labels), segments=[RIGHT])])
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
    series = _series(tmp_path, ct_series(slices=8))
    labels = np.zeros(_shape(series), np.uint8)
    labels[3, :4, :4] = 1
    labels[4, :4, :4] = 2
    seg, *_ = _composed(tmp_path, series, [Segmentation(labels=_on(series, labels), segments=[RIGHT, LEFT])])
    assert seg.NumberOfFrames == 2


@pytest.mark.parametrize("kind", [bool, np.int64, np.uint16, np.int8])
def test_labels_may_be_of_any_integer_type(tmp_path: Path, kind: type) -> None:
    series = _series(tmp_path, ct_series())
    labels = (_labels(series) == 1).astype(kind)
    seg, *_ = _composed(tmp_path, series, [Segmentation(labels=_on(series, labels), segments=[RIGHT])])
    assert (_decoded(seg, series) == labels).all()


def test_images_that_do_not_share_an_orientation_carry_no_segmentation(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    turned = replace(series.frames[3], orientation=(0.999, 0.0447, 0.0, -0.0447, 0.999, 0.0))
    crooked = replace(series, frames=(*series.frames[:3], turned, *series.frames[4:]))
    with pytest.raises(BrokenResult, match="orientation"):
        compose(
            Case(inputs={"ct": crooked}, results=[_segmentation(series, _labels(series))], identity=_identity(series))
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
    series = _series(tmp_path, ct_series())
    result = Segmentation(labels=change(_on(series, _labels(series))), segments=[RIGHT, LEFT, NODULE])
    with pytest.raises(BrokenResult, match="grid"):
        compose(_case(series, [result]))


def test_segments_say_what_and_where_and_by_what_they_were_made(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    seg, *_ = _composed(tmp_path, series, [_segmentation(series, _labels(series))])
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


def test_the_report_refers_to_each_segment_by_number_and_tracking_uid(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    results: list[Result] = [
        _segmentation(series, _labels(series)),
        Measurement(name=SCT.Volume, value=1234.5678901234567, unit=UCUM.CubicCentimeter, of=LEFT),
        Measurement(
            name=DCM.AttenuationCoefficient, value=-811, unit=UCUM.HounsfieldUnit, of=LEFT, derivation=SCT.Mean
        ),
    ]
    seg, report, *_ = _composed(tmp_path, series, results)
    groups = hd.sr.Comprehensive3DSR.from_dataset(report).content.get_volumetric_roi_measurement_groups()
    assert [group.tracking_uid for group in groups] == [item.TrackingUID for item in seg.SegmentSequence]
    assert [group.tracking_identifier for group in groups] == ["Right lung", "Left lung", "Nodule 1"]
    numbers = [group[0].ContentSequence for group in groups]
    segments = [item for items in numbers for item in items if "ReferencedSOPSequence" in item]
    assert [item.ReferencedSOPSequence[0].ReferencedSegmentNumber for item in segments] == [1, 2, 3]
    assert {item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in segments} == {seg.SOPInstanceUID}
    volume, mean = groups[1].get_measurements()
    assert (volume.name, volume.value, volume.unit) == (SCT.Volume, 1234.5678901234567, UCUM.CubicCentimeter)
    assert (mean.value, mean.derivation) == (-811, SCT.Mean)
    assert groups[2].finding_category == SCT.MorphologicallyAbnormalStructure
    assert (groups[2].finding_sites[0].value, groups[2].finding_sites[0].laterality) == (SCT.Lung, SCT.Left)
    assert not groups[0].get_measurements()


def test_findings_are_present_or_absent_with_the_certainty_that_was_given(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    results: list[Result] = [
        _segmentation(series, _labels(series)),
        Finding(name=SCT.Calcified, present=True, probability=0.75, of=NODULE),
        Finding(name=SCT.Mass, present=False, probability=0.0625, calibrated=True, of=NODULE),
        Finding(name=SCT.PleuralEffusion, present=False),
    ]
    _, report, _ = _composed(tmp_path, series, results)
    content = hd.sr.Comprehensive3DSR.from_dataset(report).content
    first, second = content.get_volumetric_roi_measurement_groups(tracking_uid=_tracking(report, "Nodule 1"))
    assert _evaluations(first) == {SCT.Calcified: SCT.Present}
    assert _evaluations(second) == {SCT.Mass: SCT.Absent}
    assert [(item.name, item.value, item.unit) for item in first.get_measurements()] == [
        (DCM.CertaintyOfFinding, 75.0, UCUM.Percent)
    ]
    assert [(item.name, item.value) for item in second.get_measurements()] == [(DCM.Probability, 0.0625)]
    effusion, images = content.get_image_measurement_groups()
    assert _evaluations(effusion) == {SCT.PleuralEffusion: SCT.Absent}
    assert effusion.finding_type == SCT.PleuralEffusion
    assert _evaluations(images)[DCM.CADProcessingAndFindingsSummary] == DCM.AllAlgorithmsSucceededWithFindings
    assert any("not calibrated" in comment for comment in _comments(report))


def test_a_measurement_of_an_unknown_segment_is_a_broken_result(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    stray = Measurement(name=SCT.Volume, value=1, unit=UCUM.CubicCentimeter, of=NODULE)
    with pytest.raises(BrokenResult, match="'Nodule 1', a segment in none of its segmentations"):
        compose(_case(series, [stray]))


def test_equal_segments_of_two_segmentations_cannot_be_measured(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    twice = [_segmentation(series, _labels(series)), _segmentation(series, _labels(series))]
    measured = Measurement(name=SCT.Volume, value=1, unit=UCUM.CubicCentimeter, of=LEFT)
    with pytest.raises(BrokenResult, match="labels of their own"):
        compose(_case(series, [*twice, measured]))


def test_nothing_found_is_a_report_that_says_absent(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    (report,) = _composed(tmp_path, series, [])
    (group,) = hd.sr.Comprehensive3DSR.from_dataset(report).content.get_image_measurement_groups()
    assert _evaluations(group) == {
        DCM.SummaryOfAnalyses: DCM.Succeeded,
        DCM.CADProcessingAndFindingsSummary: DCM.AllAlgorithmsSucceededWithoutFindings,
        SCT.ImagingFinding: SCT.Absent,
    }


def test_an_empty_segmentation_makes_no_object_and_an_absent_finding(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    empty = Segmentation(labels=_on(series, np.zeros(_shape(series), np.uint8)), segments=[NODULE])
    volume = Measurement(name=SCT.Volume, value=0, unit=UCUM.CubicCentimeter, of=NODULE)
    (report,) = _composed(tmp_path, series, [empty, volume])
    nodule, images = hd.sr.Comprehensive3DSR.from_dataset(report).content.get_image_measurement_groups()
    assert _evaluations(nodule) == {SCT.Nodule: SCT.Absent}
    assert nodule.get_measurements()[0].value == 0
    assert _evaluations(images)[SCT.ImagingFinding] == SCT.Absent


def test_an_empty_segment_beside_a_full_one_is_absent_and_keeps_its_number(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    labels = np.where(_labels(series) == 3, 3, 0)
    seg, report, *_ = _composed(tmp_path, series, [_segmentation(series, labels)])
    assert [item.SegmentNumber for item in seg.SegmentSequence] == [1, 2, 3]
    content = hd.sr.Comprehensive3DSR.from_dataset(report).content
    assert [group.tracking_identifier for group in content.get_volumetric_roi_measurement_groups()] == ["Nodule 1"]
    right, left, _ = content.get_image_measurement_groups()
    assert _evaluations(right) == _evaluations(left) == {SCT.Lung: SCT.Absent}


def test_images_that_were_not_suitable_give_a_failed_report_with_the_reason(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    (report,) = _composed(tmp_path, series, [NotSuitable("the apices are missing – 12 mm at least")])
    (group,) = hd.sr.Comprehensive3DSR.from_dataset(report).content.get_image_measurement_groups()
    assert _evaluations(group) == {
        DCM.SummaryOfAnalyses: DCM.Failed,
        DCM.CADProcessingAndFindingsSummary: DCM.NoAlgorithmsSucceededWithoutFindings,
    }
    assert "Not suitable, because the apices are missing - 12 mm at least" in _comments(report)


def test_without_a_frame_of_reference_there_is_a_report_that_says_so_and_no_segmentation(tmp_path: Path) -> None:
    series = _series(tmp_path, _without(ct_series(), "FrameOfReferenceUID"))
    volume = Measurement(name=SCT.Volume, value=3.5, unit=UCUM.CubicCentimeter, of=LEFT)
    report, planar = _composed(tmp_path, series, [_segmentation(series, _labels(series)), volume])
    assert len(_groups(planar)) == 3, "an outline on an image needs no frame of reference"
    assert any("no frame of reference" in comment for comment in _comments(report))
    groups = hd.sr.Comprehensive3DSR.from_dataset(report).content.get_image_measurement_groups()
    names = [group.tracking_identifier for group in groups]
    assert names == ["Right lung", "Left lung", "Nodule 1", "Images as a whole"]
    assert groups[1].get_measurements()[0].value == 3.5


def test_a_radiograph_is_reported_on_without_any_geometry(tmp_path: Path) -> None:
    image = radiograph()
    series = _series(tmp_path, [image])
    (report,) = _composed(tmp_path, series, [Finding(name=SCT.PleuralEffusion, present=True, probability=0.9)])
    assert _listed(report.CurrentRequestedProcedureEvidenceSequence) == [image.SOPInstanceUID]
    procedure = next(item for item in report.ContentSequence if _name(item) == "Procedure reported")
    assert procedure.ConceptCodeSequence[0].CodeMeaning == "XR unspecified body region"


def test_a_report_is_unverified_preliminary_and_says_so_where_a_person_reads(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    seg, report, *_ = _composed(tmp_path, series, [_segmentation(series, _labels(series))])
    assert report.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"
    assert (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag) == (
        "COMPLETE",
        "UNVERIFIED",
        "PRELIMINARY",
    )
    assert (seg.SeriesDescription, report.SeriesDescription) == (
        "AI SEG ct_lung 1.0.0 (research)",
        "AI SR ct_lung 1.0.0 (research)",
    )
    assert RESEARCH_USE in _comments(report)
    assert _text(report, "Device Observer UID") == "2.25.42"
    assert _text(report, "Language of Content Item and Descendants") == "en-US"


def test_the_report_lists_every_image_and_the_segmentation_as_evidence(tmp_path: Path) -> None:
    images = ct_series()
    series = _series(tmp_path, images)
    seg, report, *_ = _composed(tmp_path, series, [_segmentation(series, _labels(series))])
    uids = [image.SOPInstanceUID for image in images]
    assert sorted(_listed(report.CurrentRequestedProcedureEvidenceSequence)) == sorted([*uids, seg.SOPInstanceUID])
    assert "PertinentOtherEvidenceSequence" not in report
    library = next(item for item in report.ContentSequence if _name(item) == "Image Library")
    items = [item for group in library.ContentSequence for item in group.ContentSequence]
    entries = [item for item in items if item.ValueType == "IMAGE"]
    assert sorted(entry.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for entry in entries) == sorted(uids)


def test_a_prior_is_other_evidence_and_never_decides_the_patient_or_study(tmp_path: Path) -> None:
    prior = _series(tmp_path / "prior", ct_series(seed="prior", patient_name="OLD^NAME"))
    series = _series(tmp_path / "now", ct_series())
    report = compose(Case(inputs={"prior": prior, "ct": series}, results=[], identity=_identity(series)))[-1]
    assert report.StudyInstanceUID == series.study_uid
    assert report.PatientName == "PHANTOM^CHEST"
    (other,) = report.PertinentOtherEvidenceSequence
    assert other.StudyInstanceUID == prior.study_uid
    with pytest.raises(BrokenResult, match="grid"):
        compose(
            Case(
                inputs={"prior": prior, "ct": series},
                results=[_segmentation(prior, _labels(prior))],
                identity=_identity(series),
            )
        )


def test_two_segmentations_of_two_series_are_two_objects_in_series_of_their_own(tmp_path: Path) -> None:
    thick = _series(tmp_path / "thick", ct_series(series="thick", slices=4, spacing=(5.0, 0.8, 0.8)))
    thin = _series(tmp_path / "thin", ct_series(series="thin"))
    results = [
        Segmentation(labels=_on(thin, _labels(thin) == 1), segments=[RIGHT]),
        Segmentation(labels=_on(thick, _labels(thick) == 2), segments=[NODULE]),
    ]
    objects = compose(Case(inputs={"thick": thick, "thin": thin}, results=results, identity=_identity(thin)))
    assert [made.Modality for made in objects] == ["SEG", "SEG", "SR", "SR"]
    assert [made.SeriesNumber for made in objects] == [3001, 3002, 3003, 3004]
    assert len({made.SeriesInstanceUID for made in objects} | {thick.series_uid, thin.series_uid}) == 6
    named = [made.ReferencedSeriesSequence[0].SeriesInstanceUID for made in objects[:2]]
    assert named == [thin.series_uid, thick.series_uid]
    assert objects[0].SegmentSequence[0].TrackingUID != objects[1].SegmentSequence[0].TrackingUID


def test_of_two_series_on_one_grid_a_segmentation_lies_on_the_one_it_names(tmp_path: Path) -> None:
    before, after = (_series(tmp_path / name, ct_series(series=name)) for name in ("before", "after"))
    named = replace(_segmentation(after, _labels(after)), source=after)
    seg, *_ = compose(Case(inputs={"before": before, "after": after}, results=[named], identity=_identity(after)))
    assert [one.SeriesInstanceUID for one in seg.ReferencedSeriesSequence] == [after.series_uid]


def test_a_report_names_the_reports_it_replaces(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    (earlier,) = compose(_case(series, []))
    (later,) = compose(_case(series, [], identity=replace(_identity(series), revision=2), predecessors=[earlier]))
    assert earlier.SOPInstanceUID != later.SOPInstanceUID
    assert _listed(later.PredecessorDocumentsSequence) == [earlier.SOPInstanceUID]
    assert "PredecessorDocumentsSequence" not in earlier


def test_a_request_of_the_images_is_named_in_the_report(tmp_path: Path) -> None:
    images = ct_series()
    for image in images:
        request = Dataset()
        request.RequestedProcedureID = "RP7"
        request.RequestedProcedureDescription = "Chest"
        image.RequestAttributesSequence = [request]
    series = _series(tmp_path, images)
    (report,) = _composed(tmp_path, series, [])
    (named,) = report.ReferencedRequestSequence
    assert (named.RequestedProcedureID, named.AccessionNumber) == ("RP7", "A1")
    assert named.StudyInstanceUID == series.study_uid
    assert named.FillerOrderNumberImagingServiceRequest == ""


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    def bytes_(folder: Path) -> list[bytes]:
        series = _series(folder, ct_series())
        volume = Measurement(name=SCT.Volume, value=3.5, unit=UCUM.CubicCentimeter, of=LEFT)
        results = [_segmentation(series, _labels(series)), volume, Finding(name=SCT.Mass, present=False)]
        return [_written(made) for made in compose(_case(series, results))]

    assert bytes_(tmp_path / "one") == bytes_(tmp_path / "two")


def test_all_times_are_those_of_the_job(tmp_path: Path) -> None:
    images = ct_series()
    for image in images:
        image.TimezoneOffsetFromUTC = "+0230"
    series = _series(tmp_path, images)
    at = datetime(2026, 11, 20, 23, 45, 6, tzinfo=UTC)
    for made in compose(
        _case(series, [_segmentation(series, _labels(series))], identity=replace(_identity(series), at=at))
    ):
        for name in ("InstanceCreation", "Content", "Series"):
            assert (made[f"{name}Date"].value, made[f"{name}Time"].value) == ("20261121", "021506")
        assert (made.StudyDate, made.TimezoneOffsetFromUTC) == ("20240102", "+0230")


def test_objects_name_the_node_as_maker_and_the_plugin_as_contributor(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    for made in _composed(tmp_path, series, [_segmentation(series, _labels(series))]):
        assert (made.Manufacturer, made.ManufacturerModelName) == ("isocenter project", "isocenter")
        assert (made.DeviceSerialNumber, made.SoftwareVersions) == ("2.25.42", IMPLEMENTATION_VERSION_NAME)
        scanner, plugin = made.ContributingEquipmentSequence
        assert (scanner.Manufacturer, plugin.Manufacturer) == ("ISOCENTER PHANTOM", "Lung makers")
        purposes = [item.PurposeOfReferenceCodeSequence[0].CodeValue for item in (scanner, plugin)]
        assert purposes == ["109101", "109102"]
        assert "ct_lung 1.0.0" in plugin.ContributionDescription
        assert made.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
        assert made.file_meta.ImplementationVersionName == IMPLEMENTATION_VERSION_NAME
        assert made.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


def test_uids_depend_on_all_of_the_identity_and_on_nothing_else(tmp_path: Path) -> None:
    base = _identity(_series(tmp_path, ct_series()))
    others = [
        replace(base, study_uid="1.2"),
        replace(base, revision=2),
        replace(base, plugin="x"),
        replace(base, version="2"),
    ]
    assert len({identity.uid("sr") for identity in (base, *others)} | {base.uid("seg")}) == 6
    assert replace(base, title="other", at=datetime(2030, 1, 1, tzinfo=UTC)).uid("sr") == base.uid("sr")
    assert base.uid("sr").startswith("2.25.")
    assert len(base.uid("sr")) <= 64


NAMES = {
    "ISO_IR 100": "Müller^Jérôme",
    "ISO_IR 101": "Łukasz^Żółw",
    "ISO_IR 144": "Люкceмбypг^Анна",
    "ISO_IR 127": "قباني^لنزار",
    "ISO_IR 126": "Διονυσιος",
    "ISO_IR 138": "שרון^דבורה",
    "ISO_IR 166": "สมชาย^ใจดี",
    "ISO_IR 192": "Wang^XiaoDong=王^小東",
    "GB18030": "Wang^XiaoDong=王^小东",
    "GBK": "Wang^XiaoDong=王^小东",
    "\\ISO 2022 IR 87": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "ISO 2022 IR 13\\ISO 2022 IR 87": "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    "\\ISO 2022 IR 149": "Hong^Gildong=洪^吉洞=홍^길동",
}


@pytest.mark.parametrize("transfer_syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("character_set", NAMES)
def test_names_keep_their_bytes_in_every_character_set(
    tmp_path: Path, character_set: str, transfer_syntax: str
) -> None:
    images = ct_series(
        slices=3,
        patient_name=NAMES[character_set],
        character_set=character_set.split("\\"),
        transfer_syntax=transfer_syntax,
    )
    series = _series(tmp_path, images)
    before = _raw(images[0], "PatientName")
    assert any(byte > 127 or byte == 27 for byte in before)
    for made in compose(_case(series, [_segmentation(series, _labels(series))])):
        assert _raw(made, "PatientName") == before
        assert dcmread(BytesIO(_written(made))).PatientName == NAMES[character_set]
        assert dcmread(BytesIO(_written(made))).SpecificCharacterSet == images[0].SpecificCharacterSet


def test_a_chinese_name_that_pydicom_cannot_write_again_keeps_its_bytes(tmp_path: Path) -> None:
    name = b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab="
    images = ct_series(slices=3)
    for image in images:
        image.SpecificCharacterSet = ["", "ISO 2022 IR 58"]
        image.PatientName = PersonName(name, ["iso8859", "iso_ir_58"])
    series = _series(tmp_path, images)
    (report,) = compose(_case(series, []))
    assert _raw(report, "PatientName").rstrip() == name == _raw(images[0], "PatientName").rstrip()


ODD: dict[str, dict[str, Any]] = {
    "sex U": {"PatientSex": "U"},
    "empty date": {"PatientBirthDate": "", "StudyDate": ""},
    "zero date": {"PatientBirthDate": "00000000"},
    "old time": {"StudyTime": "10:15:00"},
    "long accession number": {"AccessionNumber": "A" * 30},
    "long names": {"StudyDescription": "D" * 90, "PatientName": "N" * 80},
    "window of several": {"WindowCenter": [40, -600], "WindowWidth": [400, 1500]},
    "no thickness": {"SliceThickness": None},
    "animal": {"PatientSpeciesDescription": "Canis", "PatientSexNeutered": "ALTERED", "ResponsiblePerson": "Owner^The"},
    "lossy": {
        "LossyImageCompression": "01",
        "LossyImageCompressionRatio": 10,
        "LossyImageCompressionMethod": "ISO_10918_1",
    },
    "sided": {"BodyPartExamined": "KNEE", "Laterality": "L"},
    "admitted": {"AdmissionID": "7", "PatientAge": "066Y", "PatientWeight": 71.5, "PregnancyStatus": 4},
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_odd_headers_compose_and_keep_their_values(tmp_path: Path, odd: dict[str, Any]) -> None:
    images = ct_series(slices=3)
    for image in images:
        for keyword, value in odd.items():
            setattr(image, keyword, value)
    series = _series(tmp_path, images)
    seg, report, *_ = compose(_case(series, [_segmentation(series, _labels(series))]))
    kept = [keyword for keyword in odd if keyword not in ("WindowCenter", "WindowWidth", "SliceThickness")]
    for keyword in kept:
        assert _raw(seg, keyword) == _raw(images[0], keyword)
        if keyword.startswith(("Patient", "Study", "Accession", "Admission", "Responsible")):
            assert _raw(report, keyword) == _raw(images[0], keyword)


@pytest.mark.parametrize(
    "keyword",
    [
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyDate",
        "StudyTime",
        "StudyID",
        "AccessionNumber",
        "ReferringPhysicianName",
        "StudyDescription",
        "SliceThickness",
        "SpecificCharacterSet",
        "Manufacturer",
        "PositionReferenceIndicator",
        "BodyPartExamined",
        "SeriesDescription",
        "InstanceNumber",
        "SeriesNumber",
    ],
)
def test_an_absent_attribute_stops_nothing(tmp_path: Path, keyword: str) -> None:
    series = _series(tmp_path, _without(ct_series(slices=3), keyword))
    seg, report, *_ = _composed(tmp_path, series, [_segmentation(series, _labels(series))])
    for made in (seg, report):
        if keyword in ("StudyDescription", "SpecificCharacterSet", "BodyPartExamined"):
            assert keyword not in made
        elif keyword.startswith(("Patient", "Study", "Accession", "Referring")):
            assert made[keyword].is_empty


def test_own_words_are_ascii_and_fit_their_attributes(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series(character_set=["", "ISO 2022 IR 87"], patient_name="Yamada^Tarou=山田^太郎"))
    identity = replace(
        _identity(series),
        plugin="p" * 90,
        version="1.0.0+" + "9" * 40,
        title="Läsion – 病変 " + "x" * 90,
        manufacturer="Æ" * 90,
    )
    segment = replace(RIGHT, label="Rechte Lunge (größer, 右)")
    result = Segmentation(labels=_on(series, _labels(series) == 1), segments=[segment])
    seg, report, *_ = compose(_case(series, [result], identity=identity))
    assert seg.SegmentSequence[0].SegmentLabel == "Rechte Lunge (grosser, ?)"
    assert seg.SegmentSequence[0].SegmentAlgorithmName.startswith("Lasion - ?? xx")
    for made in (seg, report):
        assert len(made.SeriesDescription) <= 64
        assert made.SeriesDescription.endswith("(research)")
    assert plain("a\\b\nc", 64) == "a/b c"


def test_codes_of_a_private_scheme_are_identified(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    measured = Measurement(name=own("SCORE", "Score of my own"), value=1, unit=UCUM.NoUnits)
    (report,) = _composed(tmp_path, series, [measured])
    assert [item.CodingSchemeDesignator for item in report.CodingSchemeIdentificationSequence] == ["99ISOCENTER"]


def _series(folder: Path, images: Any) -> Series:
    """Return images as the node gets them: written, received as bytes, and stacked."""
    folder.mkdir(exist_ok=True, parents=True)
    paths = write_images(images, folder / "images")
    (series,) = group_into_stacks(Part10.of_file(path) for path in paths).series
    return series


def _case(series: Series, results: Sequence[Result], **more: Any) -> Case:
    return Case(**{"inputs": {"ct": series}, "results": results, "identity": _identity(series), **more})


def _identity(series: Series) -> Identity:
    return Identity(
        study_uid=series.study_uid,
        revision=1,
        plugin="ct_lung",
        version="1.0.0",
        title="CT lung",
        manufacturer="Lung makers",
        models=("ct_lung 1", "ct_lung_net 3"),
        at=datetime(2026, 11, 21, 9, 30, 15, tzinfo=UTC),
        first_series_number=3001,
        device_uid="2.25.42",
    )


def _shape(series: Series) -> tuple[int, int, int]:
    return len(series.frames), int(series.header.Rows), int(series.header.Columns)


def _on(series: Series, labels: NDArray[Any]) -> Volume:
    return Volume(array=labels, affine=series.affine(), frame_of_reference_uid=series.frame_of_reference_uid)


def _labels(series: Series) -> NDArray[np.uint8]:
    """Return labels 1 to 3, alike in no two directions and on no two slices."""
    labels = np.zeros(_shape(series), np.uint8)
    for index in range(len(labels)):
        labels[index, 2 : 4 + index, 1:7] = 1
        labels[index, 9:12, 3 : 5 + index] = 2
        labels[index, 15, 5 + index] = 3
    labels[0, labels[0] == 2] = 0
    return labels


def _segmentation(series: Series, labels: NDArray[Any]) -> Segmentation:
    return Segmentation(labels=_on(series, labels), segments=[RIGHT, LEFT, NODULE])


def _written(made: Dataset) -> bytes:
    content = BytesIO()
    write_object(made, content)
    return content.getvalue()


def _composed(folder: Path, series: Series, results: Sequence[Result]) -> list[Dataset]:
    """Return the objects as a receiver reads them."""
    return [dcmread(BytesIO(_written(made))) for made in compose(_case(series, results))]


def _raw(dataset: Dataset, keyword: str) -> bytes:
    """Return the bytes of a value as they stand in the file."""
    content = BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    element = dcmread(BytesIO(content.getvalue())).get_item(keyword)
    assert element is not None
    return element.value or b""


def _decoded(seg: Dataset, series: Series) -> NDArray[np.uint8]:
    """Return the labels (slice, row, column) that a SEG says, frame by frame at the image it names."""
    read = hd.seg.Segmentation.from_dataset(seg)
    places = {(frame.sop_instance_uid, frame.number): index for index, frame in enumerate(series.frames)}
    labels = np.zeros(_shape(series), np.uint8)
    pixels = read.pixel_array.reshape(-1, *labels.shape[1:])
    shared = seg.SharedFunctionalGroupsSequence[0]
    for plane, group in zip(pixels, seg.PerFrameFunctionalGroupsSequence, strict=True):
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        place = places[source.ReferencedSOPInstanceUID, int(source.get("ReferencedFrameNumber", 1))]
        number = (group if "SegmentIdentificationSequence" in group else shared).SegmentIdentificationSequence[0]
        labels[place][plane > 0] = number.ReferencedSegmentNumber
    return labels


def _without(images: list[Dataset], keyword: str) -> list[Dataset]:
    for image in images:
        del image[keyword]
    return images


def _name(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeMeaning)


def _text(report: Dataset, name: str) -> str:
    item = next(item for item in report.ContentSequence if _name(item) == name)
    return str(item.get("UID") or item.ConceptCodeSequence[0].CodeValue)


def _groups(report: Dataset) -> list[Dataset]:
    container = next(item for item in report.ContentSequence if _name(item) == "Imaging Measurements")
    return list(container.ContentSequence)


def _comments(report: Dataset) -> list[str]:
    return [item.TextValue for group in _groups(report) for item in group.ContentSequence if _name(item) == "Comment"]


def _tracking(report: Dataset, label: str) -> str:
    for group in _groups(report):
        values = {_name(item): item for item in group.ContentSequence}
        if values["Tracking Identifier"].TextValue == label:
            return str(values["Tracking Unique Identifier"].UID)
    raise AssertionError(label)


def _evaluations(group: Any) -> dict[Any, Any]:
    """Return concept and value of the evaluations; highdicom counts what describes the group among them."""
    found = {(item.name.value, item.name.scheme_designator): item for item in group.get_qualitative_evaluations()}
    return {item.name: item.value for key, item in found.items() if key not in DESCRIPTIONS}


def _listed(studies: Sequence[Dataset]) -> list[str]:
    return [
        str(item.ReferencedSOPInstanceUID)
        for study in studies
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    ]
