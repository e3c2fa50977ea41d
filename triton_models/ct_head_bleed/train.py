"""Train the network of ct_head_bleed on phantoms anew: python triton_models/ct_head_bleed/train.py"""

from pathlib import Path

import numpy as np
import torch
from monai.networks.nets.densenet import DenseNet
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from node.serving.planes import PlaneChain, classify, network_input
from node.training import trainer
from node.training.phantoms import Labels
from node.training.phantoms.head import BLEEDS, with_bleeds

HERE = Path(__file__).parent
PLANES = PlaneChain.read(HERE / "1" / "planes.json")
HIGHEST_MM = 50.0
ROWS = 192
LEAST_PIXELS = 25
"""Of planes as they are drawn. Fewer pixels of blood in a plane are not asked for, nor held against the network."""
CLASSES = "any", *BLEEDS


def network() -> nn.Module:
    """Return a small DenseNet (Huang et al. 2017) that answers with class maps."""
    net = DenseNet(
        2, len(PLANES.windows), len(CLASSES), init_features=16, growth_rate=12, block_config=(4, 6), bn_size=2
    )
    return trainer.ClassMaps.of_densenet(net)


def bleeds(random: np.random.Generator) -> list[str]:
    """Return what bleeds in a head: nothing in two of five, else one kind or two."""
    count = random.choice((0, 0, 1, 1, 2))
    return [str(kind) for kind in random.choice(BLEEDS, count, replace=False)]


def truth(labels: Labels) -> NDArray[np.float32]:
    """Return which classes a plane shows."""
    pixels = np.bincount(labels.ravel(), minlength=len(CLASSES))[1:]
    kinds = pixels >= LEAST_PIXELS
    return np.array([kinds.any(), *kinds], np.float32)


def draw(random: np.random.Generator) -> trainer.Example:
    """Return one plane of a head, and what bleeds in it; planes with blood are looked for a while where some is."""
    wanted, field = bleeds(random), random.uniform(210, 260)
    for _ in range(4):
        height = np.array([random.uniform(-HIGHEST_MM, HIGHEST_MM)])
        hu, labels = with_bleeds(height, ROWS, random, bleeds=wanted, field=field)
        if bool(wanted) == labels.any():
            break
    return network_input(PLANES, torch.from_numpy(hu))[0].numpy(), truth(labels)


def loss(maps: Tensor, truths: Tensor) -> Tensor:
    """Return the binary cross-entropy of every class."""
    return functional.binary_cross_entropy_with_logits(maps.mean((2, 3)), truths)


def judge(found: nn.Module, heads: int = 100) -> dict[str, trainer.Figure]:
    """Return the area under the ROC curve of every class over heads it never saw, head by head."""
    random = np.random.default_rng(1000)
    heights = np.linspace(-HIGHEST_MM, HIGHEST_MM, 21)
    rows = []
    for _ in range(heads):
        hu, labels = with_bleeds(heights, ROWS, random, bleeds=bleeds(random), field=random.uniform(210, 260))
        probabilities = classify(PLANES, torch.from_numpy(hu), found).probabilities.amax(0).numpy()
        rows.append(np.stack([np.max([truth(plane) for plane in labels], axis=0), probabilities], 1))
    return {
        f"AUC {name}": trainer.figure([row[number] for row in rows], trainer.area_under_curve)
        for number, name in enumerate(CLASSES)
    }


def main(steps: int = 800) -> None:
    """Train, save the network where Triton loads it, and write how good it is."""
    trained = trainer.train(network, trainer.Course(draw=draw, loss=loss, steps=steps, batch=12))
    trainer.save(trained, (1, len(PLANES.windows), *PLANES.size), HERE / "1")
    with torch.inference_mode():
        trainer.write_figures(judge(trained), HERE)


if __name__ == "__main__":
    main()
