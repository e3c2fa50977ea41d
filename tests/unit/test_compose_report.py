"""The report of a case is read back with highdicom, and compared with what was asked for."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom.dataset import Dataset

from node.codes import DCM, SCT, UCUM
from node.compose import Case, compose
from node.compose.identity import RESEARCH_USE
from node.compose.sr.statement_items import SCORE
from node.errors import BrokenResult
from node.results import Caveat, Finding, Measurement, NotSuitable, Result, Segmentation
from node.testing import ct_series, radiograph
from tests.lung_case import (
    LEFT,
    NODULE,
    composed,
    lung_case,
    lung_identity,
    lung_labels,
    lung_segmentation,
    lungs_on,
    on_grid_of,
    series_of,
    shape_of,
    without,
)

DESCRIPTIONS = {("276214006", "SCT"), ("111000", "DCM")}
"""Finding category and Algorithm Family."""


def test_the_report_refers_to_each_segment_by_number_and_tracking_uid(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series())
    results: list[Result] = [
        lungs_on(series),
        Measurement(name=SCT.Volume, value=1234.5678901234567, unit=UCUM.CubicCentimeter, of=LEFT),
        Measurement(
            name=DCM.AttenuationCoefficient, value=-811, unit=UCUM.HounsfieldUnit, of=LEFT, derivation=SCT.Mean
        ),
    ]
    seg, report, *_ = composed(series, results)
    groups = hd.sr.Comprehensive3DSR.from_dataset(report).content.get_volumetric_roi_measurement_groups()
    assert [group.tracking_uid for group in groups] == [item.TrackingUID for item in seg.SegmentSequence]
    assert [group.tracking_identifier for group in groups] == ["Right lung", "Left lung", "Nodule 1"]
    numbers = [group[0].ContentSequence for group in groups]
    segments = [item for items in numbers for item in items if "ReferencedSOPSequence" in item]
    assert [item.ReferencedSOPSequence[0].ReferencedSegmentNumber for item in segments] == [1, 2, 3]
    assert {item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in segments} == {seg.SOPInstanceUID}
    volume, mean = groups[1].get_measurements()
    assert (volume.name, volume.value, volume.unit) == (SCT.Volume, 1235, UCUM.CubicCentimeter)
    assert (mean.value, mean.derivation) == (-811, SCT.Mean)
    assert groups[2].finding_category == SCT.MorphologicallyAbnormalStructure
    assert (groups[2].finding_sites[0].value, groups[2].finding_sites[0].laterality) == (SCT.Lung, SCT.Left)
    assert not groups[0].get_measurements()


def test_what_a_number_needs_to_be_believed_stands_beside_it(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series())
    score = Measurement(name=DCM.CalciumScore, value=12, unit=UCUM.NoUnits, method=DCM.AgatstonScoringMethod)
    (report,) = composed(series, [score, Caveat("120 kV, kernel B30f")])
    assert [item.method for item in _images(report).get_measurements()] == [DCM.AgatstonScoringMethod]
    assert "120 kV, kernel B30f" in _comments(report), "first in the report, with the other limits"


def test_findings_are_present_or_absent_with_the_score_that_was_given(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series())
    results: list[Result] = [
        lungs_on(series),
        Finding(name=SCT.Calcified, score=0.75, threshold=0.5, of=NODULE),
        Finding(name=SCT.Mass, score=0.0625, threshold=0.5, calibrated=True, interval=(0.03125, 0.125), of=NODULE),
        Finding(name=SCT.PleuralEffusion, present=False),
    ]
    _, report = composed(series, results)
    content = hd.sr.Comprehensive3DSR.from_dataset(report).content
    (group,) = content.get_volumetric_roi_measurement_groups(tracking_uid=_tracking(report, "Nodule 1"))
    assert _evaluations(group) == {SCT.Calcified: SCT.Present, SCT.Mass: SCT.Absent}
    assert [(item.name, item.value, item.unit) for item in group.get_measurements()] == [(SCORE, 0.75, UCUM.NoUnits)]
    numbers = [float(element.value) for element in report.iterall() if element.keyword == "NumericValue"]
    assert 0.062 in numbers, "below the evaluation, from which highdicom does not read it"
    images = _images(report)
    assert _evaluations(images)[SCT.PleuralEffusion] == SCT.Absent
    assert _evaluations(images)[DCM.CADProcessingAndFindingsSummary] == DCM.AllAlgorithmsSucceededWithFindings
    assert any("not calibrated" in comment for comment in _comments(report))


def test_a_measurement_of_an_unknown_segment_is_a_broken_result(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series())
    stray = Measurement(name=SCT.Volume, value=1, unit=UCUM.CubicCentimeter, of=NODULE)
    with pytest.raises(BrokenResult, match="'Nodule 1', a segment in none of its segmentations"):
        compose(lung_case(series, [stray]))


def test_equal_segments_of_two_segmentations_cannot_be_measured(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series())
    twice = [lungs_on(series), lungs_on(series)]
    measured = Measurement(name=SCT.Volume, value=1, unit=UCUM.CubicCentimeter, of=LEFT)
    with pytest.raises(BrokenResult, match="labels of their own"):
        compose(lung_case(series, [*twice, measured]))


def test_nothing_found_is_a_report_that_says_absent(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series())
    (report,) = composed(series, [])
    group = _images(report)
    assert _evaluations(group) == {
        DCM.SummaryOfAnalyses: DCM.Succeeded,
        DCM.CADProcessingAndFindingsSummary: DCM.AllAlgorithmsSucceededWithoutFindings,
        SCT.ImagingFinding: SCT.Absent,
    }


def test_an_empty_segmentation_makes_no_object_and_an_absent_finding(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series())
    empty = Segmentation(labels=on_grid_of(series, np.zeros(shape_of(series), np.uint8)), segments=[NODULE])
    volume = Measurement(name=SCT.Volume, value=0, unit=UCUM.CubicCentimeter, of=NODULE)
    (report,) = composed(series, [empty, volume])
    images, nodule = hd.sr.Comprehensive3DSR.from_dataset(report).content.get_planar_roi_measurement_groups()
    assert _evaluations(nodule) == {SCT.Nodule: SCT.Absent}
    assert nodule.get_measurements()[0].value == 0
    assert _evaluations(images)[SCT.ImagingFinding] == SCT.Absent


def test_an_empty_segment_beside_a_full_one_is_absent_and_keeps_its_number(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series())
    labels = np.where(lung_labels(series) == 3, 3, 0)
    seg, report, *_ = composed(series, [lung_segmentation(series, labels)])
    assert [item.SegmentNumber for item in seg.SegmentSequence] == [1, 2, 3]
    content = hd.sr.Comprehensive3DSR.from_dataset(report).content
    assert [group.tracking_identifier for group in content.get_volumetric_roi_measurement_groups()] == ["Nodule 1"]
    _, right, left, _ = content.get_planar_roi_measurement_groups()
    assert _evaluations(right) == _evaluations(left) == {SCT.Lung: SCT.Absent}


def test_images_that_were_not_suitable_give_a_failed_report_with_the_reason(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series())
    (report,) = composed(series, [NotSuitable("the apices are missing – 12 mm at least")])
    group = _images(report)
    assert _evaluations(group) == {
        DCM.SummaryOfAnalyses: DCM.Failed,
        DCM.CADProcessingAndFindingsSummary: DCM.NoAlgorithmsSucceededWithoutFindings,
    }
    assert "Not suitable, because the apices are missing - 12 mm at least" in _comments(report)


def test_without_a_frame_of_reference_there_is_a_report_that_says_so_and_no_segmentation(tmp_path: Path) -> None:
    series = series_of(tmp_path, without(ct_series(), "FrameOfReferenceUID"))
    volume = Measurement(name=SCT.Volume, value=3.5, unit=UCUM.CubicCentimeter, of=LEFT)
    (report,) = composed(series, [lungs_on(series), volume])
    assert any("no frame of reference" in comment for comment in _comments(report))
    content = hd.sr.Comprehensive3DSR.from_dataset(report).content
    outlines, groups = content.get_planar_roi_measurement_groups(), content.get_image_measurement_groups()
    names = [group.tracking_identifier for group in outlines]
    assert names == ["Images as a whole", "Right lung", "Left lung", "Nodule 1"]
    assert groups[1].get_measurements()[0].value == 3.5
    assert [group.tracking_uid for group in groups] == [group.tracking_uid for group in outlines[1:]]


def test_a_radiograph_is_reported_on_without_any_geometry(tmp_path: Path) -> None:
    image = radiograph()
    series = series_of(tmp_path, [image])
    (report,) = composed(series, [Finding(name=SCT.PleuralEffusion, score=0.9, threshold=0.5)])
    assert _listed(report.CurrentRequestedProcedureEvidenceSequence) == [image.SOPInstanceUID]
    procedure = next(item for item in report.ContentSequence if _name(item) == "Procedure reported")
    assert procedure.ConceptCodeSequence[0].CodeMeaning == "XR unspecified body region"


def test_a_report_is_unverified_preliminary_and_says_so_where_a_person_reads(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series())
    seg, report, *_ = composed(series, [lungs_on(series)])
    assert report.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"
    assert (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag) == (
        "COMPLETE",
        "UNVERIFIED",
        "PRELIMINARY",
    )
    assert (seg.SeriesDescription, report.SeriesDescription) == (
        "AI SEG ct_lung 1.0.0 (validation unknown, research)",
        "AI CT lung: nodule 1 found (validation unknown, research)",
    )
    assert RESEARCH_USE in _comments(report)
    assert _text(report, "Device Observer UID") == "2.25.42"
    assert _text(report, "Language of Content Item and Descendants") == "en-US"


def test_the_report_lists_every_image_and_the_segmentation_as_evidence(tmp_path: Path) -> None:
    images = ct_series()
    series = series_of(tmp_path, images)
    seg, report, *_ = composed(series, [lungs_on(series)])
    uids = [image.SOPInstanceUID for image in images]
    assert sorted(_listed(report.CurrentRequestedProcedureEvidenceSequence)) == sorted([*uids, seg.SOPInstanceUID])
    assert "PertinentOtherEvidenceSequence" not in report
    library = next(item for item in report.ContentSequence if _name(item) == "Image Library")
    items = [item for group in library.ContentSequence for item in group.ContentSequence]
    entries = [item for item in items if item.ValueType == "IMAGE"]
    assert sorted(entry.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for entry in entries) == sorted(uids)


def test_a_prior_is_other_evidence_and_never_decides_the_patient_or_study(tmp_path: Path) -> None:
    prior = series_of(tmp_path / "prior", ct_series(seed="prior", patient_name="OLD^NAME"))
    series = series_of(tmp_path / "now", ct_series())
    report = compose(Case(inputs={"prior": prior, "ct": series}, results=[], identity=lung_identity(series)))[-1]
    assert report.StudyInstanceUID == series.study_uid
    assert report.PatientName == "PHANTOM^CHEST"
    (other,) = report.PertinentOtherEvidenceSequence
    assert other.StudyInstanceUID == prior.study_uid
    with pytest.raises(BrokenResult, match="grid"):
        compose(
            Case(
                inputs={"prior": prior, "ct": series},
                results=[lungs_on(prior)],
                identity=lung_identity(series),
            )
        )


def test_a_report_names_the_reports_it_replaces(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series())
    (earlier,) = compose(lung_case(series, []))
    (later,) = compose(
        lung_case(series, [], identity=replace(lung_identity(series), revision=2), predecessors=[earlier])
    )
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
    series = series_of(tmp_path, images)
    (report,) = composed(series, [])
    (named,) = report.ReferencedRequestSequence
    assert (named.RequestedProcedureID, named.AccessionNumber) == ("RP7", "A1")
    assert named.StudyInstanceUID == series.study_uid
    assert named.FillerOrderNumberImagingServiceRequest == ""


def _name(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeMeaning)


def _text(report: Dataset, name: str) -> str:
    item = next(item for item in report.ContentSequence if _name(item) == name)
    return str(item.get("UID") or item.ConceptCodeSequence[0].CodeValue)


def _groups(report: Dataset) -> list[Dataset]:
    container = next(item for item in report.ContentSequence if _name(item) == "Imaging Measurements")
    return list(container.ContentSequence)


def _comments(report: Dataset) -> list[str]:
    container = next(item for item in report.ContentSequence if _name(item) == "Qualitative Evaluations")
    return [str(item.TextValue) for item in container.ContentSequence]


def _images(report: Dataset) -> Any:
    """Return the group on the images as a whole, which comes first."""
    return hd.sr.Comprehensive3DSR.from_dataset(report).content.get_planar_roi_measurement_groups()[0]


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
