"""`isocenter model add`: a network becomes a volume model, its network model, and a plugin that needs no code."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from node import codes
from node.errors import ConfigError
from node.models.network import Network, read
from node.models.served.volume import Chain, Placed, segment
from node.toml import load_toml

SERVED = Path(__file__).with_name("served")
BACKEND = Path(__file__).with_name("backend")
VOLUME_CONFIG = """\
# Whole volumes in, labels out; 1/chain.json says what is done around the network {name}_net.
name: "{name}"
backend: "python"
max_batch_size: 0
input [{inputs}
]
output [
  {{
    name: "labels"           # on the grid of the first input: 0 none, n the n-th segment
    data_type: TYPE_UINT8
    dims: [ -1, -1, -1 ]
  }},
  {{
    name: "affine"           # of that grid
    data_type: TYPE_FP64
    dims: [ 4, 4 ]
  }}
]
"""
ROLE_CONFIG = """
  {{
    name: "{role}"            # whole numbers, index order (slice, row, column)
    data_type: TYPE_INT16
    dims: [ -1, -1, -1 ]
    optional: true
  }},
  {{
    name: "{role}_field"            # the same where the values are no whole numbers
    data_type: TYPE_FP32
    dims: [ -1, -1, -1 ]
    optional: true
  }},
  {{
    name: "{role}_affine"           # (slice, row, column, 1) to (x, y, z, 1) in mm, LPS
    data_type: TYPE_FP64
    dims: [ 4, 4 ]
  }}"""
NET_CONFIG = """\
# The network alone: (tile, channel, …) in, (tile, class, …) out.
name: "{name}_net"
backend: "python"
max_batch_size: 0
input [ {{ name: "input", data_type: TYPE_FP32, dims: [ {dims} ] }} ]
output [ {{ name: "output", data_type: TYPE_FP32, dims: [ {dims} ] }} ]
"""
PLUGIN = """\
name = "{name}"
version = "1.0.0"
title = "{title}"

