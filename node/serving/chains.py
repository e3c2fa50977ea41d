"""The chain around a network as chain.json has it: the general one, or nnU-Net's plans."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from . import answers, nnunet, volume
from .answers import Answer
from .chain import Chain
from .grid import Placed
from .nnunet import NnunetPlan
from .sliding_window import Network

AnyChain = Chain | NnunetPlan
CHAIN, NNUNET = "chain.json", "nnunet"
"""The file in a model's folder, and the key under which plans of nnU-Net stand in it."""


def segment(around: AnyChain, images: Sequence[Placed], network: Network) -> Tensor:
    """Return the labels of the roles' images, see `volume.segment` and `nnunet.segment`."""
    if isinstance(around, NnunetPlan):
        return nnunet.segment(around, images, network)
    return volume.segment(around, images, network)


def answer(around: AnyChain, images: Sequence[Placed], network: Any) -> Answer:
    """Return what a volume model answers, by the names of its outputs, see `answers.answer`."""
    if isinstance(around, NnunetPlan):
        return {"labels": nnunet.segment(around, images, network), "affine": images[0][1]}
    return answers.answer(around, images, network)


def read(folder: Path) -> AnyChain:
    """Read what lies in a model's folder."""
    words = json.loads((folder / CHAIN).read_text(encoding="utf-8"))
    return NnunetPlan.of(words[NNUNET]) if NNUNET in words else Chain.of(words)


def write(around: AnyChain, folder: Path) -> None:
    """Write it into a model's folder."""
    if isinstance(around, NnunetPlan):
        (folder / CHAIN).write_text(json.dumps({NNUNET: asdict(around)}, indent=2) + "\n", encoding="utf-8")
    else:
        around.write(folder / CHAIN)
