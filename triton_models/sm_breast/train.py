"""Train the network of sm_breast on phantoms anew: python triton_models/sm_breast/train.py"""

from pathlib import Path

import numpy as np
import torch
from monai.networks.nets.densenet import DenseNet
from torch import Tensor, nn
from torch.nn import functional

from node.serving.planes import PlaneChain, classify, network_input
from node.training import trainer
from node.training.phantoms.slide import CLASSES, field

HERE = Path(__file__).parent
PLANES = PlaneChain.read(HERE / "1" / "planes.json")
MALIGNANT = CLASSES.index("in situ")
"""This class and all later classes are carcinoma."""
JUDGED = 256
"""Rows of the fields that the network is judged on."""


def network() -> nn.Module:
    """Return a small DenseNet (Huang et al. 2017) that answers with class maps."""
    net = DenseNet(2, 3, len(CLASSES), init_features=16, growth_rate=12, block_config=(4, 6), bn_size=2)
    return trainer.ClassMaps.of_densenet(net)


def draw(random: np.random.Generator) -> trainer.Example:
    """Return a field, at times upside down, and its class."""
    kind = int(random.integers(len(CLASSES)))
    tissue = field(PLANES.size[0], random, kind=CLASSES[kind])
    seen = network_input(PLANES, torch.from_numpy(tissue[None]))[0]
    return (seen.flip(1) if random.random() < 0.5 else seen).numpy(), np.array(kind)


def loss(maps: Tensor, truths: Tensor) -> Tensor:
    """Return the cross-entropy of the classes."""
    return functional.cross_entropy(maps.mean((2, 3)), truths)


def judge(found: nn.Module, each: int = 50) -> dict[str, trainer.Figure]:
    """Return how often the class is right, and how well carcinoma is recognised, on fields that it never saw."""
    random = np.random.default_rng(1000)
    kinds = np.repeat(np.arange(len(CLASSES)), each)
    fields = (field(JUDGED, random, kind=CLASSES[kind]) for kind in kinds)
    probabilities = np.stack(
        [classify(PLANES, torch.from_numpy(field[None]), found).probabilities[0].numpy() for field in fields]
    )
    carcinoma = np.stack([kinds >= MALIGNANT, probabilities[:, MALIGNANT:].sum(1)], 1)
    return {
        "class right": trainer.figure((probabilities.argmax(1) == kinds)[:, None].tolist()),
        "AUC carcinoma": trainer.figure(carcinoma.tolist(), trainer.area_under_curve),
    }


def main(steps: int = 400) -> None:
    """Train, save the network where Triton loads it, and write how good it is."""
    trained = trainer.train(network, trainer.Course(draw=draw, loss=loss, steps=steps, batch=16))
    trainer.save(trained, (1, 3, *PLANES.size), HERE / "1")
    with torch.inference_mode():
        trainer.write_figures(judge(trained), HERE)


if __name__ == "__main__":
    main()
