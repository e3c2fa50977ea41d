"""Train both networks of xc_skin on phantoms anew: python triton_models/xc_skin/train.py"""

from pathlib import Path

import numpy as np
import torch
from monai.losses.dice import DiceCELoss
from monai.networks.nets.densenet import DenseNet
from monai.networks.nets.unet import UNet
from torch import Tensor, nn
from torch.nn import functional

from node.serving.answers import in_channels, nowhere
from node.serving.chain import Chain
from node.serving.planes import PlaneChain, classify, network_input
from node.serving.volume import segment
from node.training import trainer
from node.training.phantoms.skin import LESIONS, lesion

HERE = Path(__file__).parent
OUTLINE = HERE.with_name("xc_skin_lesion")
PLANES, CHAIN = PlaneChain.read(HERE / "1" / "planes.json"), Chain.read(OUTLINE / "1" / "chain.json")
ROWS = PLANES.size[0]
JUDGED = 256
"""Rows of the photographs that the networks are judged on."""


def naming() -> nn.Module:
    """Return a small DenseNet (Huang et al. 2017) that answers with class maps."""
    net = DenseNet(2, 3, len(LESIONS), init_features=16, growth_rate=12, block_config=(4, 6), bn_size=2)
    return trainer.ClassMaps.of_densenet(net)


def outlining() -> nn.Module:
    """Return a small U-Net (Ronneberger et al. 2015)."""
    return UNet(2, 3, 1, channels=(8, 16, 32, 48), strides=(2, 2, 2), num_res_units=1, norm="batch")


def named(random: np.random.Generator) -> trainer.Example:
    """Return a photograph of a lesion, at times upside down, and of which kind it is."""
    kind = int(random.integers(len(LESIONS)))
    photo, _ = lesion(ROWS, random, kind=LESIONS[kind])
    seen = network_input(PLANES, torch.from_numpy(photo[None]))[0]
    return (seen.flip(1) if random.random() < 0.5 else seen).numpy(), np.array(kind)


def outlined(random: np.random.Generator) -> trainer.Example:
    """Return a photograph of a lesion, and which of its pixels are of it."""
    photo, inside = lesion(ROWS, random, kind=LESIONS[random.integers(len(LESIONS))])
    return np.moveaxis(photo, 2, 0).astype(np.float32) / 255, inside.astype(np.float32)[None]


def loss(maps: Tensor, truths: Tensor) -> Tensor:
    """Return the cross-entropy of the kinds."""
    return functional.cross_entropy(maps.mean((2, 3)), truths)


def judge(net: nn.Module, outlines: nn.Module, each: int = 20) -> dict[str, trainer.Figure]:
    """Return how often the kind is right, how well melanoma is recognised, and how well lesions are outlined.

    On photographs that the networks never saw, as many of each kind.
    """
    random = np.random.default_rng(1000)
    right, melanoma, scores = [], [], []
    for kind in np.repeat(np.arange(len(LESIONS)), each):
        photo, inside = lesion(JUDGED, random, kind=LESIONS[kind])
        shown = torch.from_numpy(photo[None])
        probabilities = classify(PLANES, shown, net).probabilities[0]
        right.append([float(probabilities.argmax() == kind)])
        melanoma.append([float(LESIONS[kind] == "mel"), float(probabilities[LESIONS.index("mel")])])
        seen = segment(CHAIN, [(channel, nowhere()) for channel in in_channels(shown)], outlines)[0].numpy()
        scores.append([2 * float((seen & inside).sum()) / float(seen.sum() + inside.sum())])
    return {
        "kind right": trainer.figure(right),
        "AUC melanoma": trainer.figure(melanoma, trainer.area_under_curve),
        "Dice of lesions": trainer.figure(scores),
    }


def main(steps: int = 450, outline_steps: int = 350) -> None:
    """Train, save the networks where Triton loads them, and write how good they are."""
    net = trainer.train(naming, trainer.Course(draw=named, loss=loss, steps=steps, batch=16))
    trainer.save(net, (1, 3, *PLANES.size), HERE / "1")
    course = trainer.Course(draw=outlined, loss=DiceCELoss(sigmoid=True), steps=outline_steps, batch=8)
    outlines = trainer.train(outlining, course)
    trainer.save(outlines, (1, 3, *PLANES.size), HERE.with_name("xc_skin_lesion") / "1")
    with torch.inference_mode():
        trainer.write_figures(judge(net, outlines), HERE)


if __name__ == "__main__":
    main()
