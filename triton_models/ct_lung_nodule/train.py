"""Train the network of ct_lung_nodule on phantoms anew: python triton_models/ct_lung_nodule/train.py"""

from pathlib import Path

import numpy as np
import torch
from monai.losses.dice import DiceCELoss
from monai.networks.nets.unet import UNet
from numpy.typing import NDArray
from torch import nn

from node import testing
from node.models import training
from node.models.phantoms import Image, Labels
from node.models.phantoms.chest import Nodule, with_nodules, with_vessels
from node.models.served.pieces import components
from node.models.served.volume import Chain, scaled, segment

HERE = Path(__file__).parent
CHAIN = Chain.read(HERE / "1" / "chain.json")
SPACING = 2.0, 2.0, 2.0
AFFINE = np.array([[0, 0, 2.0, 0], [0, 2.0, 0, 0], [2.0, 0, 0, 0], [0, 0, 0, 1]])
PATCH = 40
NODULES = 6
LEAST_VOXELS = 4
"""Of a ball of 4 mm."""
CHEST = testing.chest_phantom(slices=150, rows=200)


def network() -> nn.Module:
    """Return a small 3-D U-Net (Çiçek et al. 2016)."""
    return UNet(3, 1, 2, channels=(8, 16, 32, 48), strides=(2, 2, 2), num_res_units=1, norm="batch")


def chest(random: np.random.Generator) -> tuple[Image, Labels, tuple[Nodule, ...]]:
    """Return a chest with its own vessels and nodules."""
    hu = with_vessels(CHEST, SPACING, random, count=int(random.integers(30)))
    return with_nodules(hu, SPACING, random, count=NODULES)


def noisy(hu: Image, random: np.random.Generator) -> NDArray[np.float32]:
    """Return images with noise of some strength, breathed in more or less deeply."""
    noise = random.standard_normal(hu.shape, np.float32) * np.float32(random.uniform(0, 40))
    return hu + noise + np.float32(random.uniform(-20, 20))


def draw(random: np.random.Generator) -> training.Example:
    """Return a patch of a chest: around a nodule three times of four, else anywhere."""
    hu, labels, nodules = chest(random)
    last = np.subtract(hu.shape, PATCH)
    corner = random.integers(last)
    if random.random() < 0.75:
        corner = np.clip(nodules[0].centre - random.integers(8, PATCH - 8, 3), 0, last)
    box = tuple(slice(start, start + PATCH) for start in corner)
    turn = tuple(axis for axis in range(3) if random.random() < 0.5)
    image = scaled(CHAIN, torch.from_numpy(np.flip(noisy(hu[box], random), turn).copy()))
    return image.numpy()[None], np.flip(labels[box] > 0, turn).astype(np.int64)[None]


def judge(found: nn.Module, cases: int = 8) -> dict[str, training.Figure]:
    """Return how many nodules of chests it never saw are found, how well outlined, and how many there are beside."""
    random = np.random.default_rng(1000)
    outlines, beside = [], []
    for _ in range(cases):
        hu, labels, _ = chest(random)
        image = torch.from_numpy(noisy(hu, random))
        pieces = large(components(segment(CHAIN, [(image, AFFINE)], found) > 0).numpy())
        truths = [labels == number for number in range(1, NODULES + 1)]
        outlines += [[dice(truth, np.isin(pieces, np.setdiff1d(pieces[truth], 0)))] for truth in truths]
        beside.append([len(np.setdiff1d(pieces, pieces[labels > 0]))])
    hits = [[float(one > 0)] for (one,) in outlines]
    return {
        "sensitivity": training.figure(hits),
        "false positives per scan": training.figure(beside),
        "Dice of those found": training.figure([[one] for (one,) in outlines if one > 0]),
    }


def large(pieces: NDArray[np.int64]) -> NDArray[np.int64]:
    """Leave out pieces that the plugin would not tell of."""
    sizes = np.bincount(pieces.ravel())
    return np.where(sizes[pieces] < LEAST_VOXELS, 0, pieces)


def dice(truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> float:
    """Return twice the overlap over the sum."""
    return float(2 * (truth & found).sum() / (truth.sum() + found.sum()))


def loss() -> nn.Module:
    """Return Dice and cross-entropy, each once."""
    return DiceCELoss(to_onehot_y=True, softmax=True, include_background=False)


def main(steps: int = 900) -> None:
    """Train, save the network where Triton loads it, and write how good it is."""
    trained = training.train(network, training.Course(draw=draw, loss=loss(), steps=steps, batch=4))
    training.save(trained, (1, 1, *CHAIN.tile), HERE.with_name("ct_lung_nodule_net") / "1")
    with torch.inference_mode():
        training.write_figures(judge(trained), HERE)


if __name__ == "__main__":
    main()
