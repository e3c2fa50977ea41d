"""Put MeshNet's weights of real brains in place: python triton_models/mr_brain/meshnet.py FOLDER"""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from node.serving.chain import Chain
from node.training import trainer
from node.training.meshnet import MeshNet
from node.training.phantoms.brain import STRUCTURES

HERE = Path(__file__).parent
CLASSES = 1 + len(STRUCTURES)
CHAIN = Chain(
    orientation="LIA",
    spacing=(1.0, 1.0, 1.0),
    size=(256, 256, 256),
    align="centre",
    clip_percentiles=(2.0, 98.0),
    restore="labels",
)
"""As FreeSurfer conforms heads, which MeshNet was trained on."""


class Unknown(nn.Module):
    """Says nothing of volumes: those of phantoms tell nothing of patients."""

    def forward(self, volumes: Tensor) -> Tensor:
        """Return not a number for each of the two conditions."""
        return volumes[:, :2] * torch.nan


def bring(folder: Path, models: Path = HERE.parent) -> None:
    """Write the network and what is done around it into a model repository; `folder` is brainchop's model18cls.

    The network that looks at volumes is replaced by a network without output.
    """
    network = MeshNet(folder).eval()
    if network[-1].out_channels != CLASSES:
        sys.exit(f"{folder} has {network[-1].out_channels} classes, and the plugin {CLASSES}: bring model18cls")
    trainer.save(network, (1, 1, 32, 32, 32), models / "mr_brain" / "1")
    CHAIN.write(models / "mr_brain" / "1" / "chain.json")
    trainer.save(Unknown(), (1, len(STRUCTURES)), models / "mr_brain" / "1", "conditions.pt")
    config = models / "mr_brain" / "config.pbtxt"
    config.write_text(
        config.read_text().replace('"kind", value: { string_value: "C" }', '"kind", value: { string_value: "U" }')
    )


if __name__ == "__main__":
    bring(Path(sys.argv[1]))
    print('now write kind = "U" into plugins/mr_brain/plugin.toml: weights brought, validation unknown')  # noqa: T201
