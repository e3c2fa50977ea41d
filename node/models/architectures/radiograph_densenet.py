"""DenseNet-121 of TorchXRayVision for chest radiographs (Apache-2.0, github.com/mlmed/torchxrayvision)."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

GROWTH, WIDTH, BOTTLENECK = 32, 64, 4
LAYERS = 6, 12, 24, 16
OPERATING_POINTS = (
    0.07422872, 0.038290843, 0.09814756, 0.0098118475, 0.023601074, 0.0022490358, 0.010060724, 0.103246614, 0.056810737,
    0.026791653, 0.050318155, 0.023985857, 0.01939503, 0.042889766, 0.053369623, 0.035975814, 0.20204692, 0.05015312,
)  # fmt: skip
"""Of densenet121-res224-all, for each finding: the score that its publisher maps to 0.5 (`op_threshs` in models.py)."""


class DenseLayer(nn.Sequential):
    """Two convolutions, whose answer is added to the channels."""

    def __init__(self, given: int) -> None:
        super().__init__(
            OrderedDict[str, nn.Module](
                norm1=nn.BatchNorm2d(given),
                relu1=nn.ReLU(),
                conv1=nn.Conv2d(given, BOTTLENECK * GROWTH, 1, bias=False),
                norm2=nn.BatchNorm2d(BOTTLENECK * GROWTH),
                relu2=nn.ReLU(),
                conv2=nn.Conv2d(BOTTLENECK * GROWTH, GROWTH, 3, padding=1, bias=False),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Answer with more channels."""
        made = x
        for layer in self:
            made = layer(made)
        return torch.cat([x, made], 1)


class RadiographDenseNet(nn.Module):
    """Scores (radiograph, finding) from 0 to 1 of radiographs (radiograph, 1, 224, 224), from -1024 to 1024.

    A score of 0.5 is the operating point of each finding, as the publisher's `op_norm` has it.
    """

    def __init__(self) -> None:
        super().__init__()
        features: OrderedDict[str, nn.Module] = OrderedDict(
            conv0=nn.Conv2d(1, WIDTH, 7, stride=2, padding=3, bias=False),
            norm0=nn.BatchNorm2d(WIDTH),
            relu0=nn.ReLU(),
            pool0=nn.MaxPool2d(3, stride=2, padding=1),
        )
        channels = WIDTH
        for number, layers in enumerate(LAYERS, 1):
            block = {f"denselayer{layer + 1}": DenseLayer(channels + layer * GROWTH) for layer in range(layers)}
            features[f"denseblock{number}"] = nn.Sequential(OrderedDict(block))
            channels += layers * GROWTH
            if number < len(LAYERS):
                features[f"transition{number}"] = _transition(channels)
                channels //= 2
        features["norm5"] = nn.BatchNorm2d(channels)
        self.features = nn.Sequential(features)
        self.classifier = nn.Linear(channels, len(OPERATING_POINTS))
        self.points: Tensor
        self.register_buffer("points", torch.tensor(OPERATING_POINTS), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Answer (radiograph, finding)."""
        seen = functional.relu(self.features(x)).mean((2, 3))
        scores = self.classifier(seen).sigmoid()
        below, above = scores / (2 * self.points), 1 - (1 - scores) / (2 * (1 - self.points))
        return torch.where(scores < self.points, below, above)


def _transition(channels: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            norm=nn.BatchNorm2d(channels),
            relu=nn.ReLU(),
            conv=nn.Conv2d(channels, channels // 2, 1, bias=False),
            pool=nn.AvgPool2d(2, stride=2),
        )
    )
