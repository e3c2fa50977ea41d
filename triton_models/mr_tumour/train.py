"""Train the network of mr_tumour on phantoms anew: python triton_models/mr_tumour/train.py"""

from pathlib import Path

import numpy as np
import torch
from monai.losses.dice import DiceCELoss
from monai.networks.nets.unet import UNet
from numpy.typing import NDArray
from torch import nn

from node.serving.chain import Chain
from node.serving.grid import Placed
from node.serving.volume import prepared, segment
from node.training import trainer
from node.training.phantoms import Labels, tumour

HERE = Path(__file__).parent
CHAIN = Chain.read(HERE / "1" / "chain.json")
SPACING = 3.0
SLICES, ROWS = 54, 72
THICK = "t2", "flair"
"""Contrasts whose slices are up to `THICKEST_MM` apart in half of the heads, as they mostly are in patients."""
THICKEST_MM = 6.0
PATCH = 40
PARTS = "enhancing tumour", "oedema", "necrotic core"
TUMOURS = 0.85
"""Part of the heads that have one."""


def network() -> nn.Module:
    """Return a small 3-D U-Net (Çiçek et al. 2016)."""
    return UNet(
        3, len(CHAIN.roles), 1 + len(PARTS), channels=(8, 16, 32, 48), strides=(2, 2, 2), num_res_units=1, norm="batch"
    )


def head(random: np.random.Generator, *, diseased: bool) -> tuple[list[Placed], Labels]:
    """Return a head in every contrast, in the order of the roles, and its tumour on the grid of the first."""
    seed = int(random.integers(2**31))
    apart = random.uniform(SPACING, THICKEST_MM) if random.random() < 0.5 else SPACING
    thin, thick = (lying(seed, spacing, diseased=diseased) for spacing in (SPACING, apart))
    images = []
    for role in CHAIN.roles:
        found, affine = thick if role in THICK else thin
        images.append((torch.from_numpy(tumour.seen(found, role, random)), affine))
    return images, tumour.parts(thin[0])


def lying(seed: int, apart: float, *, diseased: bool) -> tuple[Labels, NDArray[np.float64]]:
    """Return a head's tissues on slices so many mm apart, and where they lie around the middle of the brain."""
    slices = round(SLICES * SPACING / apart)
    found = tumour.tissues(tumour.grid(slices, ROWS, (apart, SPACING)), seed, tumour=diseased)
    affine = np.array([[0, 0, SPACING, 0], [0, SPACING, 0, 0], [apart, 0, 0, 0], [0, 0, 0, 1]])
    affine[:3, 3] = -affine[:3, :3] @ (np.array(found.shape) - 1) / 2
    return found, affine


def draw(random: np.random.Generator) -> trainer.Example:
    """Return a patch of a head: around its tumour four times of five, else anywhere."""
    images, labels = head(random, diseased=random.random() < TUMOURS)
    given, _ = prepared(CHAIN, images)
    last = np.subtract(labels.shape, PATCH)
    corner = random.integers(last + 1)
    if labels.any() and random.random() < 0.8:
        voxels = np.argwhere(labels)
        corner = np.clip(voxels[random.integers(len(voxels))] - random.integers(8, PATCH - 8, 3), 0, last)
    box = tuple(slice(start, start + PATCH) for start in corner)
    turn = tuple(axis for axis in range(3) if random.random() < 0.5)
    image = np.flip(given[(slice(None), *box)].numpy(), tuple(axis + 1 for axis in turn))
    return image.copy(), np.flip(labels[box], turn).astype(np.int64)[None].copy()


def judge(found: nn.Module, heads: int = 20) -> dict[str, trainer.Figure]:
    """Return how well the parts of tumours it never saw are outlined, and what is outlined where there is none."""
    random = np.random.default_rng(1000)
    rows, beside = [], []
    for number in range(heads):
        diseased = number % 4 > 0
        images, labels = head(random, diseased=diseased)
        answer = segment(CHAIN, images, found).numpy()
        if diseased:
            rows.append([trainer.dice(labels == part, answer == part) for part in range(1, 1 + len(PARTS))])
        else:
            beside.append([(answer > 0).sum() * SPACING**3 / 1000])
    dices = {f"Dice {name}": trainer.figure([[row[at]] for row in rows]) for at, name in enumerate(PARTS)}
    return {**dices, "ml in a head without tumour": trainer.figure(beside)}


def main(steps: int = 650) -> None:
    """Train, save the network where Triton loads it, and write how good it is."""
    loss = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False)
    trained = trainer.train(network, trainer.Course(draw=draw, loss=loss, steps=steps, batch=2))
    trainer.save(trained, (1, len(CHAIN.roles), *CHAIN.tile), HERE / "1")
    with torch.inference_mode():
        trainer.write_figures(judge(trained), HERE)


if __name__ == "__main__":
    main()
