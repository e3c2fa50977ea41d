"""Train the network of us_lesion on phantoms anew: python triton_models/us_lesion/train.py"""

from pathlib import Path

import numpy as np
import torch
from monai.networks.nets.densenet import DenseNet
from torch import nn

from node.serving.planes import PlaneChain, classify, network_input
from node.training import trainer
from node.training.phantoms.sonogram import BENIGN, MALIGNANT, cine, frame, lesion

HERE = Path(__file__).parent
PLANES = PlaneChain.read(HERE / "1" / "planes.json")
CLASSES = "lesion", MALIGNANT
PLACES = 16
"""Rows of the class maps."""
WITHIN = 0.9
"""Part of the highest value of a map from which on a pixel is of the lesion, as in the plugin."""
KINDS = "", BENIGN, MALIGNANT


def network() -> nn.Module:
    """Return a small DenseNet (Huang et al. 2017) that answers with class maps."""
    net = DenseNet(2, 1, len(CLASSES), init_features=12, growth_rate=8, block_config=(4, 6), bn_size=2)
    return trainer.ClassMaps.of_densenet(net)


def draw(random: np.random.Generator) -> trainer.Example:
    """Return one frame with a lesion or without, and where on the class maps it is, and is malignant."""
    kind = KINDS[random.integers(3)]
    there = lesion(kind, random) if kind else None
    image, mark = frame(*PLANES.size, random, there, part=random.uniform(0.4, 1))
    marks = np.stack([mark, mark & (kind == MALIGNANT)])
    return network_input(PLANES, torch.from_numpy(image)[None])[0].numpy(), trainer.on_map(marks, PLACES)


def judge(found: nn.Module, sweeps: int = 150) -> dict[str, trainer.Figure]:
    """Return the areas under the ROC curves over sweeps it never saw, and how well a lesion is boxed on its best frame.

    A sweep has the probability of a lesion of its likeliest frame, and that of malignancy there.
    """
    random = np.random.default_rng(1000)
    seen_lesion, seen_malignant, overlaps = [], [], []
    for number in range(sweeps):
        kind = KINDS[number % len(KINDS)]
        images, marks = cine(12, 160, 200, random, kind)
        seen = classify(PLANES, torch.from_numpy(images), found)
        best = int(seen.probabilities[:, 0].argmax())
        seen_lesion.append([bool(kind), float(seen.probabilities[best, 0])])
        if not kind:
            continue
        seen_malignant.append([kind == MALIGNANT, float(seen.probabilities[best, 1])])
        of_lesion = seen.maps[seen.shown.tolist().index(0), best].numpy()
        overlaps.append([shared(box(of_lesion >= WITHIN * of_lesion.max()), box(marks[best]))])
    return {
        "AUC lesion": trainer.figure(seen_lesion, trainer.area_under_curve),
        "AUC malignant": trainer.figure(seen_malignant, trainer.area_under_curve),
        "overlap of boxes": trainer.figure(overlaps),
    }


def box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return top, left, bottom and right of what is not 0; nothing where nothing is."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1) if len(rows) else (0, 0, 0, 0)


def shared(box: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> float:
    """Return which part of their union two boxes have in common."""
    low, high = np.maximum(box[:2], other[:2]), np.minimum(box[2:], other[2:])
    common = float(np.clip(high - low, 0, None).prod())
    both = sum((bottom - top) * (right - left) for top, left, bottom, right in (box, other))
    return common / (both - common)


def main(steps: int = 450) -> None:
    """Train, save the network where Triton loads it, and write how good it is."""
    course = trainer.Course(draw=draw, loss=trainer.seen_where, steps=steps, batch=16, rate=6e-3)
    trained = trainer.train(network, course)
    trainer.save(trained, (1, 1, *PLANES.size), HERE / "1")
    with torch.inference_mode():
        trainer.write_figures(judge(trained), HERE)


if __name__ == "__main__":
    main()
