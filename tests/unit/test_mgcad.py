"""The Mammography CAD SR tells a score as what it is: no certainty and no probability."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from node.codes import DCM, SCT, Code
from node.compose import compose
from node.compose.content_items import walk
from node.results import Finding, Region
from node.testing import mammogram
from tests.lung_case import lung_case, series_of


def test_a_score_stands_among_the_parameters_of_the_algorithm(tmp_path: Path) -> None:
    series = series_of(tmp_path, [mammogram()])
    box = np.array([(2.0, 2.0), (9.0, 9.0)])
    region = Region(
        kind="box", points=box, label="Mass 1", type=SCT.Mass, image=series.frames[0], score=0.7123, threshold=0.5
    )
    (report,) = compose(lung_case(series, [region]), kinds=["MGCAD"])
    values = [item.value for item in report.iterall() if item.keyword in ("TextValue", "CodeValue")]
    assert "score for presence, 0 to 1: 0.71, threshold 0.5" in values
    assert not {DCM.CertaintyOfFinding.value, DCM.ProbabilityOfCancer.value} & set(values)


def test_what_was_searched_for_is_listed_also_when_nothing_was_found(tmp_path: Path) -> None:
    series = series_of(tmp_path, [mammogram()])
    sought = [Finding(name=kind, present=False) for kind in (SCT.Mass, SCT.CalcificationCluster)]
    (report,) = compose(lung_case(series, sought), kinds=["MGCAD"])
    performed = [
        item for item in walk(report) if "ConceptCodeSequence" in item and _name(item) == DCM.DetectionPerformed
    ]
    kinds = {item.ConceptCodeSequence[0].CodeMeaning for item in performed}
    assert kinds == {"Mammography breast density", "Calcification Cluster"}


def _name(item: Dataset) -> Code:
    (name,) = item.ConceptNameCodeSequence
    return Code(name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning)
