"""Plugins for liver and brain on a real Triton: on phantoms, on real images, and with the weights of real brains."""

import json
import runpy
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from node import KeyImages, NotSuitable, Segmentation, Triton
from node.results import Result
from node.training.phantoms.abdomen import LESION, LIVER, SPLEEN
from node.training.phantoms.brain import DEMENTIA, HEALTHY, STRUCTURES
from node.training.trainer import dice
from node.triton import GrpcTriton, LocalServer
from tests.conftest import DATA
from tests.flow.test_plugins import answered, measured, present, real
from tests.flow.test_plugins_on_phantoms import series_of
from tests.peers import ROOT
from tests.studies import ct_liver, mr_brain

MESHNET = DATA / "weights" / "mr_brain_meshnet" / "model18cls"
MIDDLE = 128
"""mm around the middle of a head that MeshNet is shown here: all 256 take minutes without a GPU."""
ML = {
    "Thalamus": (8, 24),
    "Caudate nucleus": (4, 13),
    "Putamen": (5, 16),
    "Globus pallidus": (1.5, 7),
    "Hippocampus": (4, 13),
}
"""Between what both sides together measure in adults, with room for voxels of 2 mm."""


def outlines(results: tuple[Result, ...]) -> Segmentation:
    (outlined,) = (result for result in results if isinstance(result, Segmentation))
    return outlined


def labelled(results: tuple[Result, ...], *words: str) -> NDArray[np.bool_]:
    """Return where segments lie whose labels begin with one of the words."""
    outlined = outlines(results)
    wanted = [number for number, segment in enumerate(outlined.segments, 1) if segment.label.startswith(words)]
    return np.isin(outlined.labels.array, wanted)


def test_the_liver_of_an_abdomen_is_outlined_and_measured_with_its_lesions(triton: Triton, tmp_path: Path) -> None:
    hu, truth = ct_liver.abdomen()
    results = answered(triton, "ct_liver", series_of(ct_liver.images(), tmp_path), tmp_path)
    values = measured(results)
    assert dice(labelled(results, "Liver"), truth == LIVER) > 0.9
    assert dice(labelled(results, "Spleen"), truth == SPLEEN) > 0.85
    assert dice(labelled(results, "Lesion"), truth == LESION) > 0.6
    voxel_ml = float(np.prod(ct_liver.SPACING)) / 1000
    whole = np.isin(truth, (LIVER, LESION)).sum() * voxel_ml
    assert values["", "Volume"] == pytest.approx(whole, rel=0.08)
    assert present(results) == {"Anatomy coverage incomplete": False, "Steatosis of liver": False}
    below = hu[truth == LIVER].mean() - hu[truth == SPLEEN].mean()
    assert values["", "Attenuation of the liver less that of the spleen"] == pytest.approx(below, abs=4)
    (key,) = (result for result in results if isinstance(result, KeyImages))
    assert key.images


def test_a_real_chest_is_measured_or_declined_by_the_liver(triton: Triton, tmp_path: Path) -> None:
    results = answered(triton, "ct_liver", real("CT/chest_cmb_crc_100", tmp_path, every=2), tmp_path)
    if not isinstance(results[0], NotSuitable):
        assert ("Liver without lesions", "Mean Attenuation Coefficient") in measured(results)


@pytest.mark.parametrize("state", [HEALTHY, DEMENTIA])
def test_a_brain_is_outlined_and_classified_by_its_volumes(state: str, triton: Triton, tmp_path: Path) -> None:
    _, truth = mr_brain.head(state)
    results = answered(triton, "mr_brain", series_of(mr_brain.images(state), tmp_path), tmp_path)
    labels = outlines(results).labels.array
    dices = [dice(truth == number, labels == number) for number in range(1, len(STRUCTURES) + 1)]
    assert np.mean(dices) > 0.75
    presence = {name.removeprefix("Volumes as in "): there for name, there in present(results).items()}
    assert presence == {"dementia": state == DEMENTIA, "Parkinson's disease": False}


def test_a_real_t1_of_a_head_is_measured_or_declined(triton: Triton, tmp_path: Path) -> None:
    results = answered(triton, "mr_brain", real("MR/T1_3d_enhanced_xa30", tmp_path), tmp_path)
    if not isinstance(results[0], NotSuitable):
        assert len(outlines(results).segments) == len(STRUCTURES)


def test_real_slices_of_4_8_mm_are_too_coarse_for_a_brain(triton: Triton, tmp_path: Path) -> None:
    (result,) = answered(triton, "mr_brain", real("MR/T1_sag_brain_35", tmp_path), tmp_path)
    assert result == NotSuitable("voxels of 4.8 mm are too coarse, 3 mm are asked for")


@pytest.fixture
def real_weights(tmp_path: Path) -> Iterator[Triton]:
    """A Triton that has MeshNet's weights of real brains in the place of those of phantoms."""
    if not MESHNET.is_dir():
        pytest.skip("the weights of MeshNet are not beside this repository")
    models = tmp_path / "models"
    for name in ("mr_brain", "guard_head_mr_t1"):
        shutil.copytree(ROOT / "triton_models" / name, models / name)
    script = ROOT / "triton_models" / "mr_brain" / "meshnet.py"
    runpy.run_path(str(script), run_name="meshnet")["bring"](MESHNET, models)
    chain = models / "mr_brain" / "1" / "chain.json"
    chain.write_text(json.dumps(json.loads(chain.read_text()) | {"size": [MIDDLE] * 3}))
    with LocalServer(models, tmp_path / "triton.log") as server:
        client = GrpcTriton([server.address], deadline_seconds=300)
        yield client
        client.close()


def test_weights_of_real_brains_outline_one(real_weights: Triton, tmp_path: Path) -> None:
    results = answered(real_weights, "mr_brain", real("MR/T1_3d_enhanced_xa30", tmp_path), tmp_path)
    values = measured(results)
    for label, (least, most) in ML.items():
        assert least < values[label, "Volume"] < most
    assert not present(results)
