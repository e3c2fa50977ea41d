"""MONAI bundles, made and run with MONAI's own tools, and served by a real Triton: the same labels from both."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from node import Finding, Segmentation, testing
from node.cli import app
from node.errors import ConfigError
from node.host import read_plugin
from node.images.series import Series, Volume
from node.infer import run
from node.models import add
from node.models.compare import FRAMEWORKS, Asked
from node.triton import GrpcTriton, LocalServer
from tests.matrix import series_in

pytest.importorskip("pytriton", reason="nvidia-pytriton is not installed")
nibabel = pytest.importorskip("nibabel", reason="nibabel is not installed")
pytestmark = [  # imported by the tests that need them: it takes seconds
    pytest.mark.skipif(find_spec("ignite") is None, reason="MONAI's evaluator needs pytorch-ignite"),
    pytest.mark.skipif(find_spec("monai") is None, reason="MONAI is not installed"),
]

UNET = {
    "_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 3, "channels": [8, 16], "strides": [2],
    "norm": "batch",
}  # fmt: skip
LOAD = [{"_target_": "LoadImaged", "keys": "image"}, {"_target_": "EnsureChannelFirstd", "keys": "image"}]
WINDOWS = {"_target_": "SlidingWindowInferer", "roi_size": [32, 32, 16], "sw_batch_size": 4, "overlap": 0.5}
SOFTMAX = {"_target_": "Activationsd", "keys": "pred", "softmax": True}
LARGEST = {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}
SAVE = {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir", "separate_folder": False}


def back(*, nearest: bool) -> dict[str, Any]:
    return {
        "_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image",
        "nearest_interp": nearest, "to_tensor": True,
    }  # fmt: skip


@dataclass(frozen=True)
class Made:
    """One bundle's own choices."""

    before: Sequence[Mapping[str, Any]]
    after: Sequence[Mapping[str, Any]]
    inferer: Mapping[str, Any] = field(default_factory=lambda: WINDOWS)
    network: Mapping[str, Any] = field(default_factory=lambda: UNET)
    more: Mapping[str, Any] = field(default_factory=dict)
    images: Mapping[str, Any] | None = None


def key(name: str, **words: Any) -> dict[str, Any]:
    return {"_target_": name, "keys": "image", **words}


CHAINS = {
    "as the spleen": Made(
        before=[
            key("Orientationd", axcodes="RAS"),
            key("Spacingd", pixdim=[1.5, 1.5, 2.0], mode="bilinear"),
            key("ScaleIntensityRanged", a_min=-57, a_max=164, b_min=0, b_max=1, clip=True),
            key("EnsureTyped"),
        ],
        after=[SOFTMAX, back(nearest=False), LARGEST],
        more={"device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')"},
    ),
    "as the whole body": Made(
        before=[
            key("NormalizeIntensityd", nonzero=True),
            key("Orientationd", axcodes="LPS"),
            key("Spacingd", pixdim="@pixdim", mode="bilinear"),
            key("ScaleIntensityd", minv=-1.0, maxv=1.0),
        ],
        after=[SOFTMAX, LARGEST, back(nearest=True)],
        inferer={**WINDOWS, "mode": "gaussian", "roi_size": "$[@extent] * 2 + [@extent // 2]"},
        more={"pixdim": "$[@mm, @mm, @mm * 1.5]", "mm": 1.3, "extent": 32},
    ),
    "as the prostate": Made(
        before=[
            key("CropForegroundd", source_key="image", margin=2),
            key("ScaleIntensityRangePercentilesd", lower=5, upper=95, b_min=0, b_max=1, clip=True),
            key("NormalizeIntensityd"),
        ],
        after=[back(nearest=True), LARGEST, {
            "_target_": "KeepLargestConnectedComponentd", "keys": "pred", "applied_labels": [1, 2], "connectivity": 1,
        }],
    ),
    "as an editor": Made(
        before=[
            key("Orientationd", axcodes="RAS"),
            key("ScaleIntensityRanged", a_min=-175, a_max=250, b_min=0, b_max=1, clip=True),
            key("Resized", spatial_size=[48, 40, 24], mode="trilinear"),
        ],
        after=[SOFTMAX, back(nearest=False), LARGEST],
        inferer={"_target_": "SimpleInferer"},
    ),
    "as the ventricles": Made(
        before=[key("ScaleIntensityd"), key("EnsureTyped", device="@device")],
        after=[SOFTMAX, back(nearest=False), LARGEST, {"_target_": "ToNumpyd", "keys": "pred"}],
        inferer={
            "_target_": "SliceInferer", "roi_size": [64, 64], "spatial_dim": 2, "padding_mode": "replicate",
            "overlap": 0.25,
        },
        network={**UNET, "spatial_dims": 2},
        images={"type": "image", "modality": "MR", "num_channels": 1, "spatial_shape": [64, 64]},
    ),
    "with sigmoid": Made(
        before=[
            key("Orientationd", axcodes="RAS"),
            key("Spacingd", pixdim=[1.0, 1.0, 2.0], mode=["bilinear"]),
            key("ScaleIntensityd"),
            key("DivisiblePadd", k=8),
        ],
        after=[{"_target_": "Activationsd", "keys": "pred", "sigmoid": True}, back(nearest=False), {
            "_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5,
        }],
        inferer={"_target_": "SimpleInferer"},
        network={**UNET, "out_channels": 1, "act": ["relu", {"inplace": False}]},
    ),
}  # fmt: skip


