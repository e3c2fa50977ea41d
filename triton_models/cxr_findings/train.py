"""Train the network of cxr_findings on phantoms anew: python triton_models/cxr_findings/train.py"""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from monai.networks.nets.densenet import DenseNet
from numpy.typing import NDArray
from torch import nn

from node.serving.planes import PlaneChain, classify, network_input
from node.training import trainer
from node.training.phantoms.radiograph import FINDINGS, radiograph

HERE = Path(__file__).parent
PLANES = PlaneChain.read(HERE / "1" / "planes.json")
ROWS = 128
PLACES = 16
"""Rows of the class maps."""
LIKELY = 0.11
"""Of each finding, so that about two are drawn in a chest."""


def network() -> nn.Module:
    """Return a small DenseNet that answers with class maps; CheXNet (Rajpurkar et al. 2017) is a large DenseNet."""
    net = DenseNet(2, 1, len(FINDINGS), init_features=16, growth_rate=12, block_config=(4, 6), bn_size=2)
    return trainer.ClassMaps.of_densenet(net)


def chest(random: np.random.Generator) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """Return a chest with some findings, and where they are."""
    return radiograph(ROWS, random, [name for name in FINDINGS if random.random() < LIKELY])


def draw(random: np.random.Generator) -> trainer.Example:
    """Return one chest, and where each finding is on the class maps."""
    image, marks = chest(random)
    return network_input(PLANES, torch.from_numpy(image)[None])[0].numpy(), trainer.on_map(marks, PLACES)


def judge(found: nn.Module, chests: int = 400) -> dict[str, trainer.Figure]:
    """Return the areas under the ROC curves over chests it never saw, and how often a map is highest where it should.

    The latter is the pointing game (Zhang et al. 2018) of the likeliest finding that is there.
    """
    random = np.random.default_rng(1000)
    rows, hits = [], []
    for _ in range(chests):
        image, marks = chest(random)
        seen = classify(PLANES, torch.from_numpy(image)[None], found)
        rows.append(np.stack([marks.any((1, 2)), seen.probabilities[0].numpy()], 1))
        likeliest = marks[int(seen.shown[0])]
        if likeliest.any():
            hits.append([float(likeliest.flat[int(seen.maps[0, 0].argmax())])])
    return {
        "mean AUC": trainer.figure(rows, mean_area),
        "pointing game": trainer.figure(hits),
        **{f"AUC {name}": trainer.figure(rows, partial(area, number)) for number, name in enumerate(FINDINGS)},
    }


def area(number: int, chests: NDArray[np.float64]) -> float:
    """Return the area under the ROC curve of one finding over chests (chest, finding, truth and probability)."""
    return trainer.area_under_curve(chests[:, number])


def mean_area(chests: NDArray[np.float64]) -> float:
    """Return the mean of the areas of all findings that some chests have and others not."""
    return float(np.nanmean([area(number, chests) for number in range(len(FINDINGS))]))


def main(steps: int = 800) -> None:
    """Train, save the network where Triton loads it, and write how good it is."""
    course = trainer.Course(draw=draw, loss=trainer.seen_where, steps=steps, batch=16, rate=6e-3)
    trained = trainer.train(network, course)
    trainer.save(trained, (1, 1, *PLANES.size), HERE / "1")
    with torch.inference_mode():
        trainer.write_figures(judge(trained), HERE)


if __name__ == "__main__":
    main()
