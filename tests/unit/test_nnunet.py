"""nnU-Net's results folders: the same labels as nnU-Net's own predictor, whatever its plans say."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from node.errors import ConfigError
from node.models.compare import rows
from node.models.import_source import Source
from node.models.model_card import compared
from node.models.nnunet_folder import is_results, modality, read_results, roles
from node.serving.chains import read, write
from node.serving.nnunet import NnunetPlan, segment
from tests.nnunet_results import field, predicted, results

pytest.importorskip("nnunetv2", reason="nnU-Net is not installed")

REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "rim": [3], "ignore": 4}
CASES: dict[str, dict[str, Any]] = {
    "3-D": {"mirror": (0, 1, 2)},
    "three folds": {"folds": 3, "mirror": None},
    "thick slices": {"spacing": (6.0, 1.2, 1.2), "patch": (8, 32, 24)},
    "thick slices along the second axis": {"spacing": (1.2, 6.0, 1.2), "patch": (32, 8, 24), "transpose": (1, 0, 2)},
    "planes": {"configuration": "2d", "spacing": (1.4, 1.4), "patch": (24, 32), "folds": 2},
    "planes smaller than the tile": {"configuration": "2d", "spacing": (1.4, 1.4), "patch": (64, 80)},
    "masked": {"schemes": ["ZScoreNormalization"], "channels": ["T1"], "masked": True, "transpose": (2, 0, 1)},
    "regions": {"labels": REGIONS, "order": [1, 3, 2], "schemes": ["RescaleTo01Normalization"]},
    "channels": {"schemes": ["ZScoreNormalization", "NoNormalization"], "channels": ["T1", "T2"]},
    "resampled by torch": {"resample": "resample_torch_fornnunet"},
}
SPACING = {"thick slices along the second axis": (1.1, 6.5, 1.3)}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Many tiny convolutions are slower on threads that wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / max(one.sum() + other.sum(), 1))


@pytest.mark.parametrize("case", CASES)
def test_labels_are_those_of_nnunets_own_predictor(case: str, tmp_path: Path) -> None:
    folder = results(tmp_path / "results", **CASES[case])
    brought = read_results(Source(path=folder))
    assert isinstance(brought.chain, NnunetPlan)
    write(brought.chain, tmp_path)
    assert read(tmp_path) == brought.chain
    spacing = SPACING.get(case, (6.5, 1.1, 1.3))
    affine = np.diag([*spacing, 1.0])[[2, 1, 0, 3]]
    volumes = [field((14, 44, 40), seed) for seed, _ in enumerate(brought.chain.roles)]
    with torch.inference_mode():
        images = [(torch.from_numpy(volume), affine) for volume in volumes]
        here = segment(brought.chain, images, brought.network.ask).numpy()
    there = predicted(folder, np.stack(volumes), spacing)
    assert (there[:2] == 0).all()  # the margin, which is cut off
    for label, _ in enumerate(brought.labels, 1):
        assert (there == label).mean() > 0.001
        assert dice(here == label, there == label) >= 0.999


def changed(folder: Path, file: str, *keys: str, to: object) -> None:
    """Write another value into one of the results' JSON files."""
    words = json.loads((folder / file).read_text())
    place = words
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = to
    (folder / file).write_text(json.dumps(words))


WHOLE = ("plans.json", "configurations", "whole")


@pytest.mark.parametrize(
    ("place", "to", "message"),
    [
        ((*WHOLE, "previous_stage"), "3d_lowres", "second stage of a cascade"),
        ((*WHOLE, "preprocessor_name"), "Ours", "preprocessor Ours is not nnU-Net's default"),
        ((*WHOLE, "resampling_fn_data"), "ours", "resampling ours is none of"),
        ((*WHOLE, "normalization_schemes"), ["Ours"], "Ours is none of CTNormalization"),
        ((*WHOLE, "architecture", "network_class_name"), "ours.Net", "--trust"),
        ((*WHOLE, "architecture", "arch_kwargs", "features_per_stage"), [4, 8, 16], "do not fit the network"),
        (("plans.json", "image_reader_writer"), "NaturalImage2DIO", "pictures without geometry"),
        (("dataset.json", "labels"), {"background": 0, "liver": 1, "odd": 5}, "not numbered"),
    ],
)
def test_a_configuration_that_is_not_served_is_refused_with_the_reason(
    place: tuple[str, ...], to: object, message: str, tmp_path: Path
) -> None:
    folder = results(tmp_path / "results")
    changed(folder, *place, to=to)
    with pytest.raises(ConfigError, match=message):
        read_results(Source(path=folder))


