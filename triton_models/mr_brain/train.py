"""Train the networks of mr_brain on phantoms anew: python triton_models/mr_brain/train.py"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from monai.losses.dice import DiceCELoss
from monai.networks.nets.unet import UNet
from numpy.typing import NDArray
from torch import Tensor, nn

from node.serving.chain import Chain
from node.serving.grid import to_network
from node.serving.volume import prepared, segment
from node.training import trainer
from node.training.phantoms import Labels
from node.training.phantoms.brain import DEMENTIA, HEALTHY, LABEL, PARKINSON, STRUCTURES, with_structures

HERE = Path(__file__).parent
CHAIN = Chain.read(HERE / "1" / "chain.json")
STEP = CHAIN.spacing[0]
AFFINE = np.array([[0, 0, STEP, 0], [0, STEP, 0, 0], [STEP, 0, 0, 0], [0, 0, 0, 1]])
VOXELS = 80, 80, 64
"""Of a head: feet to head, front to back, right to left."""
PATCH = CHAIN.tile
"""Tiles are of the extent that the network was trained with, since it normalises each by itself."""
CONDITIONS = DEMENTIA, PARKINSON
"""In the order of what the second network answers."""
REPORTED = "Hippocampus", "Putamen", "Lateral ventricles"
"""Structures whose Dice is reported by itself."""
LEAST_ML, LEAST_PART = 1e-3, 1e-5


class States(nn.Module):
    """Logistic regression on the logarithms of volumes (case, structure), as parts of the whole."""

    def __init__(self) -> None:
        super().__init__()
        self.usual, self.last = nn.BatchNorm1d(len(STRUCTURES)), nn.Linear(len(STRUCTURES), len(CONDITIONS))

    def forward(self, volumes: Tensor) -> Tensor:
        """Return the logit of each condition."""
        parts = volumes / volumes.sum(1, keepdim=True).clamp(min=LEAST_ML)
        answer: Tensor = self.last(self.usual(parts.clamp(min=LEAST_PART).log()))
        return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A head that was drawn, which labels it has and was given, and which conditions."""

    truth: Labels
    labels: Labels
    conditions: NDArray[np.float32]

    @property
    def volumes(self) -> NDArray[np.float32]:
        """Ml of each structure, as outlined."""
        return np.bincount(self.labels.ravel(), minlength=len(LABEL) + 1)[1:].astype(np.float32) * STEP**3 / 1000


def network() -> nn.Module:
    """Return a small 3-D U-Net (Çiçek et al. 2016)."""
    return UNet(
        3, 1, 1 + len(STRUCTURES), channels=(16, 24, 48, 64), strides=(2, 2, 2), num_res_units=1, norm="instance"
    )


def grid() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the places of a head's voxels in mm, along each axis."""
    down, back, left = ((np.arange(count) - (count - 1) / 2) * STEP for count in VOXELS)
    return down - 15, back, left


def draw(random: np.random.Generator) -> trainer.Example:
    """Return a part of a head as the network gets it, and what it is made of."""
    signal, labels = with_structures(grid(), random, state=str(random.choice((HEALTHY, *CONDITIONS))))
    given, axes = prepared(CHAIN, [(torch.from_numpy(signal), AFFINE)])
    truth = to_network(torch.from_numpy(labels), axes).long()
    corner = random.integers(np.subtract(given.shape[1:], PATCH) + 1)
    box = (slice(None), *(slice(start, start + length) for start, length in zip(corner, PATCH, strict=True)))
    return given[box].numpy() * np.float32(random.uniform(0.85, 1.15)), truth[None][box].numpy()


def heads(found: nn.Module, count: int, seed: int) -> Iterator[Head]:
    """Draw heads, each healthy or with one condition, and have the network outline them."""
    random = np.random.default_rng(seed)
    for number in range(count):
        state = (HEALTHY, *CONDITIONS)[number % (1 + len(CONDITIONS))]
        signal, truth = with_structures(grid(), random, state=state)
        labels = segment(CHAIN, [(torch.from_numpy(signal), AFFINE)], found).numpy()
        yield Head(truth=truth, labels=labels, conditions=np.array([state == name for name in CONDITIONS], np.float32))


def judge(found: nn.Module, states: nn.Module, count: int = 45) -> dict[str, trainer.Figure]:
    """Return how well heads that neither network saw are outlined, and classified by their volumes."""
    dices, rows = [], []
    for head in heads(found, count, 1000):
        dices.append([trainer.dice(head.truth == label, head.labels == label) for label in LABEL.values()])
        probabilities = states(torch.from_numpy(head.volumes)[None]).numpy()[0]
        rows.append(np.stack([head.conditions, probabilities], 1))
    return {
        "mean Dice of all structures": trainer.figure([[float(np.mean(scores))] for scores in dices]),
        **{f"Dice {name.lower()}": trainer.figure([[dice[LABEL[name] - 1]] for dice in dices]) for name in REPORTED},
        **{
            f"AUC {name}": trainer.figure([row[number] for row in rows], trainer.area_under_curve)
            for number, name in enumerate(CONDITIONS)
        },
    }


def condition_network(seen: Sequence[Head]) -> nn.Module:
    """Train the second network on the volumes that the first one outlined; return it with probabilities."""

    def pick(random: np.random.Generator) -> trainer.Example:
        head = seen[random.integers(len(seen))]
        return head.volumes, head.conditions

    course = trainer.Course(draw=pick, loss=nn.functional.binary_cross_entropy_with_logits, steps=400, batch=30)
    return nn.Sequential(trainer.train(States, course), nn.Sigmoid())


def main(steps: int = 300, count: int = 60) -> None:
    """Train both, save them where Triton loads them, and write how good they are."""
    loss = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False)
    found = trainer.train(network, trainer.Course(draw=draw, loss=loss, steps=steps, batch=1))
    trainer.save(found, (1, 1, *CHAIN.tile), HERE / "1")
    with torch.inference_mode():
        seen = list(heads(found, count, 500))
    states = condition_network(seen)
    trainer.save(states, (1, len(STRUCTURES)), HERE / "1", "conditions.pt")
    with torch.inference_mode():
        trainer.write_figures(judge(found, states), HERE)


if __name__ == "__main__":
    main()
