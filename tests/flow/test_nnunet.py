"""Results folders of nnU-Net v2 served by a real Triton: the same labels as nnU-Net's own predictor gives."""

from pathlib import Path
from typing import Any

import pytest

from node import Measurement, Segmentation, testing
from node.assemble import stacks
from node.host import read_plugin
from node.infer import GrpcTriton, LocalServer, run
from node.models import add
from node.part10 import Part10
from tests.nnunet_results import field, predicted, results

pytest.importorskip("nnunetv2", reason="nnU-Net is not installed")
pytest.importorskip("pytriton", reason="nvidia-pytriton is not installed")

CASES: dict[str, dict[str, Any]] = {
    "planes": {"configuration": "2d", "spacing": (1.4, 1.4), "patch": (24, 32)},
    "thick": {"spacing": (6.0, 1.2, 1.2), "patch": (8, 32, 24), "folds": 3},
}
SPACING = (6.5, 1.1, 1.3)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with results, and the models and plugins they became."""
    folder = tmp_path_factory.mktemp("nnunet")
    for name in ("models", "plugins"):
        (folder / name).mkdir()
    for name, words in CASES.items():
        results(folder / "results" / name, **words)
        added = add(folder / "results" / name, name, models=folder / "models", plugins=folder / "plugins")
        assert (added.kind, added.classes) == ("nnU-Net", 2)
    images = testing.ct_series(spacing=SPACING, orientation=testing.CORONAL, array=field((14, 44, 40), 0))
    testing.write(images, folder / "ct")
    return folder


@pytest.mark.parametrize("case", CASES)
def test_a_results_folder_answers_on_triton_as_nnunets_own_predictor_does(case: str, house: Path) -> None:
    plugin = read_plugin(house / "plugins" / case)
    (series,) = stacks(Part10.of_file(file) for file in sorted((house / "ct").iterdir())).series
    with LocalServer(house / "models", house / "triton.log") as server:
        triton = GrpcTriton([server.address], deadline_seconds=300)
        triton.prepare(plugin.manifest.models, 120)
        outlines, *volumes = run(plugin, {plugin.roles[0]: series}, triton)
        triton.close()
    assert isinstance(outlines, Segmentation)
    there = predicted(house / "results" / case, series.volume().array[None], SPACING)
    assert [one.label for one in outlines.segments] == ["liver", "odd thing"]
    for label, measured in zip((1, 2), volumes, strict=True):
        here = outlines.labels.array == label
        assert 2 * (here & (there == label)).sum() / (here.sum() + (there == label).sum()) >= 0.999
        assert (there == label).mean() > 0.05
        assert isinstance(measured, Measurement)