def test_a_fold_is_a_source_and_a_folder_of_several_results_is_refused(tmp_path: Path) -> None:
    folder = results(tmp_path / "Dataset900" / "results", folds=2)
    assert is_results(folder / "fold_1")
    brought = read_results(Source(path=folder / "fold_1"))
    assert (brought.chain.folds, brought.labels, brought.modality) == (1, ("liver", "odd thing"), "CT")
    assert is_results(folder.parent)
    with pytest.raises(ConfigError, match="name one of them: results"):
        read_results(Source(path=folder.parent))
    assert not is_results(tmp_path)
    for fold in folder.glob("fold_*"):
        (fold / "checkpoint_final.pth").unlink()
    with pytest.raises(ConfigError, match="has no fold"):
        read_results(Source(path=folder))


class Ours:
    """Something that only code can build."""


def test_a_checkpoint_that_holds_code_needs_trust(tmp_path: Path) -> None:
    folder = results(tmp_path / "results")
    file = folder / "fold_0" / "checkpoint_final.pth"
    held = torch.load(file, weights_only=False)
    torch.save({**held, "ours": Ours()}, file)
    with pytest.raises(ConfigError, match="--trust"):
        read_results(Source(path=folder))
    assert read_results(Source(path=folder, trust=True)).labels == ("liver", "odd thing")


def test_a_chain_file_overrides_the_chain_of_the_results(tmp_path: Path) -> None:
    folder = results(tmp_path / "results")
    (tmp_path / "chain.toml").write_text('orientation = "SAR"\nmirror = []\nlargest = [1]\n')
    plan = read_results(Source(path=folder, chain=tmp_path / "chain.toml")).chain
    assert (plan.orientation, plan.mirror, plan.largest) == ("SAR", (), (1,))
    (tmp_path / "chain.toml").write_text("tilt = 1\n")
    with pytest.raises(ConfigError, match="there is no tilt"):
        read_results(Source(path=folder, chain=tmp_path / "chain.toml"))


def test_channels_become_roles_and_tell_the_modality() -> None:
    assert roles(["CT"]) == ("image",)
    assert roles(["T1", "T1 Gd", "2nd", "T1"]) == ("channel_0", "t1_gd", "channel_2", "channel_3")
    assert [modality([name]) for name in ("CT", "T2w", "FLAIR", "PET SUV", "nonorm")] == ["CT", "MR", "MR", "PT", ""]


def test_a_label_of_regions_is_named_by_what_no_later_region_covers(tmp_path: Path) -> None:
    folder = results(tmp_path / "results", labels=REGIONS, order=[1, 2, 3])
    assert read_results(Source(path=folder)).labels == ("whole without core", "core without rim", "rim")


def test_a_comparison_takes_the_place_of_an_earlier_one_with_the_same_framework() -> None:
    card = compared(compared("# Model card: liver\n\nText.\n", "nnunet", ["one"]), "torch", ["two"])
    again = compared(card, "nnunet", ["three"])
    assert (
        again == "# Model card: liver\n\nText.\n\n## Compared with torch\n\ntwo\n\n## Compared with nnunet\n\nthree\n"
    )


def test_differences_are_reported_by_label_or_by_number() -> None:
    served = {"labels": np.array([[[0, 1], [1, 2]]], np.uint8), "values": np.array([1.0, 2.0])}
    own = {"labels": np.array([[[0, 1], [1, 1]]], np.uint8), "values": np.array([1.0, 2.5])}
    assert list(rows(served, own, ["liver", "rim", "none"])) == [
        "| 1 liver | 2 voxels | 3 voxels | Dice 0.8000 |",
        "| 2 rim | 1 voxels | 0 voxels | Dice 0.0000 |",
        "| 3 none | 0 voxels | 0 voxels | in neither |",
        "| values | | | differs by 0.5 at most, 0.25 in the mean |",
    ]
    assert list(rows(served, {"values": np.zeros(3)}, [])) == ["| values | (2,) | (3,) | other shapes |"]
