"""Conditions over DICOM keywords hold, or say in a sentence why not."""

from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from pydicom.dataset import Dataset

from node.images.frame import Frame
from node.images.predicates import When, mismatch
from node.images.series import Series

AXIAL, CORONAL, SAGITTAL = (1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0, -1), (0, 1, 0, 0, 0, -1)
OBLIQUE = (1, 0, 0, 0, 0.7071, -0.7071)


class Asked(BaseModel):
    when: When


def stack(*, images: int = 1, orientation: Any = AXIAL, **values: Any) -> Series:
    header = Dataset()
    header.SOPInstanceUID = "1.2.3"
    for keyword, value in values.items():
        setattr(header, keyword, value)
    frame = Frame(image=SimpleNamespace(header=header, values=header), orientation=orientation)
    return Series(key="1.2", frames=(frame,) * images, read=lambda _: ())


def why(asked: dict[str, Any], series: Series) -> str | None:
    return mismatch(Asked(when=asked).when, series)


CT = {
    "Modality": "CT",
    "SliceThickness": "5.0",
    "BodyPartExamined": "CHEST",
    "SeriesDescription": "Thorax LUNG 1.0",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "SeriesNumber": "3",
    "ReconstructionDiameter": "350",
    "PatientName": "Doe^Jane",
    "PatientID": "4711",
    "images": 30,
}


@pytest.mark.parametrize(
    ("keyword", "condition"),
    [
        ("Modality", "CT"),
        ("Modality", {"equal": "CT"}),
        ("SeriesNumber", 3),
        ("SliceThickness", 5),
        ("SliceThickness", 5.0),
        ("BodyPartExamined", ["CHEST", "THORAX"]),
        ("SeriesNumber", [2, 3]),
        ("SliceThickness", {"at_most": 5.0}),
        ("SliceThickness", {"at_least": 5}),
        ("SliceThickness", {"at_least": 2, "at_most": 6}),
        ("SeriesDescription", {"matches": "(?i)lung"}),
        ("SeriesDescription", {"matches": "^Thorax"}),
        ("ImageType", {"contains": "PRIMARY"}),
        ("ImageType", "ORIGINAL\\PRIMARY\\AXIAL"),
        ("ImageType", {"matches": "ORIGINAL"}),
        ("ReconstructionDiameter", {"present": True}),
        ("orientation", "axial"),
        ("orientation", ["axial", "coronal"]),
        ("instances", {"at_least": 30}),
        ("instances", 30),
        ("PatientName", "Doe^Jane"),
    ],
)
def test_a_condition_that_holds_gives_no_reason(keyword: str, condition: Any) -> None:
    assert why({keyword: condition}, stack(**CT)) is None


@pytest.mark.parametrize(
    ("keyword", "condition", "sentence"),
    [
        ("Modality", "MR", "Modality is CT, wanted MR"),
        ("SeriesNumber", 4, "SeriesNumber is 3, wanted 4"),
        ("SliceThickness", {"at_most": 3.0}, "SliceThickness is 5, wanted at most 3"),
        ("SliceThickness", {"at_least": 5.5}, "SliceThickness is 5, wanted at least 5.5"),
        ("SliceThickness", {"at_least": 1, "at_most": 2}, "SliceThickness is 5, wanted at most 2"),
        ("BodyPartExamined", ["HEAD", "BRAIN"], "BodyPartExamined is CHEST, wanted one of HEAD, BRAIN"),
        ("SeriesDescription", {"matches": "lung"}, "SeriesDescription is Thorax LUNG 1.0, wanted a match of lung"),
        ("ImageType", {"contains": "MIP"}, "ImageType is ORIGINAL\\PRIMARY\\AXIAL, wanted MIP among its values"),
        ("ImageType", "ORIGINAL", "ImageType is ORIGINAL\\PRIMARY\\AXIAL, wanted ORIGINAL"),
        ("SeriesDescription", {"at_least": 1}, "SeriesDescription is Thorax LUNG 1.0, wanted at least 1"),
        ("orientation", "coronal", "orientation is axial, wanted coronal"),
        ("instances", {"at_least": 31}, "instances is 30, wanted at least 31"),
    ],
)
def test_a_condition_that_fails_is_a_sentence(keyword: str, condition: Any, sentence: str) -> None:
    assert why({keyword: condition}, stack(**CT)) == sentence


