"""Fit the weights of guard_chest_radiograph: python triton_models/guard_chest_radiograph/train.py PICTURES"""

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from node.serving import frontal_chest
from node.serving.appearance import description, fitted
from node.training import pictures
from node.training.pictures import Picture, Pictures

RIDGE = 0.01
WEIGHTS = Path(frontal_chest.__file__).with_suffix(".json")
OTHERS = (
    "bone_xray_other", "dental_panoramic", "mammogram", "fundus", "histology_he", "ultrasound_other_carotid",
    "ultrasound_other_fetal", "other_endoscopy", "other_blood_smear",
)  # fmt: skip
CROPS = 5


def described(shown: Iterable[Picture]) -> Tensor:
    """Return what pictures look like, (picture, number)."""
    return torch.stack([description(torch.from_numpy(np.ascontiguousarray(picture))) for picture in shown])


def main(folder: Path) -> None:
    """Fit on the pictures for making, and write the weights."""
    torch.set_num_threads(1)
    random = np.random.default_rng(14)
    there = Pictures(folder)
    right: list[Picture] = []
    wrong: list[Picture] = list(pictures.empty(random).values())
    for path in there.licensed("chest_frontal"):
        chest = pictures.read(path)
        shown = [chest, *pictures.crops(chest, random, CROPS)]
        right += shown
        wrong += [change(picture) for change in pictures.WRONG.values() for picture in shown[:2]]
    for kind in OTHERS:
        for path in there.licensed(kind):
            other = pictures.read(path)
            wrong += [other, *pictures.crops(other, random, 2)]
    found = fitted(described(pictures.seen(right)), described(pictures.seen(wrong)), ridge=RIDGE)
    found.write(WEIGHTS)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
