"""W-Net for retinal vessels (Galdran et al. 2022; MIT, github.com/agaldran/lwnet, commit ce72dda), written out.

It was trained on DRIVE, in red, green and blue from 0 to 1, 512 × 512. Only its weights are read.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

WEIGHTS = Path(__file__).parents[2] / "shared" / "data" / "weights" / "fundus_vessel_wnet" / "model_checkpoint.pth"


class FundusWNet(nn.Module):
    """Logits (photograph, 1, row, column) of photographs (photograph, 3, row, column)."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = torch.load(WEIGHTS, weights_only=True, map_location="cpu")["model_state_dict"]

    def forward(self, x: Tensor) -> Tensor:
        return self.unet(torch.cat([x, self.unet(x, "unet1")], 1), "unet2")

    def unet(self, x: Tensor, name: str) -> Tensor:
        x = self.with_shortcut(x, f"{name}.first")
        skips = []
        for level in range(2):
            skips.append(x)
            x = self.with_shortcut(functional.max_pool2d(x, 2), f"{name}.down_path.{level}")
        for level in range(2):
            up = f"{name}.up_path.{level}"
            wide = functional.conv_transpose2d(x, *self.of(f"{up}.up_layer.block.0"), stride=2)
            bridge = self.convolved(skips.pop(), f"{up}.conv_bridge_layer.block", 0)
            x = self.with_shortcut(torch.cat([wide, bridge], 1), f"{up}.conv_layer")
        return functional.conv2d(x, *self.of(f"{name}.final"))

    def with_shortcut(self, x: Tensor, name: str) -> Tensor:
        short = functional.conv2d(x, self.weights[f"{name}.shortcut.0.weight"])
        deep = self.convolved(self.convolved(x, f"{name}.block", 0), f"{name}.block", 3)
        return deep + self.normed(short, f"{name}.shortcut.1")

    def convolved(self, x: Tensor, name: str, layer: int) -> Tensor:
        x = functional.relu(functional.conv2d(x, *self.of(f"{name}.{layer}"), padding=1))
        return self.normed(x, f"{name}.{layer + 2}")

    def normed(self, x: Tensor, name: str) -> Tensor:
        parts = ("running_mean", "running_var", "weight", "bias")
        return functional.batch_norm(x, *(self.weights[f"{name}.{part}"] for part in parts))

    def of(self, name: str) -> tuple[Tensor, Tensor]:
        return self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
