"""UNet-Small for lungs (MIT, github.com/knottwill/UNet-Small, commit 4e64091), its few layers written out.

It was trained on the LCTSC challenge, on stored values: HU + 1024. Only its weights are read.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

WEIGHTS = Path(__file__).parents[2] / "shared" / "data" / "weights" / "ct_lung_unet_small" / "UNet_wdk24.pt"


class LungUNet(nn.Module):
    """Logits (plane, 1, row, column) of stored values (plane, 1, row, column)."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: Mapping[str, Tensor] = torch.load(WEIGHTS, weights_only=True, map_location="cpu")

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for name in ("conv1", "conv2", "conv3"):
            skips.append(self.block(x, name))
            x = functional.max_pool2d(skips[-1], 2)
        x = self.block(x, "middle")
        for k in (3, 2, 1):
            up = self.weights[f"upsample{k}.weight"], self.weights[f"upsample{k}.bias"]
            x = functional.conv_transpose2d(x, *up, stride=2, padding=1, output_padding=1)
            x = self.block(torch.cat([x, skips[k - 1]], 1), f"upconv{k}")
        return functional.conv2d(x, self.weights["final.weight"], self.weights["final.bias"])

    def block(self, x: Tensor, name: str) -> Tensor:
        for k in (0, 3):
            x = functional.conv2d(x, self.weights[f"{name}.{k}.weight"], self.weights[f"{name}.{k}.bias"], padding=1)
            parts = ("running_mean", "running_var", "weight", "bias")
            x = functional.relu(functional.batch_norm(x, *(self.weights[f"{name}.{k + 1}.{part}"] for part in parts)))
        return x


@torch.inference_mode()
def lungs_seen(network: LungUNet, hu: Tensor) -> Tensor:
    """Return lung or not (bool) for slices (slice, row, column) in HU, one after the other."""
    return torch.cat([network((plane.float() + 1024).clamp(min=0)[None, None])[0] > 0 for plane in hu])
