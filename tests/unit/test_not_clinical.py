"""What is no clinical image reaches no plugin, unless a route asks for it; the story says why."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import MultiFrameTrueColorSecondaryCaptureImageStorage, SecondaryCaptureImageStorage

from node.images.frame import Frame
from node.images.predicates import Condition, found, shown
from node.images.series import Series
from node.route import Route
from node.route.not_clinical import TABLE

AXIAL = ["ORIGINAL", "PRIMARY", "AXIAL"]
TOPOGRAM = ["ORIGINAL", "PRIMARY", "LOCALIZER", "CT_SOM5 TOP"]


def series(**values: Any) -> Series:
    """A stack of one image, with a header alone."""
    header = Dataset()
    for keyword, value in {"Modality": "CT", "ImageType": AXIAL, **values}.items():
        setattr(header, keyword, value)
    frame = Frame(image=SimpleNamespace(header=header, values=header), orientation=(1, 0, 0, 0, 1, 0))
    return Series(key="1.2.3", frames=(frame,), read=lambda _: ())


def route(**when: Any) -> Route:
    return Route(name="r", when=when, plugins=("p",), to=("PACS",))


NOT_CLINICAL = [
    ({"QualityControlImage": "YES"}, "an image for quality control: QualityControlImage is YES (PS3.3 C.7.6.1)"),
    ({"QualityControlSubject": "YES"}, "an image of a quality control phantom: QualityControlSubject is YES"),
    ({"PatientSpeciesDescription": "Canis lupus"}, "an image of an animal"),
    ({"ImageType": TOPOGRAM}, r"a localizer: ImageType is ORIGINAL\PRIMARY\LOCALIZER\CT_SOM5 TOP"),
    ({"AcquisitionType": "CONSTANT_ANGLE"}, "a localizer: AcquisitionType is CONSTANT_ANGLE"),
    ({"SeriesDescription": "Topogram 0.6 T20f"}, "a localizer by its description"),
    ({"SeriesDescription": "AAHead_Scout", "Modality": "MR"}, "a localizer by its description"),
    ({"SeriesDescription": "3-pl_loc", "Modality": "MR"}, "a localizer by its description"),
    ({"SeriesDescription": "Survey", "Modality": "MR"}, "a localizer by its description"),
    ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "a page of a dose report"),
    ({"ImageType": ["DERIVED", "SECONDARY", "OTHER", "CT_SOM5 PROT"]}, "a page of a dose report"),
    ({"ImageType": ["DERIVED", "SECONDARY", "DOSE_INFO"]}, "a page of a dose report"),
    ({"SeriesDescription": "Dose Report"}, "a page of a dose report or protocol by its description"),
    ({"SeriesDescription": "Patient Protocol"}, "a page of a dose report or protocol by its description"),
    ({"SeriesDescription": "Asset calibration", "Modality": "MR"}, "a scan for calibration or quality control"),
    ({"SOPClassUID": SecondaryCaptureImageStorage, "Modality": "CR"}, "a secondary capture"),
    ({"SOPClassUID": MultiFrameTrueColorSecondaryCaptureImageStorage}, "a secondary capture"),
    ({"ConversionType": "SD"}, "a scanned document or a drawing"),
    ({"ImageType": ["ORIGINAL", "PRIMARY", "LABEL", "NONE"], "Modality": "SM"}, "the label of a slide"),
]
CLINICAL: list[Mapping[str, Any]] = [
    {},
    {"QualityControlImage": "NO", "QualityControlSubject": "NO"},
    {"PatientSpeciesDescription": "Homo sapiens"},
    {"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED"], "SeriesDescription": "low dose chest"},
    {"SeriesDescription": "T1 local shim", "Modality": "MR"},
    {"SeriesDescription": "skeletal survey", "Modality": "DX"},
    {"ImageType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], "Modality": "SM"},
    {"ConversionType": "DV"},
]


@pytest.mark.parametrize(("header", "means"), NOT_CLINICAL, ids=lambda value: str(value)[:60])
def test_an_image_that_is_not_clinical_reaches_no_plugin_unless_a_route_asks_for_it(
    header: Mapping[str, Any], means: str
) -> None:
    stack = series(**header)
    reason = route(Modality=stack.modality).mismatch(stack)
    assert reason is not None
    assert reason.startswith(f"not a clinical image but {means}")
    (keyword, *_) = (row.keyword for row in TABLE if row.matching_value(stack))
    value = shown(found(stack.header, keyword))
    assert f"; a route asks for it by when.{keyword} = " in reason
    assert route(**{keyword: value}).mismatch(stack) is None


@pytest.mark.parametrize("header", CLINICAL, ids=str)
def test_an_image_that_may_be_clinical_is_routed(header: Mapping[str, Any]) -> None:
    stack = series(**header)
    assert route(Modality=stack.modality).mismatch(stack) is None


@pytest.mark.parametrize(
    ("when", "header", "matches"),
    [
        ({"ImageType": {"contains": "ORIGINAL"}}, {"ImageType": TOPOGRAM}, False),
        ({"ImageType": {"contains": "LOCALIZER"}}, {"ImageType": TOPOGRAM}, True),
        ({"ImageType": {"matches": "LOCALIZER"}}, {"ImageType": TOPOGRAM, "QualityControlImage": "YES"}, False),
        ({"QualityControlImage": ["YES", "NO"]}, {"QualityControlImage": "YES"}, True),
        ({"QualityControlImage": {"present": True}}, {"QualityControlImage": "YES"}, False),
        ({"SeriesDescription": {"matches": "(?i)low.?dose"}}, {"SeriesDescription": "low dose topogram"}, False),
        ({"SeriesDescription": {"matches": "(?i)scout"}}, {"SeriesDescription": "Scout"}, True),
    ],
)
def test_a_route_asks_for_such_images_only_by_naming_the_value(
    when: Mapping[str, Any], header: Mapping[str, Any], matches: bool
) -> None:
    assert (route(**when).mismatch(series(**header)) is None) == matches


def test_every_row_names_its_clause_and_has_an_example_here() -> None:
    assert all(row.clause.startswith("PS3.3 ") for row in TABLE)
    found_rows = {row for header, _ in NOT_CLINICAL for row in TABLE if row.matching_value(series(**header))}
    assert found_rows == set(TABLE)


def test_the_conditions_of_a_route_are_reported_first() -> None:
    stack = series(ImageType=TOPOGRAM)
    assert route(Modality="MR").mismatch(stack) == "Modality is CT, wanted MR"


def test_only_the_texts_of_a_condition_can_ask_for_such_images() -> None:
    assert not any(row.is_asked_for_by({row.keyword: Condition(present=True)}) for row in TABLE)
