"""Train the network of mg_lesion on phantoms anew: python triton_models/mg_lesion/train.py"""

from pathlib import Path

import numpy as np
import torch
from monai.losses.dice import DiceCELoss
from monai.networks.nets.unet import UNet
from numpy.typing import NDArray
from torch import Tensor, nn

from node.serving.answers import nowhere
from node.serving.chain import Chain
from node.serving.components import components
from node.serving.volume import prepared, segment
from node.training import trainer
from node.training.phantoms import Labels
from node.training.phantoms.breast import LESIONS, mammogram

HERE = Path(__file__).parent
CHAIN = Chain.read(HERE / "1" / "chain.json")
ROWS, COLUMNS = 256, 208
PATCH = 96
"""Rows and columns of what the network learns from at once; it answers for whole images."""
OF_BREAST = 0.2
"""As the network gets an image, the breast is brighter, and air is not."""
COUNTS = 1.0, 1.0, 2.0
"""How much a pixel of each class counts: of the last there are the fewest."""
SMALLEST = 2e-4
"""Part of the image, as in the plugin."""


def network() -> nn.Module:
    """Return a small U-Net (Ronneberger et al. 2015)."""
    return UNet(2, 1, 1 + len(LESIONS), channels=(8, 16, 32, 48), strides=(2, 2, 2), num_res_units=1, norm="batch")


def breast(random: np.random.Generator) -> tuple[NDArray[np.int16], Labels]:
    """Return a mammogram that lies any way round, with up to three lesions."""
    kinds = [str(kind) for kind in random.choice(LESIONS, random.integers(4))]
    image, labels, _ = mammogram(ROWS, COLUMNS, random, kinds)
    turn = random.integers(4)
    image, labels = np.rot90(image, turn), np.rot90(labels, turn)
    return (image, labels) if random.random() < 0.5 else (image[::-1], labels[::-1])


def draw(random: np.random.Generator) -> trainer.Example:
    """Return a patch of a mammogram as the network gets it, and what each pixel is of.

    In half of the cases it lies on a lesion, if the breast has any; else anywhere on the breast.
    """
    image, labels = breast(random)
    x, _ = prepared(CHAIN, [(torch.from_numpy(image[None].copy()), nowhere())])
    truth = nn.functional.interpolate(torch.from_numpy(labels[None, None].copy()), x.shape[2:])[0]
    kind = random.integers(2 * len(LESIONS))
    places = np.argwhere((truth[0] == 1 + kind if kind < len(LESIONS) else x[0, 0] > OF_BREAST).numpy())
    middle = places[random.integers(len(places))] if len(places) else random.integers(x.shape[-1], size=2)
    top, left = np.clip(middle - random.integers(PATCH // 4, 3 * PATCH // 4, 2), 0, np.subtract(x.shape[2:], PATCH))
    patch = slice(top, top + PATCH), slice(left, left + PATCH)
    return x[0][:, *patch].numpy(), truth[:, *patch].numpy().astype(np.int64)


def loss() -> nn.Module:
    """Return Dice and cross-entropy, each once."""
    counts = torch.tensor(COUNTS)
    return DiceCELoss(to_onehot_y=True, softmax=True, include_background=False, batch=True, weight=counts)


def judge(found: nn.Module, breasts: int = 200) -> dict[str, trainer.Figure]:
    """Return how many lesions of breasts it never saw are found, how well outlined, and how many there are beside."""
    random = np.random.default_rng(1000)
    seen = []
    for _ in range(breasts):
        image, labels = breast(random)
        seen.append((labels[None].copy(), segment(CHAIN, [(torch.from_numpy(image[None].copy()), nowhere())], found)))
    figures = {}
    for label, name in enumerate(LESIONS, 1):
        compared = [matched(torch.from_numpy(labels) == label, answer == label) for labels, answer in seen]
        outlines = [[dice] for outlined, _ in compared for dice in outlined]
        figures[f"sensitivity {name}"] = trainer.figure([[float(score > 0)] for (score,) in outlines])
        figures[f"false positives per image {name}"] = trainer.figure([[float(beside)] for _, beside in compared])
        figures[f"Dice of those found {name}"] = trainer.figure([[score] for (score,) in outlines if score > 0])
    return figures


def matched(truth: Tensor, found: Tensor) -> tuple[list[float], int]:
    """Return the Dice of each lesion with all that touches it, and how many pieces touch none."""
    lesions, pieces = numbered(truth), numbered(found)
    outlines = []
    for number in range(1, int(lesions.max()) + 1):
        lesion = lesions == number
        touching = np.isin(pieces, np.setdiff1d(pieces[lesion], 0))
        outlines.append(float(2 * (lesion & touching).sum() / (lesion.sum() + touching.sum())))
    return outlines, len(np.setdiff1d(pieces, [0, *np.unique(pieces[lesions > 0])]))


def numbered(mask: Tensor) -> NDArray[np.int64]:
    """Return the pieces that the plugin would tell of, from 1 on; 0 elsewhere."""
    pieces = components(mask).numpy()
    large = np.bincount(pieces.ravel()) >= SMALLEST * pieces.size
    large[0] = False
    return np.asarray((np.cumsum(large) * large)[pieces])


def main(steps: int = 1200) -> None:
    """Train, save the network where Triton loads it, and write how good it is."""
    course = trainer.Course(draw=draw, loss=loss(), steps=steps, batch=12, rate=1e-2)
    trained = trainer.train(network, course)
    trainer.save(trained, (1, 1, 256, 256), HERE / "1")
    with torch.inference_mode():
        trainer.write_figures(judge(trained), HERE)


if __name__ == "__main__":
    main()
