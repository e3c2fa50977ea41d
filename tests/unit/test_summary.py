"""The summary of a case is a sentence that a person would write; an organ that was outlined is no finding."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from node.codes import DCM, SCT, UCUM
from node.compose.summary import glance, is_positive, summary_sentence
from node.host.kind import Kind
from node.images.series import Series
from node.results import Finding, Measurement, NotSuitable, Region, Result, Segment, Segmentation, Summary
from node.testing import ct_series, radiograph
from tests.lung_case import LEFT, RIGHT, lung_case, lung_labels, lungs_on, on_grid_of, series_of

INDEX = Measurement(name=DCM.AttenuationCoefficient, value=-811.4, unit=UCUM.HounsfieldUnit, of=LEFT)
MASS, ABSENT = Finding(name=SCT.Mass, score=0.9, threshold=0.5), Finding(name=SCT.Nodule, score=0.1, threshold=0.5)
UNSURE = Finding(name=SCT.Calcified, score=0.4, threshold=0.5, indeterminate_from=0.3)


def _lungs(series: Series, segments: tuple[Segment, ...] = (RIGHT, LEFT)) -> Segmentation:
    return Segmentation(labels=on_grid_of(series, np.minimum(lung_labels(series), 2)), segments=segments)


@pytest.mark.parametrize(
    ("results", "sentence", "seen"),
    [
        (lambda s: [_lungs(s), INDEX], "Right lung, Left lung outlined; Attenuation Coefficient of Left lung -811.4 HU",
         "CT lung: right lung.. outlined"),
        (lambda s: [lungs_on(s)], "Nodule 1 found; Right lung, Left lung outlined", "CT lung: nodule 1 found"),
        (lambda _: [MASS, ABSENT, UNSURE], "Mass found; Calcified indeterminate", "CT lung: mass found"),
        (lambda _: [ABSENT], "Nothing found", "CT lung: nothing found"),
        (lambda _: [], "Nothing found", "CT lung: nothing found"),
        (lambda _: [NotSuitable("no lung")], "Not suitable, because no lung", "CT lung: not suitable"),
        (lambda _: [Summary("Lungs outlined; emphysema index 8 %", glance="emphysema 8 %")],
         "Lungs outlined; emphysema index 8 %", "CT lung: emphysema 8 %"),
    ],
)  # fmt: skip
def test_the_summary_is_of_findings_first_then_of_what_was_outlined_and_measured(
    tmp_path: Path, results: Callable[[Series], list[Result]], sentence: str, seen: str
) -> None:
    series = series_of(tmp_path, ct_series())
    case = lung_case(series, results(series))
    assert summary_sentence(case) == sentence
    assert glance(case) == seen
    assert len(glance(case)) <= 37


def test_a_healthy_organ_is_no_finding_and_a_lesion_is_one(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series())
    lesion = replace(LEFT, label="Tumour", category=SCT.MorphologicallyAbnormalStructure)
    assert not is_positive(_lungs(series))
    assert is_positive(_lungs(series, (RIGHT, lesion)))
    assert [is_positive(one) for one in (MASS, ABSENT, UNSURE, replace(MASS, notable=False), INDEX)] == [
        True, False, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize("kind", Kind)
def test_a_long_title_leaves_room_for_all_of_what_was_found(kind: Kind, tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series())
    case = lung_case(series, [Summary("Lungs outlined", glance="emphysema below 1 %")])
    title = "CT lung: volumes and emphysema index"
    case = replace(case, identity=replace(case.identity, title=title, kind=kind, validated_on="500 chests"))
    described = case.identity.report_description(glance(case))
    assert "AI CT lung: emphysema below 1 % (" in described
    assert len(described) <= 64


def test_a_summary_has_words_that_fit() -> None:
    with pytest.raises(ValueError, match="at most 25 characters"):
        Summary("Lungs outlined", glance="x" * 26)


def test_a_faultless_radiograph_has_no_findings_and_a_fault_is_one(tmp_path: Path) -> None:
    series = series_of(tmp_path, [radiograph()])
    seen = Region(
        kind="box", points=np.array([(1.0, 1.0), (9.0, 9.0)]), label="Lungs", type=SCT.Lung, image=series.frames[0],
        category=SCT.AnatomicalStructure,
    )  # fmt: skip
    frontal = Finding(name=SCT.Calcified, present=True, of=seen, notable=False)
    for cut, sentence in ((False, "Nothing found"), (True, "Mass found")):
        results = [seen, frontal, Finding(name=SCT.Mass, present=cut, of=seen)]
        assert any(map(is_positive, results)) is cut
        assert summary_sentence(lung_case(series, results)) == sentence
