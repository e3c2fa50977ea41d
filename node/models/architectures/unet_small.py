"""UNet-Small for lungs in CT (MIT, github.com/knottwill/UNet-Small)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = 16, 32, 64, 128


def block(given: int, made: int) -> nn.Sequential:
    """Return convolution, batch normalisation and ReLU, twice."""
    return nn.Sequential(*_layers(given, made), *_layers(made, made))


def _layers(given: int, made: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(given, made, 3, padding=1), nn.BatchNorm2d(made), nn.ReLU()


def _upsample(given: int, made: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(given, made, 3, stride=2, padding=1, output_padding=1)


class UNetSmall(nn.Module):
    """Logits (slice, 1, row, column) of stored values (slice, 1, row, column): HU + 1024, not below 0."""

    def __init__(self) -> None:
        super().__init__()
        narrow, two, three, four = WIDTHS
        self.conv1, self.conv2, self.conv3 = block(1, narrow), block(narrow, two), block(two, three)
        self.middle = block(three, four)
        self.upsample3, self.upconv3 = _upsample(four, three), block(2 * three, three)
        self.upsample2, self.upconv2 = _upsample(three, two), block(2 * two, two)
        self.upsample1, self.upconv1 = _upsample(two, narrow), block(2 * narrow, narrow)
        self.final = nn.Conv2d(narrow, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Answer (slice, 1, row, column)."""
        first = self.conv1(x)
        second = self.conv2(functional.max_pool2d(first, 2))
        third = self.conv3(functional.max_pool2d(second, 2))
        x = self.middle(functional.max_pool2d(third, 2))
        x = self.upconv3(torch.cat([self.upsample3(x), third], 1))
        x = self.upconv2(torch.cat([self.upsample2(x), second], 1))
        x = self.upconv1(torch.cat([self.upsample1(x), first], 1))
        found: Tensor = self.final(x)
        return found
