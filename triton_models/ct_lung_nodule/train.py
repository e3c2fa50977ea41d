"""Train the network of ct_lung_nodule on phantoms anew: python triton_models/ct_lung_nodule/train.py"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from monai.losses.dice import DiceCELoss
from monai.networks.nets.unet import UNet
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from node import testing
from node.serving.chain import Chain
from node.serving.components import components
from node.serving.volume import scaled, segment
from node.training import trainer
from node.training.phantoms import Image, Labels
from node.training.phantoms.chest import Nodule, with_nodules, with_vessels

HERE = Path(__file__).parent
CHAIN = Chain.read(HERE / "1" / "chain.json")
SPACING = 2.0, 2.0, 2.0
AFFINE = np.array([[0, 0, 2.0, 0], [0, 2.0, 0, 0], [2.0, 0, 0, 0], [0, 0, 0, 1]])
PATCH = 40
NODULES = 6
LEAST_VOXELS = 4
"""Of a ball of 4 mm."""
CHEST = testing.chest_phantom(slices=150, rows=200)
CHESTS, NODULES_OF_EACH = 16, 12
"""That patches are taken from."""
AROUND_NODULES = 0.4
"""Part of the patches that have a nodule in any case; the others have a vessel, or the wall of a lung."""
SOFT_HU, LUNG_HU, LUNG_SPREAD = -650, -830, 130
NEAR = 4
"""Voxels from lung within which what is soft may be taken for a nodule."""
EVERY = 20
"""Of the places of such voxels, one in so many is kept."""


def network() -> nn.Module:
    """Return a small 3-D U-Net (Çiçek et al. 2016)."""
    return UNet(3, 1, 2, channels=(8, 16, 32, 48), strides=(2, 2, 2), num_res_units=1, norm="batch")


def chest(random: np.random.Generator, nodules: int = NODULES) -> tuple[Image, Labels, tuple[Nodule, ...]]:
    """Return a chest with its own vessels and nodules."""
    hu = with_vessels(CHEST, SPACING, random, count=int(random.integers(30)))
    return with_nodules(hu, SPACING, random, count=nodules)


def noisy(hu: Image, random: np.random.Generator) -> NDArray[np.float32]:
    """Return images with noise of some strength, breathed in more or less deeply."""
    noise = random.standard_normal(hu.shape, np.float32) * np.float32(random.uniform(0, 40))
    return hu + noise + np.float32(random.uniform(-20, 20))


@dataclass(frozen=True, slots=True, kw_only=True)
class Chest:
    """A chest to take patches from: places of its nodules, and of structures that look like nodules."""

    hu: Image
    labels: Labels
    nodules: tuple[Nodule, ...]
    others: NDArray[np.int64]


@cache
def chests() -> tuple[Chest, ...]:
    """Draw the chests that patches are taken from: once, since to draw one takes longer than to look at a patch."""
    random = np.random.default_rng(2)
    lung = torch.from_numpy(np.abs(CHEST - LUNG_HU) < LUNG_SPREAD).float()
    near = functional.max_pool3d(lung[None], 2 * NEAR + 1, 1, NEAR)[0].numpy() > 0
    made = []
    for _ in range(CHESTS):
        hu, labels, nodules = chest(random, NODULES_OF_EACH)
        others = np.argwhere((hu > SOFT_HU) & (labels == 0) & near)[::EVERY]
        made.append(Chest(hu=hu, labels=labels, nodules=nodules, others=others))
    return tuple(made)


def draw(random: np.random.Generator) -> trainer.Example:
    """Return a patch of a chest: around a nodule, or around a vessel or the wall of a lung."""
    chest = chests()[random.integers(CHESTS)]
    among = [nodule.centre for nodule in chest.nodules] if random.random() < AROUND_NODULES else chest.others
    centre = among[random.integers(len(among))]
    corner = np.clip(centre - random.integers(8, PATCH - 8, 3), 0, np.subtract(chest.hu.shape, PATCH))
    box = tuple(slice(start, start + PATCH) for start in corner)
    turn = tuple(axis for axis in range(3) if random.random() < 0.5)
    image = scaled(CHAIN, torch.from_numpy(np.flip(noisy(chest.hu[box], random), turn).copy()))
    return image.numpy()[None], np.flip(chest.labels[box] > 0, turn).astype(np.int64)[None]


def judge(found: nn.Module, cases: int = 8) -> dict[str, trainer.Figure]:
    """Return how many nodules of chests it never saw are found, how well outlined, and how many there are beside."""
    random = np.random.default_rng(1000)
    outlines, beside = [], []
    for _ in range(cases):
        hu, labels, _ = chest(random)
        image = torch.from_numpy(noisy(hu, random))
        pieces = large(components(segment(CHAIN, [(image, AFFINE)], found) > 0).numpy())
        truths = [labels == number for number in range(1, NODULES + 1)]
        outlines += [[trainer.dice(truth, np.isin(pieces, np.setdiff1d(pieces[truth], 0)))] for truth in truths]
        beside.append([len(np.setdiff1d(pieces, pieces[labels > 0]))])
    hits = [[float(score > 0)] for (score,) in outlines]
    return {
        "sensitivity": trainer.figure(hits),
        "false positives per scan": trainer.figure(beside),
        "Dice of those found": trainer.figure([[score] for (score,) in outlines if score > 0]),
    }


def large(pieces: NDArray[np.int64]) -> NDArray[np.int64]:
    """Leave out pieces that the plugin would not tell of."""
    sizes = np.bincount(pieces.ravel())
    return np.where(sizes[pieces] < LEAST_VOXELS, 0, pieces)


def loss() -> nn.Module:
    """Return Dice and cross-entropy, each once."""
    return DiceCELoss(to_onehot_y=True, softmax=True, include_background=False)


def main(steps: int = 800) -> None:
    """Train, save the network where Triton loads it, and write how good it is."""
    trained = trainer.train(network, trainer.Course(draw=draw, loss=loss(), steps=steps, batch=4))
    trainer.save(trained, (1, 1, *CHAIN.tile), HERE / "1")
    with torch.inference_mode():
        trainer.write_figures(judge(trained), HERE)


if __name__ == "__main__":
    main()
