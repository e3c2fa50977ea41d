"""Train the network of mr_cardiac on phantoms anew: python triton_models/mr_cardiac/train.py"""

from pathlib import Path

import numpy as np
import torch
from monai.losses.dice import DiceCELoss
from monai.networks.nets.unet import UNet
from numpy.typing import NDArray
from torch import nn

from node.serving.chain import Chain
from node.serving.volume import scaled, segment
from node.training import trainer
from node.training.phantoms.heart import CAVITY, MYOCARDIUM, Cine, Heart, cine

HERE = Path(__file__).parent
CHAIN = Chain.read(HERE / "1" / "chain.json")
PIXEL = 1.5
AFFINE = np.array([[0, 0, PIXEL, 0], [0, PIXEL, 0, 0], [1.0, 0, 0, 0], [0, 0, 0, 1]])
ROWS = 128
PHASES = np.arange(10) / 10
CLASSES = 3


def network() -> nn.Module:
    """Return a small 2-D U-Net (Ronneberger et al. 2015)."""
    return UNet(2, 1, CLASSES, channels=(8, 16, 32, 64), strides=(2, 2, 2), num_res_units=1, norm="batch")


def drawn(random: np.random.Generator, phases: NDArray[np.float64], slices: int) -> tuple[Heart, Cine]:
    """Return a heart at some phases, on slices from above its base on."""
    heart = Heart.drawn(random)
    heights = random.uniform(-15, -5) + np.arange(slices) * (heart.length + 25) / (slices - 1)
    return heart, cine(heart, random, phases=phases, heights=heights, rows=ROWS, pixel=PIXEL)


def draw(random: np.random.Generator) -> trainer.Example:
    """Return one image of a heart; its values are scaled by those of a few images from base to apex."""
    _, images = drawn(random, random.uniform(0, 1, 1), 5)
    at = random.integers(5)
    given = scaled(CHAIN, torch.from_numpy(images.signal[0]).float())
    return given[at].numpy()[None], images.labels[0, at].astype(np.int64)[None]


def judge(found: nn.Module, hearts: int = 16) -> dict[str, trainer.Figure]:
    """Return how well ventricles it never saw are outlined, and how far ejection fractions are off, in points.

    They are off the heart's own, to which slices 12 mm apart come near only, and off those of true outlines on them.
    """
    random = np.random.default_rng(1000)
    dices, off = [], []
    for _ in range(hearts):
        heart, images = drawn(random, PHASES, 10)
        stacked = torch.from_numpy(images.signal.reshape(-1, ROWS, ROWS))
        answer = segment(CHAIN, [(stacked, AFFINE)], found).numpy().reshape(images.labels.shape)
        dices.append([trainer.dice(images.labels == part, answer == part) for part in (CAVITY, MYOCARDIUM)])
        fraction, outlined = (ejected((labels == CAVITY).sum((1, 2, 3)).tolist()) for labels in (answer, images.labels))
        true = ejected([heart.millilitres(float(phase)) for phase in PHASES])
        off.append([100 * abs(fraction - true), 100 * abs(fraction - outlined)])
    return {
        "Dice cavity": trainer.figure([[row[0]] for row in dices]),
        "Dice myocardium": trainer.figure([[row[1]] for row in dices]),
        "points of ejection fraction off the heart's": trainer.figure([[row[0]] for row in off]),
        "off that of true outlines": trainer.figure([[row[1]] for row in off]),
    }


def ejected(volumes: list[float]) -> float:
    """Return which part of the largest volume the smallest lacks."""
    return 1 - min(volumes) / max(*volumes, 1e-6)


def main(steps: int = 700) -> None:
    """Train, save the network where Triton loads it, and write how good it is."""
    loss = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False)
    trained = trainer.train(network, trainer.Course(draw=draw, loss=loss, steps=steps, batch=8))
    trainer.save(trained, (1, 1, *CHAIN.tile), HERE / "1")
    with torch.inference_mode():
        trainer.write_figures(judge(trained), HERE)


if __name__ == "__main__":
    main()
