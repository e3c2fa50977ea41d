"""The table of the summary page has what was measured and found, in words that a reader knows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from node.codes import DCM, SCT, UCUM, Code
from node.compose.figures_in_words import derivation_in_words, unit_in_words
from node.compose.outlines import drawables
from node.compose.sr.whole_images import NOT_CALIBRATED
from node.compose.summary_table import Row, remarks, table_rows
from node.results import (
    Comparison,
    DerivedSeries,
    Finding,
    Heatmap,
    KeyImages,
    Measurement,
    Registration,
    Result,
    Segment,
    Segmentation,
)
from node.testing import ct_series
from tests.spleen_case import GREEN, IDENTITY, LUNG, ORGAN, nodule_region, series_of, spleen_case, spleen_segmentation


def test_the_table_says_what_was_found_of_what(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series())
    labels = np.zeros((8, 32, 32), np.uint8)
    labels[2:5, 4:9, 4:9] = 1
    region = nodule_region(series, 5, score=0.25, threshold=0.2)
    missing = Segment(label="Kidney", type=SCT.Kidney, category=SCT.Organ)
    volume = spleen_segmentation(series, labels).labels
    results: list[Result] = [
        Segmentation(labels=volume, segments=[ORGAN, missing]),
        region,
        Measurement(name=SCT.Volume, value=12345.6, unit=UCUM.CubicCentimeter, of=ORGAN),
        Measurement(name=SCT.Diameter, value=5.25, unit=UCUM.Millimeter, of=region),
        Measurement(name=DCM.AttenuationCoefficient, value=-3, unit=UCUM.HounsfieldUnit, derivation=SCT.Mean),
        Finding(name=SCT.Mass, score=0.1, threshold=0.5, calibrated=True, interval=(0.05, 0.2)),
        KeyImages(images=[series.frames[1], series.frames[6]], description="Look here"),
        DerivedSeries(
            array=np.zeros((8, 32, 32)), source=series, description="Denoised", derivation=DCM.SpatialResampling
        ),
        Registration(fixed=series, moving=series, matrix=np.eye(4)),
        Heatmap(array=volume.array.astype(np.uint8), source=series, name=DCM.ClassActivation, label="Attention"),
    ]
    table = table_rows(spleen_case(series, results))
    name = f"series {series.header.SeriesNumber}, {series.header.SeriesDescription}"
    assert table == [
        Row(what="Spleen", name="Volume", value="12346 cm³", color=GREEN, mark="1"),
        Row(what="Kidney", name="not found", color=table[1].color, mark="2"),
        Row(
            what="Nodule 1", name="Nodule", value="image 6 at -37.5 mm", note="score 0.25 (threshold 0.2)", color=GREEN
        ),
        Row(name="Diameter", value="5.25 mm"),
        Row(what="Images as a whole", name="Mean of Attenuation Coefficient", value="-3 HU"),
        Row(name="Mass", value="absent", note="probability 0.1 (0.05 to 0.2; threshold 0.5)"),
        Row(what="Key images", name="Look here", value="image 2 at -47.5 mm, image 7 at -35.0 mm"),
        Row(what="New series", name=f"Denoised ({DCM.SpatialResampling.meaning})", value="8 images"),
        Row(what="Registration", name=f"{name} onto {name}", value="rigid"),
        Row(what="Heat map", name="Attention", value="0 to 1"),
    ]
    assert remarks(spleen_case(series, [region])) == [NOT_CALIBRATED]


def test_no_region_has_the_colour_of_a_segment_or_of_another_region(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series())
    volume = spleen_segmentation(series, np.ones((8, 32, 32), np.uint8)).labels
    results = [
        Segmentation(labels=volume, segments=[LUNG, replace(LUNG, label="Other")]),
        *(nodule_region(series, 1, label=label, color=None) for label in "ab"),
    ]
    case = spleen_case(series, results, replace(IDENTITY, study_uid=series.study_uid))
    shown = [row.color for row in table_rows(case) if row.color]
    assert len(set(shown)) == 4
    assert [drawable.color for drawable in drawables(case)] == shown


def test_a_change_since_the_prior_is_said_beside_the_value(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series())
    nodule = nodule_region(series, 1, tracking_uid="1.2.3.9")
    volume = Measurement(name=SCT.Volume, value=2, unit=UCUM.CubicCentimeter, of=nodule)
    compared = Comparison(measurement=volume, prior=1, days=90)
    expected = Row(name="Volume", value="2 cm³", note="was 1 cm³ 90 days ago: +100 %, doubles in 90 days")
    for results in ([nodule, compared], [nodule, volume, compared]):
        assert table_rows(spleen_case(series, results))[1:] == [expected]


@pytest.mark.parametrize(
    ("name", "percentile", "printed"),
    [
        (DCM.AttenuationCoefficient, 15, "15th percentile of "),
        (DCM.AttenuationCoefficient, 2, "2nd percentile of "),
        (DCM.AttenuationCoefficient, 12.5, "12.5th percentile of "),
        (Code("PERC15", "99ISOCENTER", "15th percentile of lung attenuation (Perc15)"), 15, ""),
    ],
)
def test_a_percentile_is_said_once(name: Code, percentile: float, printed: str) -> None:
    measured = Measurement(name=name, value=1, unit=UCUM.HounsfieldUnit, percentile=percentile)
    assert derivation_in_words(measured) == printed


@pytest.mark.parametrize(
    ("unit", "printed"),
    [(UCUM.HounsfieldUnit, "HU"), (UCUM.StandardizedUptakeValueBodyWeight, "g/ml"), (UCUM.CubicCentimeter, "cm³")],
)
def test_a_unit_is_printed_without_what_is_for_machines(unit: Code, printed: str) -> None:
    assert unit_in_words(unit) == printed


def test_what_is_present_comes_before_what_is_absent(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series())
    absent = Finding(name=SCT.Nodule, score=0.1, threshold=0.5)
    present = Finding(name=SCT.Mass, score=0.9, threshold=0.5)
    assert [row.name for row in table_rows(spleen_case(series, [absent, present]))] == [
        SCT.Mass.meaning,
        SCT.Nodule.meaning,
    ]


def test_a_lesion_has_the_image_on_which_it_is_largest_and_an_organ_has_not(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series())
    labels = np.zeros((8, 32, 32), np.uint8)
    labels[:, :4], labels[2:5, 8:10, 8:10], labels[3, 8:12, 8:12] = 1, 2, 2
    lesion = Segment(label="Nodule 1", type=SCT.Nodule, category=SCT.MorphologicallyAbnormalStructure)
    volume = spleen_segmentation(series, np.minimum(labels, 1)).labels.with_array(labels)
    rows = table_rows(spleen_case(series, [Segmentation(labels=volume, segments=[ORGAN, lesion])]))
    assert [(row.what, row.name, row.value) for row in rows] == [
        ("Spleen", "", ""),
        ("Nodule 1", "Largest on", "image 4 at -42.5 mm"),
    ]
