"""W-Net for vessels of the retina (Galdran et al. 2022; MIT, github.com/agaldran/lwnet)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = 8, 16, 32


class Convolved(nn.Module):
    """Convolution, ReLU and batch normalisation twice, beside a short cut."""

    def __init__(self, given: int, made: int) -> None:
        super().__init__()
        self.shortcut = nn.Sequential(nn.Conv2d(given, made, 1, bias=False), nn.BatchNorm2d(made))
        self.block = nn.Sequential(*_layers(given, made), *_layers(made, made))

    def forward(self, x: Tensor) -> Tensor:
        """Answer (photograph, made, row, column)."""
        found: Tensor = self.block(x) + self.shortcut(x)
        return found


def _layers(given: int, made: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(given, made, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(made)


class Block(nn.Module):
    """Layers under the name that the publisher's checkpoint has for them."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Answer with what the layers do."""
        found: Tensor = self.block(x)
        return found


class Up(nn.Module):
    """Twice the size, beside what was seen on the way down."""

    def __init__(self, given: int, made: int) -> None:
        super().__init__()
        self.up_layer = Block(nn.ConvTranspose2d(given, made, 2, stride=2))
        self.conv_layer = Convolved(2 * made, made)
        self.conv_bridge_layer = Block(*_layers(made, made))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Answer (photograph, made, 2 · row, 2 · column)."""
        found: Tensor = self.conv_layer(torch.cat([self.up_layer(x), self.conv_bridge_layer(skip)], 1))
        return found


class UNet(nn.Module):
    """A U-Net of three levels with one logit for each pixel."""

    def __init__(self, given: int) -> None:
        super().__init__()
        narrow, two, three = WIDTHS
        self.first = Convolved(given, narrow)
        self.down_path = nn.ModuleList([Convolved(narrow, two), Convolved(two, three)])
        self.up_path = nn.ModuleList([Up(three, two), Up(two, narrow)])
        self.final = nn.Conv2d(narrow, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Answer (photograph, 1, row, column)."""
        first = self.first(x)
        second = self.down_path[0](functional.max_pool2d(first, 2))
        third = self.down_path[1](functional.max_pool2d(second, 2))
        found: Tensor = self.final(self.up_path[1](self.up_path[0](third, second), first))
        return found


class WNet(nn.Module):
    """Two U-Nets, the second of which sees what the first saw: logits of photographs (photograph, 3, row, column)."""

    def __init__(self) -> None:
        super().__init__()
        self.unet1, self.unet2 = UNet(3), UNet(4)

    def forward(self, x: Tensor) -> Tensor:
        """Answer (photograph, 1, row, column)."""
        found: Tensor = self.unet2(torch.cat([x, self.unet1(x)], 1))
        return found
