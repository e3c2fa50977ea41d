"""A small network, in each kind of file that `isocenter model add` takes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

NETWORK = """
from torch import Tensor, nn
from torch.nn import functional

class Edges(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv3d(1, width, 3, padding=1)
        self.last = nn.Conv3d(width, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).relu())
"""


def edges() -> nn.Module:
    space: dict[str, Any] = {}
    exec(NETWORK, space)  # noqa: S102 (the text above)
    torch.manual_seed(3)
    network: nn.Module = space["Edges"](5).eval()
    return network


def saved(folder: Path, kind: str) -> tuple[Path, dict[str, Any]]:
    """Save the network as a kind of file; return it with what must be said beside it."""
    network, given = edges(), torch.zeros(2, 1, 24, 24, 16)
    if kind == "TorchScript":
        torch.jit.trace(network, given).save(folder / "net.ts")
        return folder / "net.ts", {"trust": True}
    if kind == "torch.export":
        batch = torch.export.Dim("batch", max=64)
        torch.export.save(torch.export.export(network, (given,), dynamic_shapes=({0: batch},)), folder / "net.pt2")
        return folder / "net.pt2", {"trust": True}
    if kind == "ONNX":
        pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
        shapes = ({0: torch.export.Dim("batch", max=64)},)
        torch.onnx.export(network, (given,), folder / "net.onnx", dynamic_shapes=shapes, verbose=False)
        return folder / "net.onnx", {}
    torch.save({"state_dict": network.state_dict()}, folder / "net.pth")
    (folder / "edges.py").write_text(NETWORK)
    return folder / "net.pth", {"builder": f"{folder / 'edges.py'}:Edges(width=5)", "trust": True}
