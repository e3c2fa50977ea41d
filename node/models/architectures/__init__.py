"""Networks whose publishers give weights alone, written out: by name, what builds them of a file or a folder."""

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import nn

from node.errors import ConfigError
from node.models.architectures.lwnet import WNet
from node.models.architectures.radiograph_densenet import RadiographDenseNet
from node.models.architectures.unet_small import UNetSmall
from node.models.checkpoint import fitted
from node.training.meshnet import MODEL, MeshNet

Builder = Callable[[Path], nn.Module]


def _weights_of(kind: Callable[[], nn.Module]) -> Builder:
    return lambda source: fitted(kind(), source)


ARCHITECTURES: Mapping[str, Builder] = {
    "meshnet": lambda source: MeshNet(source.parent if source.name == MODEL else source),
    "lwnet": _weights_of(WNet),
    "unet_small": _weights_of(UNetSmall),
    "radiograph_densenet": _weights_of(RadiographDenseNet),
}
"""Name → what builds the network of the publisher's file or folder."""


def architecture(name: str, source: Path) -> nn.Module:
    """Build a network with its weights; ConfigError where there is none of this name, or the weights do not fit."""
    if name not in ARCHITECTURES:
        raise ConfigError(f"{name}: isocenter has written out {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name](source).eval()
