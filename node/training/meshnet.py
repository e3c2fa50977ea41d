"""MeshNet for brains, with the weights that github.com/neuroneural/brainchop publishes (MIT)."""

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from node.errors import ConfigError

MODEL = "model.json"


class MeshNet(nn.Sequential):
    """Convolutions of 3 × 3 × 3 with growing and shrinking dilation (Fedorov et al. 2017, arXiv:1612.00940).

    (tile, 1, axis, axis, axis) float32 in, logits (tile, class, axis, axis, axis) out. Read from a folder of
    TensorFlow.js: `model.json` names layers and file; kernels there are (axis, axis, axis, in, out), then biases.

    Raises
    ------
    ConfigError
        There is no `model.json` in the folder.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / MODEL).is_file():
            raise ConfigError(f"{folder} holds no {MODEL}: name a folder of brainchop's public/models")
        words = json.loads((folder / MODEL).read_text(encoding="utf-8"))
        (group,) = words["weightsManifest"]
        raw = np.fromfile(folder / group["paths"][0], "<f4")
        configs = [layer["config"] for layer in words["modelTopology"]["model_config"]["config"]["layers"]]
        dilations = [layer["dilation_rate"][0] for layer in configs if "dilation_rate" in layer]
        activation = nn.ELU if any(layer.get("activation") == "elu" for layer in configs) else nn.ReLU
        layers: list[nn.Module] = []
        for kernel, bias, dilation in zip(group["weights"][::2], group["weights"][1::2], dilations, strict=True):
            size = np.prod(kernel["shape"])
            weight, raw = raw[:size].reshape(kernel["shape"]).transpose(4, 3, 0, 1, 2), raw[size:]
            layer = nn.Conv3d(weight.shape[1], weight.shape[0], weight.shape[2], padding="same", dilation=dilation)
            layer.weight = nn.Parameter(torch.from_numpy(weight.copy()))
            layer.bias = nn.Parameter(torch.from_numpy(raw[: bias["shape"][0]].copy()))
            raw = raw[bias["shape"][0] :]
            layers += [layer, activation()]
        super().__init__(*layers[:-1])
