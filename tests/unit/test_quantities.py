"""The objects of every plugin are read as AI Results, and its numbers come back, each with a concept of its own.

pydicom alone reads them, and dcmqi. All plugins are run here once, for all three readers.
"""

import importlib.util
from collections import Counter
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from node.codes import OWN_SCHEME, SCT, UCUM
from node.compose.sr import statement_items as node_items
from node.host import find_plugins
from tests.air import faults_of
from tests.peers import ROOT
from tests.quantities import RUNS, Quantity, harvested, harvested_by_dcmqi, read_back

NODES = {
    node_items.SCORE,
    node_items.PRIOR_VALUE,
    node_items.PRIOR_AGE,
    node_items.CHANGE,
    node_items.CHANGE_PERCENT,
    node_items.DOUBLING_TIME,
}
"""What the node says of a finding or a comparison, beside the numbers of the plugin."""


def test_the_runs_are_those_of_all_plugins() -> None:
    assert RUNS.keys() == find_plugins([ROOT / "plugins"]).keys()


@pytest.mark.parametrize("plugin", RUNS)
def test_the_report_has_each_quantity_once_and_every_reader_finds_it(
    plugin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(objects: list[Dataset]) -> list[Quantity]:
        assert faults_of(objects) == []
        found = harvested(objects)
        if importlib.util.find_spec("dcmqi") is not None:
            assert harvested_by_dcmqi(objects, tmp_path) == found
        return found

    for given, found in read_back(plugin, monkeypatch, read):
        assert [number for number in found if not _of_the_node(number)] == given
        names = Counter((number.subject, number.scheme, number.concept) for number in given)
        assert {name: count for name, count in names.items() if count > 1} == {}


def _of_the_node(number: Quantity) -> bool:
    concept = number.scheme, number.concept
    if concept == (SCT.Area.scheme_designator, SCT.Area.value):
        return number.unit == UCUM.SquareMillimeter.value  # of an outline, where it is largest
    if number.scheme == OWN_SCHEME and number.concept.startswith("SCORE_"):
        return True  # the score of one finding
    return any(concept == (code.scheme_designator, code.value) for code in NODES)
