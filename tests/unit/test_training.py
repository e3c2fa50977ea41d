"""The trainer, the phantoms it draws, and class maps; and that model cards tell what the trainer found."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from node import testing
from node.serving.planes import PlaneChain, classify, network_input
from node.training import trainer
from node.training.phantoms import chest, head
from tests.peers import ROOT

CARDS = sorted((ROOT / "triton_models").glob("*/figures.json"))
LARGEST, ALL_TOGETHER = 3e6, 25e6


class Rings(nn.Module):
    """A network of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.last(self.first(x).relu().mean((2, 3)))
        return answer


def draw(random: np.random.Generator) -> trainer.Example:
    bright = random.integers(2)
    return (random.normal(bright * 2, 1, (1, 8, 8))).astype(np.float32), np.array([bright], np.float32)


def course(steps: int = 60) -> trainer.Course:
    loss = functional.binary_cross_entropy_with_logits
    return trainer.Course(draw=draw, loss=loss, steps=steps, batch=8, rate=0.03)


def test_training_learns_and_the_same_seed_gives_the_same_network() -> None:
    one, same, other = (trainer.train(Rings, course(), seed=seed) for seed in (1, 1, 2))
    images, truths = (
        torch.from_numpy(np.stack(parts)) for parts in zip(*map(draw, [np.random.default_rng(5)] * 40), strict=True)
    )
    right = ((one(images) > 0) == (truths > 0)).float().mean()
    assert right > 0.9
    assert torch.equal(one(images), same(images))
    assert not torch.equal(one(images), other(images))


def test_a_saved_network_answers_as_it_did(tmp_path: Path) -> None:
    network = trainer.train(Rings, course(steps=3))
    trainer.save(network, (1, 1, 8, 8), tmp_path / "1")
    given = torch.rand(5, 1, 16, 12)
    loaded = torch.jit.load(tmp_path / "1" / trainer.NETWORK)  # type: ignore[no-untyped-call]
    assert torch.allclose(loaded(given), network(given))


def test_the_mean_of_a_class_map_is_the_logit_of_the_network_it_was_made_of() -> None:
    nets = pytest.importorskip("monai.networks.nets", reason="MONAI is not installed")
    net = nets.DenseNet(2, 3, 4, init_features=8, growth_rate=4, block_config=(1, 1)).eval()
    maps = trainer.ClassMaps.of_densenet(net)
    given = torch.rand(2, 3, 32, 32)
    assert maps(given).shape == (2, 4, 4, 4)
    assert torch.allclose(maps(given).mean((2, 3)), net(given), atol=1e-5)


def test_figures_are_those_counted_by_hand() -> None:
    rows = np.array([[1, 0.9], [1, 0.4], [0, 0.4], [0, 0.1]])
    assert trainer.area_under_curve(rows) == pytest.approx((1 + 1 + 0.5 + 1) / 4)
    assert np.isnan(trainer.area_under_curve(rows[:2]))
    mean = trainer.figure([[value] for value in (0.0, 1.0) * 50])
    assert mean.value == 0.5
    assert mean.low == pytest.approx(0.5 - 1.96 * 0.05, abs=0.02)
    assert mean.high == pytest.approx(0.5 + 1.96 * 0.05, abs=0.02)


def test_nodules_are_as_wide_as_they_are_said_to_be_and_lie_in_lung() -> None:
    spacing = 2.0, 2.0, 2.0
    lungs = testing.chest_phantom(slices=150, rows=200)
    hu, labels, nodules = chest.with_nodules(lungs, spacing, np.random.default_rng(3), count=6)
    for number, nodule in enumerate(nodules, 1):
        mask = labels == number
        assert (6 * mask.sum() * 8 / np.pi) ** (1 / 3) == pytest.approx(nodule.diameter, rel=0.12)
        assert (hu[mask] > -760).mean() > 0.9
        assert mask[nodule.centre]
    again = chest.with_nodules(lungs, spacing, np.random.default_rng(3), count=6)
    assert np.array_equal(again[0], hu)
    assert np.array_equal(hu[labels == 0] < -960, lungs[labels == 0] < -960)


@pytest.mark.parametrize("kind", head.BLEEDS)
def test_a_head_phantom_bleeds_in_the_given_place(kind: str) -> None:
    heights = np.linspace(-50, 50, 21)
    hu, labels = head.with_bleeds(heights, 128, np.random.default_rng(8), bleeds=[kind])
    blood = labels == 1 + head.BLEEDS.index(kind)
    assert blood.sum() > 50
    assert not (labels[~blood]).any()
    assert 45 < hu[blood].mean() < 85
    plain, none = head.with_bleeds(heights, 128, np.random.default_rng(8), bleeds=[])
    assert not none.any()
    assert 20 < np.median(plain[blood]) < 45 or kind == "intraventricular"


def test_planes_are_scaled_asked_and_explained_on_their_own_pixels() -> None:
    asked: list[Tensor] = []

    def network(given: Tensor) -> Tensor:
        asked.append(given)
        bright = functional.avg_pool2d(given[:, :1], 4)
        return torch.cat([bright * 0 - 3, bright * 40 - 2], 1)

    planes = torch.zeros(5, 64, 32)
    planes[3, 32:, :16] = 100
    seen = classify(PlaneChain(size=(16, 16), windows=((0, 100), (50, 150)), at_once=2), planes, network)
    assert [tuple(given.shape) for given in asked] == [(2, 2, 16, 16), (2, 2, 16, 16), (1, 2, 16, 16)]
    assert asked[1][1].amax((1, 2)).tolist() == [1.0, 0.5]
    assert seen.probabilities.shape == (5, 2)
    assert int(seen.probabilities[:, 1].argmax()) == 3
    assert seen.shown.tolist() == [1]
    assert seen.maps.shape == (1, 5, 64, 32)
    assert float(seen.maps[0, 3, 48, 8]) > 0.9
    assert float(seen.maps[0, 3, 8, 24]) == float(seen.maps[0, 1].max()) == 0


def test_a_plane_without_windows_is_scaled_by_its_own_percentiles() -> None:
    ramp = torch.linspace(1000, 3000, 64 * 64).reshape(1, 64, 64)
    given = network_input(PlaneChain(size=(64, 64)), ramp)
    assert (float(given.min()), float(given.max())) == (0.0, 1.0)
    assert float(given.median()) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("answer", [torch.full((1, 2, 4, 4), torch.nan), torch.zeros(1, 2)])
def test_an_array_that_is_no_class_map_is_refused(answer: Tensor) -> None:
    with pytest.raises(ValueError, match="no finite class maps"):
        classify(PlaneChain(size=(16, 16)), torch.zeros(1, 16, 16), lambda _: answer)


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.parent.name)
def test_a_model_card_tells_the_figures_of_its_training(path: Path) -> None:
    card = (ROOT / "plugins" / path.parent.name / "README.md").read_text(encoding="utf-8")
    figures: dict[str, Sequence[float]] = json.loads(path.read_text(encoding="utf-8"))
    for name, (value, low, high) in figures.items():
        assert f"{name} {value:.2f} ({low:.2f}–{high:.2f})" in card


def test_weights_are_small() -> None:
    sizes = [path.stat().st_size for path in (ROOT / "triton_models").rglob("*.pt")]
    assert sizes
    assert max(sizes) <= LARGEST
    assert sum(sizes) <= ALL_TOGETHER