def write_bundle(
    folder: Path,
    made: Made,
    data: Sequence[str],
    *,
    images: Mapping[str, Any] | None = None,
    classes: Sequence[str] = (),
    output_format: str = "segmentation",
) -> Path:
    """Write a bundle with the weights of a small network, by the names of MONAI."""
    from monai.networks import nets

    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    words = {name: value for name, value in made.network.items() if name != "_target_"}
    network = getattr(nets, made.network["_target_"])(**words).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d | torch.nn.BatchNorm2d):
            module.running_var.fill_(0.05)
    torch.save({"model": network.state_dict()}, folder / "models" / "model.pt")
    names = classes or (["background", "Spleen", "Odd thing"] if made.network["out_channels"] > 1 else ["Spleen"])
    metadata = {
        "network_data_format": {
            "inputs": {"image": images or {
                "type": "image", "format": "hounsfield", "modality": "CT", "num_channels": 1,
                "spatial_shape": [32, 32, 32], "channel_def": {"0": "image"},
            }},
            "outputs": {"pred": {
                "type": "image", "format": output_format, "num_channels": len(names),
                "channel_def": {str(number): name for number, name in enumerate(names)},
            }},
        },
    }  # fmt: skip
    inference = {
        "imports": ["$import glob", "$import torch"],
        "bundle_root": str(folder),
        "output_dir": str(folder / "eval"),
        "device": "$torch.device('cpu')",
        "network_def": made.network,
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": [*LOAD, *made.before]},
        "dataset": {"_target_": "Dataset", "data": [{"image": image} for image in data], "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": made.inferer,
        "postprocessing": {"_target_": "Compose", "transforms": [*made.after, SAVE]},
        "handlers": [{
            "_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/model.pt'",
            "load_dict": {"model": "@network"},
        }],
        "evaluator": {
            "_target_": "SupervisedEvaluator", "device": "@device", "val_data_loader": "@dataloader",
            "network": "@network", "inferer": "@inferer", "postprocessing": "@postprocessing",
            "val_handlers": "@handlers", "amp": False,
        },
        "initialize": ["$setattr(torch.backends.cudnn, 'benchmark', False)"],
        "run": ["$@evaluator.run()"],
        **made.more,
    }  # fmt: skip
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    (folder / "configs" / "inference.json").write_text(json.dumps(inference, indent=2))
    return folder


def as_nifti(volume: Volume, path: Path) -> Path:
    """Write a volume as MONAI reads it: (column, row, slice), RAS."""
    affine = np.diag([-1, -1, 1, 1]) @ volume.affine[:, [2, 1, 0, 3]]
    nibabel.save(nibabel.Nifti1Image(volume.array.transpose(2, 1, 0), affine), path)
    return path


def of_monai(folder: Path) -> np.ndarray:
    """Run the bundle as MONAI does and return the labels it saved, (slice, row, column)."""
    from monai import bundle as bundles

    configs = folder / "configs"
    workflow = bundles.ConfigWorkflow(
        config_file=str(configs / "inference.json"), meta_file=str(configs / "metadata.json"), logging_file=False,
        workflow_type="infer",
    )  # fmt: skip
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    (saved,) = (folder / "eval").rglob("*.nii.gz")
    return np.asarray(nibabel.load(saved).dataobj).round().astype(np.uint8).transpose(2, 1, 0)


def body(tmp_path: Path) -> Series:
    """Images, a little oblique, with objects in them that a network may find."""
    noise = torch.from_numpy(np.random.default_rng(7).normal(0, 900, (1, 18, 46, 52))).float()
    array = torch.nn.functional.avg_pool3d(noise, 5, 1, 2)[0].numpy() + 60
    array[:, :3], array[:, :, :4], array[:1] = 0, 0, 0
    turn = np.deg2rad(6)
    across = (float(np.cos(turn)), float(np.sin(turn)), 0.0, float(-np.sin(turn)), float(np.cos(turn)), 0.0)
    return series_in(
        tmp_path / "ct", testing.ct_series(array=array.round(), spacing=(2.5, 1.1, 1.1), orientation=across)
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory):
    """All bundles added beside one another, and one Triton that serves them."""
    folder = tmp_path_factory.mktemp("bundles")
    (folder / "models").mkdir()
    (folder / "plugins").mkdir()
    series = body(folder)
    image = as_nifti(series.volume(), folder / "image.nii.gz")
    torch.manual_seed(11)
    added = {}
    for number, (name, made) in enumerate(CHAINS.items()):
        write_bundle(folder / f"bundle{number}", made, [str(image)], images=made.images)
        added[name] = add(
            folder / f"bundle{number}", f"b{number}", models=folder / "models", plugins=folder / "plugins"
        )
    with LocalServer(folder / "models", folder / "triton.log") as server:
        (folder / "isocenter.toml").write_text(
            f"plugins = ['plugins']\n[triton]\nurls = ['{server.address}']\ndeadline_seconds = 300\n"
            "model_repository = 'models'\n[spool]\npath = 'spool'\n[ledger]\nurl = 'sqlite:///ledger.db'\n"
        )
        triton = GrpcTriton([server.address], deadline_seconds=300)
        yield folder, series, triton
        triton.close()


@pytest.mark.parametrize("number", range(len(CHAINS)), ids=list(CHAINS))
def test_a_bundle_answers_as_it_does_in_monai(number: int, served) -> None:
    folder, series, triton = served
    plugin = read_plugin(folder / "plugins" / f"b{number}")
    triton.prepare(plugin.manifest.models, 120)
    outlines, *_ = run(plugin, {"image": series}, triton)
    assert isinstance(outlines, Segmentation)
    theirs = of_monai(folder / f"bundle{number}")
    labels = range(1, len(outlines.segments) + 1)
    assert len(np.unique(theirs)) == len(labels) + 1
    for label in labels:
        assert dice(outlines.labels.array == label, theirs == label) >= 0.999


@pytest.mark.parametrize("name", ["as the spleen", "as the prostate", "with sigmoid"])
def test_a_comparison_with_monai_gives_the_answer_of_its_own_evaluator(name: str, tmp_path: Path) -> None:
    volume = body(tmp_path).volume()
    bundle = write_bundle(tmp_path / "bundle", CHAINS[name], [str(as_nifti(volume, tmp_path / "image.nii.gz"))])
    asked = Asked(source=bundle, model=tmp_path, volumes={"image": volume})
    assert (FRAMEWORKS["monai"].answer(asked)["labels"] == of_monai(bundle)).all()


def test_the_command_writes_how_far_a_served_bundle_is_from_monai_into_its_card(served) -> None:
    folder, _, _ = served
    words = ["model", "compare", "b0", "--with", "monai", "--on", str(folder / "ct")]
    done = CliRunner().invoke(app, [*words, "--config", str(folder / "isocenter.toml")])
    assert done.exit_code == 0, done.output
    card = (folder / "plugins" / "b0" / "README.md").read_text()
    assert "## Compared with monai\n" in card
    rows = re.findall(r"^\| \d .+ \| (\d+) voxels \| \d+ voxels \| Dice ([\d.]+) \|$", card, re.MULTILINE)
    assert len(rows) == 2
    assert all(int(voxels) > 100 and float(dice) >= 0.999 for voxels, dice in rows)


EYE = Made(
    before=[key("ScaleIntensityRanged", a_min=0, a_max=255, b_min=0, b_max=1), key("Resized", spatial_size=[40, 32]),
            key("NormalizeIntensityd", subtrahend=[0.4, 0.3, 0.2], divisor=[0.2, 0.2, 0.1], channel_wise=True)],
    after=[{"_target_": "Activationsd", "keys": "pred", "softmax": True}],
    inferer={"_target_": "SimpleInferer"},
    network={"_target_": "DenseNet", "spatial_dims": 2, "in_channels": 3, "out_channels": 3, "init_features": 8,
             "growth_rate": 4, "block_config": [2, 2]},
)  # fmt: skip


def test_a_bundle_that_classifies_pictures_in_colour_gives_the_same_probabilities(
    tmp_path: Path, served: tuple[Path, Series, GrpcTriton]
) -> None:
    from monai.bundle import ConfigParser

    folder, _, triton = served
    series = series_in(tmp_path / "op", [testing.fundus_photograph()])
    Image.fromarray(series.image()).save(tmp_path / "eye.png")
    images, classes = {"num_channels": 3, "spatial_shape": [40, 32], "type": "image"}, ["None", "Mild", "Pneumonia"]
    bundle = write_bundle(tmp_path / "eyes", EYE, [], images=images, classes=classes, output_format="classes")
    add(bundle, "eyes", models=folder / "models", plugins=folder / "plugins", modality="OP")
    plugin = read_plugin(folder / "plugins" / "eyes")
    triton.prepare(plugin.manifest.models, 120)
    results = run(plugin, {"image": series}, triton)
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.json"))
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(bundle / "models" / "model.pt")["model"])
    given = parser.get_parsed_content("preprocessing")({"image": str(tmp_path / "eye.png")})["image"]
    with torch.inference_mode():
        expected = network(given.as_tensor()[None]).softmax(1)[0]
    probabilities = [result.score for result in results if isinstance(result, Finding)]
    assert probabilities == pytest.approx(expected.tolist(), abs=1e-4)


