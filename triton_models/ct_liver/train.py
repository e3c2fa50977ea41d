"""Train the network of ct_liver on phantoms anew: python triton_models/ct_liver/train.py"""

from pathlib import Path

import numpy as np
import torch
from monai.losses.dice import DiceCELoss
from monai.networks.nets.unet import UNet
from numpy.typing import NDArray
from torch import nn

from node.serving.chain import Chain
from node.serving.components import components
from node.serving.volume import scaled, segment
from node.training import trainer
from node.training.phantoms import Field, Image, Labels
from node.training.phantoms.abdomen import LESION, LIVER, SPLEEN, with_lesions

HERE = Path(__file__).parent
CHAIN = Chain.read(HERE / "1" / "chain.json")
STEP = CHAIN.spacing[0]
AFFINE = np.array([[0, 0, STEP, 0], [0, STEP, 0, 0], [STEP, 0, 0, 0], [0, 0, 0, 1]])
PATCH = 40
MIDDLE = np.array([[-80, 80], [-70, 70], [-110, 110]])
"""Between which places in mm the middle of a patch lies."""
IN_LIVER = np.array([[-50, 50], [-50, 40], [-100, 0]])
"""The same of every other one."""
HEIGHT, DEPTH, WIDTH = 240.0, 280.0, 380.0
"""mm of a whole phantom."""
MOST, MOST_TO_LEARN = 6, 16
"""Largest number of lesions of an abdomen, and of an abdomen for training."""
STEATOTIC, MOST_FAT_HU = 0.3, 50.0
LEAST_VOXELS = 2
"""A lesion counts from so many voxels on: fewer than a lesion of 5 mm has on this grid."""


def network() -> nn.Module:
    """Return a small 3-D U-Net (Çiçek et al. 2016)."""
    return UNet(3, 1, 4, channels=(12, 24, 48, 64), strides=(2, 2, 2), num_res_units=1, norm="batch")


def abdomen(places: tuple[Field, Field, Field], random: np.random.Generator, most: int = MOST) -> tuple[Image, Labels]:
    """Return an abdomen: with contrast medium or without, of the latter some with fat in the liver."""
    contrast = bool(random.random() < 0.5)
    fat_hu = random.uniform(0, MOST_FAT_HU) * bool(random.random() < STEATOTIC and not contrast)
    return with_lesions(places, random, lesions=int(random.integers(most + 1)), contrast=contrast, fat_hu=fat_hu)


def grid(middle: NDArray[np.float64], voxels: NDArray[np.int64]) -> tuple[Field, Field, Field]:
    """Return the places of voxels around a middle, along each axis in mm."""
    down, back, left = (
        centre + (np.arange(count) - (count - 1) / 2) * STEP for centre, count in zip(middle, voxels, strict=True)
    )
    return down, back, left


def draw(random: np.random.Generator) -> trainer.Example:
    """Return a patch of an abdomen."""
    middle = random.uniform(*(IN_LIVER if random.random() < 0.5 else MIDDLE).T)
    hu, labels = abdomen(grid(middle, np.full(3, PATCH)), random, MOST_TO_LEARN)
    return scaled(CHAIN, torch.from_numpy(hu).float()).numpy()[None], labels.astype(np.int64)[None]


def judge(found: nn.Module, cases: int = 16) -> dict[str, trainer.Figure]:
    """Return how well liver, spleen and lesions of abdomens it never saw are outlined, and what is false."""
    random = np.random.default_rng(1000)
    voxels = np.array([HEIGHT, DEPTH, WIDTH]) // STEP
    organs: dict[int, list[list[float]]] = {LIVER: [], SPLEEN: []}
    outlines: list[list[float]] = []
    beside, off = [], []
    for _ in range(cases):
        hu, truth = abdomen(grid(np.zeros(3), voxels.astype(np.int64)), random)
        labels = segment(CHAIN, [(torch.from_numpy(hu), AFFINE)], found).numpy()
        for organ, dices in organs.items():
            dices.append([trainer.dice(truth == organ, labels == organ)])
        outlines += lesions(truth, labels)
        beside.append([float(len(large(labels == LESION, but=truth == LESION)))])
        off.append([abs(float(hu[labels == LIVER].mean() - hu[truth == LIVER].mean()))])
    return {
        "Dice liver": trainer.figure(organs[LIVER]),
        "Dice spleen": trainer.figure(organs[SPLEEN]),
        "lesion sensitivity": trainer.figure([[float(score > 0)] for (score,) in outlines]),
        "Dice of lesions found": trainer.figure([[score] for (score,) in outlines if score > 0]),
        "false lesions per scan": trainer.figure(beside),
        "error of the liver's mean HU": trainer.figure(off),
    }


def lesions(truth: Labels, labels: Labels) -> list[list[float]]:
    """Return the Dice of each true lesion with what was found there."""
    true = components(torch.from_numpy(truth == LESION)).numpy()
    pieces = components(torch.from_numpy(labels == LESION)).numpy()
    masks = [true == number for number in np.flatnonzero(np.bincount(true.ravel()) >= LEAST_VOXELS)[1:]]
    return [[trainer.dice(mask, np.isin(pieces, np.setdiff1d(pieces[mask], 0)))] for mask in masks]


def large(mask: NDArray[np.bool_], *, but: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the numbers of the pieces that are large enough to be reported and touch nothing of another mask."""
    pieces = components(torch.from_numpy(mask)).numpy()
    large = np.flatnonzero(np.bincount(pieces.ravel()) >= LEAST_VOXELS)
    return np.setdiff1d(large, [0, *pieces[but]])


def main(steps: int = 900) -> None:
    """Train, save the network where Triton loads it, and write how good it is."""
    loss = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False)
    trained = trainer.train(network, trainer.Course(draw=draw, loss=loss, steps=steps, batch=4))
    trainer.save(trained, (1, 1, *CHAIN.tile), HERE / "1")
    with torch.inference_mode():
        trainer.write_figures(judge(trained), HERE)


if __name__ == "__main__":
    main()
