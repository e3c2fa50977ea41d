"""Train both networks of op_retina on phantoms anew: python triton_models/op_retina/train.py"""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from monai.losses.dice import DiceCELoss
from monai.networks.nets.densenet import DenseNet
from monai.networks.nets.unet import UNet
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from node.serving.answers import in_channels, nowhere
from node.serving.chain import Chain
from node.serving.planes import PlaneChain, classify, network_input
from node.serving.volume import segment
from node.training import trainer
from node.training.phantoms.fundus import GRADES, Retina, fundus, retina, taken

HERE = Path(__file__).parent
VESSELS = HERE.with_name("op_retina_vessels")
PLANES, CHAIN = PlaneChain.read(HERE / "1" / "planes.json"), Chain.read(VESSELS / "1" / "chain.json")
LEVELS = "any", "moderate or worse", "severe or worse", "proliferative"
"""What the network tells, as Gulshan et al. 2016 had theirs: whether the grade is at least 1, 2, 3, 4."""
ROWS, PATCH = 256, 96
"""Of photographs and patches from which vessels are learnt; the chain brings photographs to this size."""
EYES = 150
JUDGED = 384
"""Rows of the photographs that the networks are judged on."""


def grading() -> nn.Module:
    """Return a small DenseNet (Huang et al. 2017) that answers with class maps."""
    net = DenseNet(2, 3, len(LEVELS), init_features=16, growth_rate=12, block_config=(4, 6), bn_size=2)
    return trainer.ClassMaps.of_densenet(net)


def outlining() -> nn.Module:
    """Return a small U-Net (Ronneberger et al. 2015)."""
    return UNet(2, 3, 1, channels=(12, 24, 48), strides=(2, 2), num_res_units=1, norm="batch")


@cache
def eyes(rows: int) -> list[Retina]:
    """Return retinas without lesions, which are drawn anew for each photograph."""
    random = np.random.default_rng(7)
    return [retina(rows, random) for _ in range(EYES)]


def truth(grade: int) -> NDArray[np.float32]:
    """Return which levels a grade reaches."""
    return (grade > np.arange(len(LEVELS))).astype(np.float32)


def graded(random: np.random.Generator) -> trainer.Example:
    """Return a photograph of an eye, at times upside down, and which levels its grade reaches."""
    grade = int(random.integers(GRADES))
    photo, _ = taken(eyes(PLANES.size[0])[random.integers(EYES)], random, grade=grade)
    seen = network_input(PLANES, torch.from_numpy(photo[None]))[0]
    return (seen.flip(1) if random.random() < 0.5 else seen).numpy(), truth(grade)


def outlined(random: np.random.Generator) -> trainer.Example:
    """Return a patch of a photograph, and which of its pixels are vessels."""
    photo, vessels = taken(eyes(ROWS)[random.integers(EYES)], random, grade=int(random.integers(GRADES)))
    top, left = random.integers(ROWS - PATCH, size=2)
    patch = slice(top, top + PATCH), slice(left, left + PATCH)
    seen = np.moveaxis(photo[patch], 2, 0).astype(np.float32) / 255
    return seen, vessels[patch].astype(np.float32)[None]


def loss(maps: Tensor, truths: Tensor) -> Tensor:
    """Return the binary cross-entropy of every level."""
    return functional.binary_cross_entropy_with_logits(maps.mean((2, 3)), truths)


def judge_grades(found: nn.Module, each: int = 30) -> dict[str, trainer.Figure]:
    """Return areas under the ROC curve, and how often the grade is right, on eyes it never saw, as many of a grade."""
    random = np.random.default_rng(1000)
    grades = np.repeat(np.arange(GRADES), each)
    photos = (fundus(JUDGED, random, grade=int(grade))[0] for grade in grades)
    levels = np.stack(
        [classify(PLANES, torch.from_numpy(photo[None]), found).probabilities[0].numpy() for photo in photos]
    )
    rows = np.stack([np.stack([truth(int(grade)) for grade in grades]), levels], 2)
    areas = {
        f"AUC {name}": trainer.figure(rows[:, number].tolist(), trainer.area_under_curve)
        for number, name in enumerate(LEVELS)
    }
    found_grades = (np.minimum.accumulate(levels, axis=1) >= 0.5).sum(1)
    return {**areas, "grade right": trainer.figure((found_grades == grades)[:, None].tolist())}


def judge_vessels(found: nn.Module, cases: int = 40) -> dict[str, trainer.Figure]:
    """Return how well vessels are outlined on photographs it never saw."""
    random = np.random.default_rng(2000)
    scores = []
    for _ in range(cases):
        photo, vessels = fundus(JUDGED, random, grade=int(random.integers(GRADES)))
        images = [(channel, nowhere()) for channel in in_channels(torch.from_numpy(photo[None]))]
        seen = segment(CHAIN, images, found)[0].numpy()
        scores.append([2 * float((seen & vessels).sum()) / float(seen.sum() + vessels.sum())])
    return {"Dice of vessels": trainer.figure(scores)}


def main(steps: int = 450, vessel_steps: int = 500) -> None:
    """Train, save the networks where Triton loads them, and write how good they are."""
    net = trainer.train(grading, trainer.Course(draw=graded, loss=loss, steps=steps, batch=10))
    trainer.save(net, (1, 3, *PLANES.size), HERE / "1")
    course = trainer.Course(draw=outlined, loss=DiceCELoss(sigmoid=True), steps=vessel_steps, batch=6)
    lines = trainer.train(outlining, course)
    trainer.save(lines, (1, 3, PATCH, PATCH), HERE.with_name("op_retina_vessels") / "1")
    with torch.inference_mode():
        trainer.write_figures({**judge_grades(net), **judge_vessels(lines)}, HERE)


if __name__ == "__main__":
    main()
