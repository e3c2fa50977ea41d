"""Plugins for photographs and slides on a real Triton: on phantoms their networks never saw, and on real images."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from node import Heatmap, KeyImages, NotSuitable, Segmentation, Triton, testing
from node.images.predicates import mismatch
from node.models import add
from node.results import Result
from node.training.phantoms.fundus import fundus
from node.training.phantoms.skin import lesion
from node.triton import GrpcTriton, LocalServer
from tests.flow.test_plugins import answered, measured, plugins, present, real
from tests.flow.test_plugins_on_phantoms import series_of
from tests.fundus_wnet import WEIGHTS, FundusWNet
from tests.peers import ROOT
from tests.studies import op_retina, sm_breast, xc_skin

GRADES = ("Mild nonproliferative", "Moderate nonproliferative", "Severe nonproliferative", "Proliferative")


def outlined(results: tuple[Result, ...]) -> np.ndarray:
    (outlines,) = (result for result in results if isinstance(result, Segmentation))
    return outlines.labels.array[0]


def dice(mask: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (mask & other).sum() / (mask.sum() + other.sum()))


def test_a_retina_is_graded_explained_and_its_vessels_are_outlined(triton: Triton, tmp_path: Path) -> None:
    results = answered(triton, "op_retina", series_of(op_retina.images(), tmp_path), tmp_path)
    presence = present(results)
    assert presence["Diabetic retinopathy"]
    assert [name for name in GRADES if presence[f"{name} diabetic retinopathy"]] == [GRADES[op_retina.GRADE - 1]]
    _, vessels = fundus(op_retina.ROWS, np.random.default_rng(11), grade=op_retina.GRADE)
    assert dice(outlined(results), vessels) > 0.7
    assert 3 < measured(results)["Retinal vessels", "Part of the photographed field that is vessel"] < 30
    assert sum(isinstance(result, Heatmap) for result in results) == 1


def test_a_retina_without_retinopathy_has_none(triton: Triton, tmp_path: Path) -> None:
    photo, _ = fundus(384, np.random.default_rng(12), grade=0)
    results = answered(triton, "op_retina", series_of([testing.fundus_photograph(array=photo)], tmp_path), tmp_path)
    assert set(present(results).values()) == {False}
    assert not any(isinstance(result, Heatmap) for result in results)


def test_a_real_photograph_in_grey_is_not_graded(triton: Triton, tmp_path: Path) -> None:
    images = real("OP/heidelberg/sample-op.dcm", tmp_path)
    (result,) = answered(triton, "op_retina", images, tmp_path)
    assert isinstance(result, NotSuitable)
    assert result.reason.startswith("these pixels show a picture without colour, not a colour photograph of the back")


WNET = """
steps = ["place", { resize = [0, 512, 512], by = "area" }, { scale = [0, 255] }]
planar = true
colour = true
activation = "sigmoid"
"""


def test_a_real_network_for_vessels_takes_the_place_of_ours(tmp_path: Path) -> None:
    """As the model card says: `isocenter model add` of W-Net's weights, under the name of our volume model."""
    if not WEIGHTS.is_file():
        pytest.skip("the shared data is not on this machine")
    network = FundusWNet()
    torch.jit.trace(network, torch.zeros(1, 3, 64, 64)).save(tmp_path / "wnet.pt")
    (tmp_path / "wnet.toml").write_text(WNET)
    models = tmp_path / "models"
    for name in ("op_retina", "guard_fundus"):
        shutil.copytree(ROOT / "triton_models" / name, models / name)
    (tmp_path / "plugins").mkdir()
    add(
        tmp_path / "wnet.pt", "op_retina_vessels", models=models, plugins=tmp_path / "plugins", labels=["Blood vessel"],
        modality="OP", chain=tmp_path / "wnet.toml", trust=True,
    )  # fmt: skip
    photo, vessels = fundus(384, np.random.default_rng(14), grade=0)
    with LocalServer(models, tmp_path / "triton.log") as server:
        client = GrpcTriton([server.address], deadline_seconds=300)
        series = series_of([testing.fundus_photograph(array=photo)], tmp_path)
        seen = outlined(answered(client, "op_retina", series, tmp_path))
        client.close()
    lit = photo.max(2) > 20
    rows, columns = (np.flatnonzero(lit.mean(axis) > 0.02)[[0, -1]] + (0, 1) for axis in (1, 0))
    box = slice(*rows), slice(*columns)
    with torch.inference_mode():
        given = torch.from_numpy(photo[box].copy()).movedim(2, 0)[None].float()
        answer = network(functional.interpolate(given, (512, 512), mode="area") / 255).sigmoid()
        back = functional.interpolate(answer, given.shape[2:], mode="bilinear")[0, 0].numpy() > 0.5
    assert dice(seen[box] > 0, back) >= 0.999
    assert dice(seen, vessels) > 0.8


def test_a_lesion_of_skin_is_named_and_outlined(triton: Triton, tmp_path: Path) -> None:
    results = answered(triton, "xc_skin", series_of(xc_skin.images(), tmp_path), tmp_path)
    assert [name for name, there in present(results).items() if there] == ["Malignant melanoma of skin"]
    _, inside = lesion(xc_skin.ROWS, np.random.default_rng(12), kind=xc_skin.KIND)
    assert dice(outlined(results), inside) > 0.85


def test_a_slide_has_its_class_and_a_map_of_carcinoma(triton: Triton, tmp_path: Path) -> None:
    results = answered(triton, "sm_breast", series_of(sm_breast.images(), tmp_path), tmp_path)
    presence = present(results)
    assert presence["Invasive carcinoma of breast"]
    assert presence["The slide as a whole: invasive carcinoma"]
    parts = {name: value for (_, name), value in measured(results).items()}
    assert parts["Part of the tissue that is invasive carcinoma"] == pytest.approx(100 * 4 / 13, abs=8)
    (heat,) = (result for result in results if isinstance(result, Heatmap))
    malignant = np.array([[kind == "invasive" for kind in line] for line in sm_breast.FIELDS]).repeat(2, 0).repeat(2, 1)
    tiles = heat.array[:, 0, 0].reshape(malignant.shape)
    assert tiles[malignant].mean() > 0.5 + tiles[~malignant].mean()
    (key,) = (result for result in results if isinstance(result, KeyImages))
    assert malignant.ravel()[[frame.number - 1 for frame in key.images]].mean() > 0.5


@pytest.mark.parametrize("images", ["tiled_small/sm_image.dcm", "gcp_small/test_raw_dicom.dcm"])
def test_real_slides_that_are_no_breast_tissue(images: str, triton: Triton, tmp_path: Path) -> None:
    (result,) = answered(triton, "sm_breast", real(f"SM/{images}", tmp_path), tmp_path, "dcentvfy")
    assert isinstance(result, NotSuitable)
    assert "not tissue stained with haematoxylin and eosin" in result.reason


def test_the_label_of_a_real_slide_is_not_looked_at(tmp_path: Path) -> None:
    label = real("SM/gcp_small/test_wikipedia.dcm", tmp_path)
    asked = plugins()["sm_breast"].manifest.series["slide"].when
    assert "ImageType" in str(mismatch(asked, label))
    assert mismatch(asked, series_of(sm_breast.images(), tmp_path / "slide")) is None
