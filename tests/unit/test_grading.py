"""Rules at their borders: Lung-RADS 2022, Fleischner Society 2017, RANO; and when there is no category."""

import pytest
from pydicom.dataset import Dataset

from node.grading import (
    GradedNodule,
    age_years,
    fleischner_2017,
    is_lung_screening,
    lung_rads_2022,
    nodule_rule,
    rano,
)


def nodule(texture: str, diameter: float, inner: float = 0.0, history: str = "baseline", label: str = "Nodule 1"):  # type: ignore[no-untyped-def]
    return GradedNodule(
        label=label,
        texture=texture,  # type: ignore[arg-type]
        diameter=diameter,
        solid_diameter=inner,
        history=history,  # type: ignore[arg-type]
    )


def header(**values: str) -> Dataset:
    built = Dataset()
    for keyword, value in values.items():
        setattr(built, keyword, value)
    return built


@pytest.mark.parametrize(
    ("texture", "history", "borders"),
    [
        ("solid", "baseline", [(5.9, "2"), (6.0, "3"), (7.9, "3"), (8.0, "4A"), (14.9, "4A"), (15.0, "4B")]),
        ("solid", "new", [(3.9, "2"), (4.0, "3"), (5.9, "3"), (6.0, "4A"), (7.9, "4A"), (8.0, "4B")]),
        ("solid", "growing", [(7.9, "4A"), (8.0, "4B")]),
        ("solid", "stable", [(5.0, ""), (20.0, "")]),
        ("solid", "unknown", [(5.0, "")]),
        ("non-solid", "baseline", [(29.9, "2"), (30.0, "3")]),
        ("non-solid", "new", [(29.9, "2"), (30.0, "3")]),
        ("non-solid", "growing", [(29.9, "2"), (30.0, "")]),
        ("non-solid", "stable", [(40.0, "2")]),
    ],
)
def test_lung_rads_at_its_borders(texture: str, history: str, borders: list[tuple[float, str]]) -> None:
    assert [(size, lung_rads_2022(nodule(texture, size, history=history))) for size, _ in borders] == borders


@pytest.mark.parametrize(
    ("history", "diameter", "inner", "category"),
    [
        ("baseline", 5.9, 5.0, "2"),
        ("new", 5.9, 5.0, "3"),
        ("baseline", 6.0, 5.9, "3"),
        ("baseline", 9.0, 6.0, "4A"),
        ("baseline", 9.0, 7.9, "4A"),
        ("baseline", 9.0, 8.0, "4B"),
        ("new", 6.0, 3.9, "4A"),
        ("new", 6.0, 4.0, "4B"),
        ("growing", 9.0, 4.0, ""),
        ("stable", 9.0, 4.0, ""),
    ],
)
def test_lung_rads_of_part_solid_nodules(history: str, diameter: float, inner: float, category: str) -> None:
    assert lung_rads_2022(nodule("part-solid", diameter, inner, history)) == category


def test_lung_rads_is_read_with_one_decimal() -> None:
    assert [lung_rads_2022(nodule("solid", size)) for size in (5.94, 5.96)] == ["2", "3"]


@pytest.mark.parametrize(
    ("texture", "diameter", "inner", "row"),
    [
        ("solid", 5.4, 0, "solid below 6 mm"),
        ("solid", 5.5, 0, "solid, 6 to 8 mm"),
        ("solid", 8.4, 0, "solid, 6 to 8 mm"),
        ("solid", 8.5, 0, "solid, over 8 mm"),
        ("non-solid", 5.4, 0, "non-solid below 6 mm"),
        ("non-solid", 5.5, 0, "non-solid, 6 mm or more"),
        ("part-solid", 5.4, 4, "part-solid below 6 mm"),
        ("part-solid", 5.5, 5.4, "part-solid, 6 mm or more, its solid part below 6 mm"),
        ("part-solid", 9.0, 5.5, "part-solid, its solid part 6 mm or more"),
    ],
)
def test_fleischner_at_its_borders(texture: str, diameter: float, inner: float, row: str) -> None:
    assert fleischner_2017(nodule(texture, diameter, inner)) == row


def test_the_rule_is_that_of_the_purpose_of_the_images() -> None:
    found = [nodule("solid", 7.0), nodule("part-solid", 7.0, 3.0, label="Nodule 2")]
    by_chance = nodule_rule(found, header(PatientAge="062Y", StudyDescription="CT chest"))
    assert by_chance.startswith("Fleischner Society 2017 by rule")
    assert "2 nodules, the most suspicious Nodule 2, part-solid" in by_chance
    assert "No Lung-RADS category: the header names no screening" in by_chance
    screened = nodule_rule(found, header(PatientAge="062Y", StudyDescription="Lung cancer screening"))
    assert screened.startswith(
        "Lung-RADS 2022 by rule, from type, size and growth alone: category 3 of what was found, by Nodule 1."
    )
    assert screened.endswith("No prior is here: this is taken for the first examination.")
    assert "Fleischner" not in screened


@pytest.mark.parametrize(("age", "why"), [("", "the header has no age"), ("034Y", "patients of 35 years and more")])
def test_without_an_age_or_below_35_years_there_is_no_category(age: str, why: str) -> None:
    said = nodule_rule([nodule("solid", 9.0)], header(PatientAge=age))
    assert said.startswith("No Lung-RADS category")
    assert why in said


def test_a_mass_is_no_nodule() -> None:
    of_an_adult = header(PatientAge="062Y")
    assert nodule_rule([nodule("solid", 30.0)], of_an_adult).startswith("Fleischner Society 2017 by rule")
    assert nodule_rule([nodule("solid", 30.1)], of_an_adult).startswith("No class of the Fleischner Society: Nodule 1")


def test_one_nodule_that_the_table_does_not_have_leaves_no_lung_rads() -> None:
    found = [nodule("solid", 20.0), nodule("solid", 5.0, history="stable", label="Nodule 2")]
    said = nodule_rule(found, header(ProtocolName="LDCT"))
    assert said.startswith("No Lung-RADS category: that of Nodule 2 depends on")


@pytest.mark.parametrize(("age", "years"), [("062Y", 62), ("011M", 0), ("400W", 7), ("", None)])
def test_the_age_is_read_from_its_string(age: str, years: int | None) -> None:
    assert age_years(header(PatientAge=age)) == years


def test_a_screening_is_one_of_the_lung() -> None:
    names = {"LUNG SCREENING": True, "Screening Thorax low dose": True, "CT CHEST": False, "Screening mammogram": False}
    assert {name: is_lung_screening(header(StudyDescription=name)) for name in names} == names


@pytest.mark.parametrize(
    ("long", "short", "slices", "apart", "measurable"),
    [
        (10, 10, 2, 5, True),
        (10, 9.9, 2, 5, False),
        (12, 10, 1, 5, False),
        (13, 12, 2, 6, True),
        (13, 11.9, 2, 6, False),
    ],
)
def test_rano_needs_two_diameters_and_two_slices(
    long: float, short: float, slices: int, apart: float, measurable: bool
) -> None:
    assert (rano(long, short, slices, apart) == "") == measurable
