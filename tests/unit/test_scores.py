"""A finding's number is what is known of it: a score with its threshold, or a probability with its interval."""

from pathlib import Path
from typing import Any

import highdicom as hd
import pytest

from node.codes import DCM, SCT, UCUM
from node.compose.sr.statement_items import SCORE, score_of
from node.compose.summary_table import table_rows
from node.results import Finding, Measurement, OperatingPoint, Presence
from node.results.figures import in_words, reported, rounded_with_limits, significant, without_exponent
from node.testing import ct_series
from tests.lung_case import composed, lung_case, series_of

POINT = OperatingPoint(sensitivity=0.912, specificity=0.8, on="200 phantoms")


@pytest.mark.parametrize(
    ("score", "presence"),
    [(0.9999, Presence.PRESENT), (0.5, Presence.PRESENT), (0.3, Presence.INDETERMINATE), (0.1, Presence.ABSENT)],
)
def test_presence_follows_from_score_and_threshold(score: float, presence: Presence) -> None:
    finding = Finding(name=SCT.Mass, score=score, threshold=0.5, indeterminate_from=0.2)
    assert finding.presence is presence
    assert finding.present == (presence is Presence.PRESENT)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"present": False, "score": 0.9999, "threshold": 0.5}, "said to be absent with the score 0.9999"),
        ({"present": True, "score": 0.01, "threshold": 0.5}, "said to be present with the score 0.01"),
        ({"present": True, "score": 0.9}, "a score is read by its threshold"),
        ({}, "give `present`, or a score and its threshold"),
        ({"score": 1.5, "threshold": 0.5}, "both are 0 to 1"),
        ({"score": 0.9, "threshold": 0.5, "calibrated": True}, "give its 95 % interval"),
        ({"score": 0.9, "threshold": 0.5, "interval": (0.1, 0.2)}, "not around 0.9"),
        ({"score": 0.9, "threshold": 0.5, "indeterminate_from": 0.7}, "indeterminate below its threshold"),
    ],
)
def test_a_finding_whose_number_says_something_else_is_refused(wanted: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Finding(name=SCT.Mass, **wanted)


def test_a_score_in_the_report_has_two_digits_threshold_and_operating_point(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series())
    finding = Finding(name=SCT.Mass, score=0.97956, threshold=0.5, operating_point=POINT)
    (report,) = composed(series, [finding])
    (images,) = hd.sr.Comprehensive3DSR.from_dataset(report).content.get_planar_roi_measurement_groups()
    (score,) = images.get_measurements()
    assert (score.name, score.value) == (score_of(SCT.Mass, SCORE), 0.98)
    (item,) = score
    parameters = {one.ConceptNameCodeSequence[0].CodeMeaning: one.value for one in item.ContentSequence}
    assert parameters == {"Threshold Value": 0.5, "Case Sensitivity": 91, "Case Specificity": 80}
    texts = [one.value for one in report.iterall() if one.keyword == "TextValue"]
    assert "Operating points were measured on 200 phantoms" in texts
    assert DCM.CertaintyOfFinding.value not in str(report)


def test_an_indeterminate_finding_is_said_to_be_so(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series())
    (report,) = composed(series, [Finding(name=SCT.Mass, score=0.4, threshold=0.5, indeterminate_from=0.3)])
    (group,) = hd.sr.Comprehensive3DSR.from_dataset(report).content.get_planar_roi_measurement_groups()
    assert (SCT.Mass, SCT.Indeterminate) in [(one.name, one.value) for one in group.get_qualitative_evaluations()]


def test_a_measured_number_has_four_digits_in_the_report(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series())
    area = Measurement(name=SCT.Area, value=17161.684446, unit=UCUM.SquareMillimeter)
    (report,) = composed(series, [area])
    (images,) = hd.sr.Comprehensive3DSR.from_dataset(report).content.get_planar_roi_measurement_groups()
    assert [one.value for one in images.get_measurements()] == [17162]


def test_a_rounded_score_never_says_another_presence(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series())
    finding = Finding(name=SCT.Mass, score=0.4996, threshold=0.5, indeterminate_from=0.3)
    (report,) = composed(series, [finding])
    numbers = [float(element.value) for element in report.iterall() if element.keyword == "NumericValue"]
    assert numbers == [0.4996, 0.5, 0.3], "score, threshold, indeterminate from"
    (row, _) = table_rows(lung_case(series, [Finding(name=SCT.Nodule, present=False), finding]))
    assert row.note == "score 0.4996 (threshold 0.5, indeterminate from 0.3)"
    assert rounded_with_limits(0.00001234, 0.5, digits=2) == (0.000012, 0.5)
    assert without_exponent(0.000012) == "0.000012"


def test_numbers_keep_the_digits_that_are_known() -> None:
    assert [reported(value) for value in (0, 17161.684446, 12.34567, -0.00123456)] == [0, 17162, 12.35, -0.001235]
    assert [significant(value, 2) for value in (0.97956, 0.0123, 99.979)] == [0.98, 0.012, 100]
    assert [in_words(value) for value in (300.4, 17161.7, 0.01234)] == ["300", "17162", "0.0123"]