@pytest.mark.parametrize(
    "condition",
    ["CT", ["CT"], {"at_least": 0}, {"at_most": 10}, {"matches": ".*"}, {"contains": ""}, {"present": True}, ""],
)
@pytest.mark.parametrize("value", [{}, {"StudyDescription": ""}, {"StudyDescription": None}])
def test_a_missing_or_empty_tag_never_matches(condition: Any, value: dict[str, Any]) -> None:
    reason = why({"StudyDescription": condition}, stack(**value))
    assert reason is not None
    assert reason.startswith("StudyDescription is absent, wanted ")


@pytest.mark.parametrize("value", [{}, {"ContrastBolusAgent": ""}, {"ContrastBolusAgent": None}])
def test_a_missing_or_empty_tag_can_be_asked_for(value: dict[str, Any]) -> None:
    assert why({"ContrastBolusAgent": {"present": False}}, stack(**value)) is None


def test_a_tag_that_should_be_absent_is_reported_with_its_value() -> None:
    reason = why({"ContrastBolusAgent": {"present": False}}, stack(ContrastBolusAgent="IOMERON"))
    assert reason == "ContrastBolusAgent is IOMERON, wanted none"


def test_images_without_orientation_match_none() -> None:
    assert why({"orientation": "axial"}, stack(orientation=None)) == "orientation is absent, wanted axial"


@pytest.mark.parametrize(
    ("orientation", "name"), [(AXIAL, "axial"), (CORONAL, "coronal"), (SAGITTAL, "sagittal"), (OBLIQUE, "oblique")]
)
def test_planes_have_the_names_that_readers_use(orientation: Any, name: str) -> None:
    assert why({"orientation": name}, stack(orientation=orientation)) is None


def test_the_first_condition_that_fails_is_reported() -> None:
    assert why({"Modality": "CT", "SliceThickness": {"at_most": 1}, "BodyPartExamined": "X"}, stack(**CT)) == (
        "SliceThickness is 5, wanted at most 1"
    )


@pytest.mark.parametrize("keyword", ["PatientName", "PatientID", "ReferringPhysicianName"])
def test_no_sentence_names_a_person(keyword: str) -> None:
    reason = why({keyword: "nobody"}, stack(**{keyword: "Doe^Jane"}))
    assert reason == f"{keyword} is another, wanted nobody"


def test_a_multi_frame_header_is_asked_in_its_shared_functional_groups_too() -> None:
    measures, shared = Dataset(), Dataset()
    measures.SliceThickness = "2.5"
    shared.PixelMeasuresSequence = [measures]
    images = stack(SharedFunctionalGroupsSequence=[shared])
    assert why({"SliceThickness": {"at_most": 3}}, images) is None
    assert why({"SliceThickness": {"at_most": 2}}, images) == "SliceThickness is 2.5, wanted at most 2"


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"Modalty": "CT"}, "Modalty is neither a DICOM keyword nor one of orientation, instances"),
        ({"SliceThickness": {"atmost": 3}}, "atmost"),
        ({"SliceThickness": {}}, "asks for nothing"),
        ({"SeriesDescription": {"matches": "(lung"}}, "is no regular expression"),
        ({"Modality": {"present": False, "equal": "CT"}}, "present = false asks for no value"),
        ({"SliceThickness": {"at_most": "thin"}}, "number"),
        ({"Modality": []}, "at least 1 item"),
    ],
)
def test_a_condition_that_means_nothing_is_refused_when_it_is_read(asked: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint.replace("(", r"\(")):
        Asked(when=asked)