[model]
name = "{name}"
"""
SERIES = """
[series.{role}]
when.Modality = "{modality}"
"""
WHICH = """when.SeriesDescription = {{ matches = "(?i){role}" }}
"""
SEGMENT = """
[[segment]]
label = "{label}"
type = {type}
category = "SCT.Organ"
"""
PHANTOM, MARGIN = (40, 56, 48), 3
LIKENESS = 0.9
"""Dice of the phantom that came back with the one that was sent: less is mirrored, shifted, scaled or cut off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What was made: folders of the volume model, the network model and the plugin, and what the phantom told."""

    folders: tuple[Path, ...]
    kind: str
    classes: int
    likeness: float


def add(
    source: Path,
    name: str,
    *,
    models: Path,
    plugins: Path,
    labels: Sequence[str],
    modality: str = "CT",
    chain: Path | None = None,
    builder: str = "",
    trust: bool = False,
) -> Added:
    """Make `models/NAME`, `models/NAME_net` and `plugins/NAME` from a network.

    Parameters
    ----------
    labels
        Names of the segments, in the order of the network's classes, without the background.
    chain
        A TOML file with the fields of `Chain`; without it the volume goes through as it is.

    Raises
    ------
    ConfigError
        A folder is there already, the network cannot be read, answers in another extent or with another number of
        classes than there are labels, or the phantom did not come back as it was sent. Nothing is left behind.
    """
    folders = (models / name, models / f"{name}_net", plugins / name)
    for folder in folders:
        if folder.exists():
            raise ConfigError(f"{folder} is there already: remove it, or choose another name")
    steps = _chain(chain)
    example = _example(steps)
    network = read(source, builder=builder, trust=trust, example=example)
    classes = _classes(network, steps, example, labels, source)
    likeness = self_test(steps)
    if likeness < LIKENESS:
        raise ConfigError(
            f"a phantom comes back through this chain with a Dice of {likeness:.2f}, not the same place and size: "
            f"look at orientation, spacing, size and align in {chain}"
        )
    with tempfile.TemporaryDirectory(dir=models) as scratch:
        made = _made(Path(scratch), name, steps, network, labels, modality, len(example))
        for folder, place in zip(made, folders, strict=True):
            shutil.move(folder, place)
    return Added(folders=folders, kind=network.kind, classes=classes, likeness=likeness)


def _chain(path: Path | None) -> Chain:
    if path is None:
        return Chain()
    try:
        return Chain.of(load_toml(path))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _example(chain: Chain) -> tuple[int, ...]:
    """Return the shape of one tile as the network gets it: (tile, channel, …)."""
    if len(chain.tile) == 2:
        return (1, len(chain.roles) * (1 + 2 * chain.context), *chain.tile)
    return (1, len(chain.roles), *(chain.tile or chain.size or (32, 32, 32)))


def _classes(network: Network, chain: Chain, example: tuple[int, ...], labels: Sequence[str], source: Path) -> int:
    """Ask the network once; return how many classes it gives."""
    try:
        answer = network.ask(torch.zeros(example))
    except (RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{source} refuses a tile of {example}: {' '.join(str(error).split())[:300]}; give its extent as tile"
        ) from error
    if answer.shape[0] != 1 or answer.shape[2:] != example[2:]:
        raise ConfigError(f"{source} answers a tile of {example} with {tuple(answer.shape)}: another extent")
    found = int(answer.shape[1]) - (chain.activation != "sigmoid")
    if found != len(labels):
        raise ConfigError(f"{source} gives {found} classes beside the background, and there are {len(labels)} labels")
    return found


def self_test(chain: Chain) -> float:
    """Send an asymmetric phantom through a chain with a network that only looks; return the Dice of what comes back.

    The phantom is a small body with an arm on one side and a leg below, unlike any mirror image of itself, in oblique
    images: a chain that mirrors, shifts, scales or cuts it does not give it back. Where there are several roles, each
    is looked at by itself, those after the first on a larger grid; the Dice is the lowest.
    """
    phantom = torch.zeros(PHANTOM, dtype=torch.int16)
    phantom[10:30, 18:38, 16:32] = phantom[20:26, 24:32, 4:16] = phantom[2:10, 20:30, 22:30] = 1000
    turn = np.deg2rad(8)
    tilted = np.array([[0, np.sin(turn), np.cos(turn)], [0, np.cos(turn), -np.sin(turn)], [1, 0, 0]])
    affine = np.eye(4)
    affine[:3, :3] = tilted * (5.0, 4.0, 4.5)
    looks = replace(
        chain, clip=(), clip_percentiles=(), scale=(0.0, 1000.0), normalise=False, activation="none", largest=(),
        context=0, mirror=(), each={},
    )  # fmt: skip
    larger, moved = torch.nn.functional.pad(phantom, [MARGIN] * 6), affine.copy()
    moved[:3, 3] -= affine[:3, :3].sum(1) * MARGIN
    images = [(phantom, affine), *[(larger, moved)] * (len(chain.roles) - 1)]
    return min(_likeness(looks, images, role) for role in range(len(images)))


def _likeness(chain: Chain, images: Sequence[Placed], role: int) -> float:
    """Return the Dice of the first image with what a network sees that looks at one role alone."""
    body = images[0][0] > 0

    def look(tiles: torch.Tensor) -> torch.Tensor:
        return torch.cat([1 - tiles[:, role : role + 1], tiles[:, role : role + 1]], 1)

    seen = segment(chain, images, look) > 0
    return float(2 * (seen & body).sum() / (seen.sum() + body.sum()))


def _made(
    scratch: Path, name: str, chain: Chain, network: Network, labels: Sequence[str], modality: str, axes: int
) -> tuple[Path, Path, Path]:
    """Write the three folders below `scratch`."""
    volume, net, plugin = scratch / name, scratch / f"{name}_net", scratch / "plugin"
    shutil.copytree(SERVED, volume / "1" / "served", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(BACKEND / "volume_model.py", volume / "1" / "model.py")
    chain.write(volume / "1" / "chain.json")
    inputs = ",".join(ROLE_CONFIG.format(role=role) for role in chain.roles)
    (volume / "config.pbtxt").write_text(VOLUME_CONFIG.format(name=name, inputs=inputs))
    (net / "1").mkdir(parents=True)
    shutil.copyfile(BACKEND / "net_model.py", net / "1" / "model.py")
    network.save(net / "1")
    (net / "config.pbtxt").write_text(NET_CONFIG.format(name=name, dims=", ".join(["-1"] * axes)))
    plugin.mkdir()
    (plugin / "plugin.toml").write_text(_manifest(name, chain.roles, labels, modality))
    return volume, net, plugin


def _manifest(name: str, roles: Sequence[str], labels: Sequence[str], modality: str) -> str:
    """Return plugin.toml; where there are several roles, that a series is for one is guessed from its description."""
    which = WHICH if len(roles) > 1 else ""
    series = ((SERIES + which).format(role=role, modality=modality) for role in roles)
    segments = (SEGMENT.format(label=label, type=json.dumps(suggested(label))) for label in labels)
    return PLUGIN.format(name=name, title=name.replace("_", " ")) + "".join([*series, *segments])


def suggested(label: str) -> str:
    """Return SNOMED CT's code of the same name as a label, else that of any anatomical structure, to be replaced."""
    keyword = "".join(word.capitalize() for word in label.replace("_", " ").split())
    return f"SCT.{keyword}" if keyword in codes.SCT.dir() else "SCT.AnatomicalStructure"
