"""What is done around a network, by the file that says it: the generic chain, or nnU-Net's plans."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from . import answers, nnunet, volume
from .answers import Answer
from .nnunet import Plan
from .volume import Chain, Network, Placed

Around = Chain | Plan
FILES: dict[type[Around], str] = {Chain: "chain.json", Plan: "nnunet.json"}


def segment(around: Around, images: Sequence[Placed], network: Network) -> Tensor:
    """Return the labels of the roles' images, see `volume.segment` and `nnunet.segment`."""
    if isinstance(around, Plan):
        return nnunet.segment(around, images, network)
    return volume.segment(around, images, network)


def answer(around: Around, images: Sequence[Placed], network: Any) -> Answer:
    """Return what a volume model answers, by the names of its outputs, see `answers.answer`."""
    if isinstance(around, Plan):
        return {"labels": nnunet.segment(around, images, network), "affine": images[0][1]}
    return answers.answer(around, images, network)


def read(folder: Path) -> Around:
    """Read what lies in a model's folder."""
    return next(kind.read(folder / name) for kind, name in FILES.items() if (folder / name).is_file())


def write(around: Around, folder: Path) -> None:
    """Write it into a model's folder."""
    around.write(folder / FILES[type(around)])