def dice(mask: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (mask & other).sum() / max(mask.sum() + other.sum(), 1))


def test_code_of_a_bundle_builds_its_network_where_it_is_trusted(tmp_path: Path) -> None:
    (tmp_path / "triton").mkdir()
    (tmp_path / "plugins").mkdir()
    bundle = write_bundle(tmp_path / "bundle", CHAINS["as the spleen"], [])
    (bundle / "scripts").mkdir()
    (bundle / "scripts" / "theirs.py").write_text(
        "from monai.networks.nets import UNet\n\nclass Theirs(UNet):\n    pass\n"
    )
    config = bundle / "configs" / "inference.json"
    words = json.loads(config.read_text())
    words["network_def"] = {**UNET, "_target_": "scripts.theirs.Theirs"}
    config.write_text(json.dumps(words))
    with pytest.raises(ConfigError, match="say --trust"):
        add(bundle, "b", models=tmp_path / "triton", plugins=tmp_path / "plugins")
    add(bundle, "b", models=tmp_path / "triton", plugins=tmp_path / "plugins", trust=True)
    assert (tmp_path / "triton" / "b" / "1" / "network.pt2").is_file()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (Made(before=[key("RandFlipd", prob=0.5)], after=[]), "RandFlipd is not understood"),
        (Made(before=[key("Lambdad", func="$lambda x: x")], after=[]), "is code, which is not run"),
        (Made(before=[key("Spacingd", pixdim=[1, 1, 1], mode=3)], after=[]), "Spacing with mode 3 is not understood"),
        (
            Made(before=[key("Resized", spatial_size=[8, 8, 8]), key("Spacingd", pixdim=[1, 1, 1])], after=[]),
            "comes after",
        ),
        (Made(before=[key("DivisiblePadd", k=8)], after=[]), "beyond its window is not understood"),
        (Made(before=[], after=[], inferer={**WINDOWS, "roi_size": [32, 32, -1]}), "roi_size"),
        (Made(before=[], after=[], inferer={"_target_": "RetinaNetInferer"}), "RetinaNetInferer is not understood"),
        (Made(before=[], after=[], network={"_target_": "scripts.net.Net"}), "scripts.net.Net is code of the bundle"),
    ],
)
def test_an_unknown_part_of_a_bundle_is_named_and_nothing_is_added(made: Made, message: str, tmp_path: Path) -> None:
    (tmp_path / "triton").mkdir()
    (tmp_path / "plugins").mkdir()
    real = Made(before=made.before, after=made.after, inferer=made.inferer)
    bundle = write_bundle(tmp_path / "bundle", real, [])
    config = bundle / "configs" / "inference.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "network_def": dict(made.network)}))
    with pytest.raises(ConfigError, match=message):
        add(bundle, "b", models=tmp_path / "triton", plugins=tmp_path / "plugins")
    assert not list((tmp_path / "triton").iterdir())
