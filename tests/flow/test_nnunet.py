"""Results folders of nnU-Net v2 served by a real Triton: the same labels as nnU-Net's own predictor gives."""

import importlib.util
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from node import Measurement, Segmentation, testing
from node.cli import app
from node.host import read_plugin
from node.images.part10 import Part10
from node.images.stacks import group_into_stacks
from node.infer import run
from node.models import add
from node.triton import GrpcTriton, LocalServer
from tests.nnunet_results import field, predicted, results

pytest.importorskip("nnunetv2", reason="nnU-Net is not installed")
pytest.importorskip("pytriton", reason="nvidia-pytriton is not installed")

CASES: dict[str, dict[str, Any]] = {
    "thick": {"spacing": (6.0, 1.2, 1.2), "patch": (8, 32, 24), "folds": 3, "mirror": (2,)},
    "planes": {
        "configuration": "2d",
        "spacing": (1.4, 1.4),
        "patch": (68, 40),
        "mirror": (1,),
        "reader": "SimpleITKIOWithReorient",
    },
}
SPACING = (6.5, 1.1, 1.3)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with results, the models and plugins they became, coronal images, and a configuration with a server."""
    folder = tmp_path_factory.mktemp("nnunet")
    for name in ("models", "plugins"):
        (folder / name).mkdir()
    for name, words in CASES.items():
        results(folder / "results" / name, **words)
        added = add(folder / "results" / name, name, models=folder / "models", plugins=folder / "plugins")
        assert (added.kind, added.classes) == ("nnU-Net", 2)
    images = testing.ct_series(spacing=SPACING, orientation=testing.CORONAL, array=field((14, 44, 40), 0))
    testing.write(images, folder / "ct")
    with LocalServer(folder / "models", folder / "triton.log") as server:
        (folder / "isocenter.toml").write_text(
            f"plugins = ['plugins']\n[triton]\nurls = ['{server.address}']\ndeadline_seconds = 300\n"
            "model_repository = 'models'\n[spool]\npath = 'spool'\n[ledger]\nurl = 'sqlite:///ledger.db'\n"
        )
        yield folder


def test_a_results_folder_answers_on_triton_as_nnunets_own_predictor_does(house: Path) -> None:
    plugin = read_plugin(house / "plugins" / "thick")
    (series,) = group_into_stacks(Part10.of_file(file) for file in sorted((house / "ct").iterdir())).series
    address = re.search(r"urls = \['(.*)'\]", (house / "isocenter.toml").read_text())
    assert address
    triton = GrpcTriton([address[1]], deadline_seconds=300)
    triton.prepare(plugin.manifest.models, 300)
    outlines, *volumes = run(plugin, {plugin.roles[0]: series}, triton)
    triton.close()
    assert isinstance(outlines, Segmentation)
    there = predicted(house / "results" / "thick", series.volume().array[None], SPACING)
    assert [segment.label for segment in outlines.segments] == ["liver", "odd thing"]
    for label, measured in zip((1, 2), volumes, strict=True):
        here = outlines.labels.array == label
        assert 2 * (here & (there == label)).sum() / (here.sum() + (there == label).sum()) >= 0.999
        assert (there == label).mean() > 0.05
        assert isinstance(measured, Measurement)


def run_compare(house: Path, *words: str) -> tuple[int, str]:
    """Run the command; return its exit code and all it said."""
    done = CliRunner().invoke(
        app, ["model", "compare", *words, "--on", str(house / "ct"), "--config", str(house / "isocenter.toml")]
    )
    return done.exit_code, done.output


@pytest.mark.parametrize(("case", "framework"), [("planes", "nnunet"), ("thick", "torch")])
def test_the_model_card_says_how_far_the_served_answer_is_from_the_frameworks(
    case: str, framework: str, house: Path
) -> None:
    code, output = run_compare(house, case, "--with", framework)
    assert code == 0, output
    card = (house / "plugins" / case / "README.md").read_text()
    assert f"## Compared with {framework}\n" in card
    assert "CT series 50, 14 images, coronal" in card
    for label in ("1 liver", "2 odd thing"):
        row = re.search(rf"^\| {label} \| (\d+) voxels \| \d+ voxels \| Dice ([\d.]+) \|$", card, re.MULTILINE)
        assert row
        assert row[0] in output
        assert int(row[1]) > 1000
        assert float(row[2]) >= 0.999


def test_a_comparison_that_cannot_run_says_what_is_missing(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "there are: monai, nnunet, torch" in run_compare(house, "thick", "--with", "tea leaves")[1]
    shutil.copytree(house / "results", house / "moved")
    (house / "models" / "thick" / "source.json").write_text(json.dumps({"path": str(house / "gone")}))
    assert "say where it is now, --source" in run_compare(house, "thick", "--with", "nnunet")[1]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert 'pip install "isocenter[nnunet]"' in run_compare(house, "thick", "--with", "nnunet")[1]
