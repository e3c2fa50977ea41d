"""`isocenter model add`: a network becomes a volume model, its network model, and a plugin that needs no code."""

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from node import codes
from node.errors import ConfigError
from node.models.brought import Brought, Reader, Source
from node.models.bundle import is_bundle, read_bundle
from node.models.network import EXTENT, read
from node.models.pbtxt import net_config, volume_config
from node.models.served.intensity import Intensity
from node.models.served.volume import Chain, Placed, Resize, segment
from node.toml import load_toml

SERVED = Path(__file__).with_name("served")
BACKEND = Path(__file__).with_name("backend")
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
FINDING = """
[[finding]]
label = "{label}"
name = {type}
"""
REGION = """
[[region]]
label = "{label}"
type = {type}
"""
DERIVED = """
[derived]
description = "{label}"
derivation = "DCM.ImageProcessing"     # how it was made, PS3.16 CID 7203
synthetic = false                      # whether it shows what was never measured
"""
TABLES = {"labels": SEGMENT, "findings": FINDING, "boxes": REGION, "image": DERIVED}
"""What plugin.toml says of each label, by the answer of the chain."""
CODE_LENGTH = 16
"""Code Value is SH: 16 characters at most (PS3.5 section 6.2)."""
PHANTOM, MARGIN = (40, 56, 48), 3
LIKENESS = 0.9
"""Dice of the phantom that came back with the one that was sent: less is mirrored, shifted, scaled or cut off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What was made: folders of the volume model, the network model and the plugin, and what the phantom told.

    `likeness` is None where nothing comes back that has a place, as with findings.
    """

    folders: tuple[Path, ...]
    kind: str
    classes: int
    likeness: float | None


def add(
    source: Path,
    name: str,
    *,
    models: Path,
    plugins: Path,
    labels: Sequence[str] = (),
    modality: str = "",
    chain: Path | None = None,
    builder: str = "",
    trust: bool = False,
) -> Added:
    """Make `models/NAME`, `models/NAME_net` and `plugins/NAME` from a network.

    Parameters
    ----------
    labels
        Names of the segments, in the order of the network's classes, without the background; those that the source
        tells without it.
    modality
        Of the images; what the source tells, or CT, without it.
    chain
        A TOML file with the fields of `Chain`, before those that the source tells.

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
    reader = next(reader for knows, reader in READERS if knows(source))
    brought = reader(Source(path=source, chain=chain, builder=builder, trust=trust))
    named = tuple(labels) or brought.labels
    classes = _classes(brought, named, source)
    likeness = None if brought.chain.answer == "findings" else self_test(replace(brought.chain, answer="labels"))
    if likeness is not None and likeness < LIKENESS:
        raise ConfigError(
            f"a phantom comes back through this chain with a Dice of {likeness:.2f}, not the same place and size: "
            f"look at orientation, spacing, size and align in {chain or source}"
        )
    with tempfile.TemporaryDirectory(dir=models) as scratch:
        made = _made(Path(scratch), name, brought, named, modality or brought.modality or "CT")
        for folder, place in zip(made, folders, strict=True):
            shutil.move(folder, place)
    return Added(folders=folders, kind=brought.network.kind, classes=classes, likeness=likeness)


def read_file(source: Source) -> Brought:
    """Read a network that comes alone, with the chain that was given beside it."""
    chain = _chain(source.chain)
    example = _example(chain)
    network = read(source.path, builder=source.builder, trust=source.trust, example=example)
    return Brought(network=network, chain=chain, example=example)


READERS: tuple[tuple[Callable[[Path], bool], Reader], ...] = (
    (is_bundle, read_bundle),
    (lambda _: True, read_file),
)
"""What a source is → who reads it; the first that knows it."""


def _chain(path: Path | None) -> Chain:
    if path is None:
        return Chain()
    try:
        return Chain.of(load_toml(path))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _example(chain: Chain) -> tuple[int, ...]:
    """Return the shape of one tile as the network gets it: (tile, channel, …)."""
    resized = next((step.extents for step in reversed(chain.in_turn()) if isinstance(step, Resize)), ())
    whole = chain.tile or tuple(extent or EXTENT for extent in chain.size or resized or chain.least or (0, 0, 0))
    if chain.planar:
        return (1, len(chain.channels) * (1 + 2 * chain.context), *whole[-2:])
    return (1, len(chain.channels), *whole)


def _classes(brought: Brought, labels: Sequence[str], source: Path) -> int:
    """Ask the network once; return how many classes, findings or images it gives, or kinds of boxes it may."""
    example, chain = brought.example, brought.chain
    if chain.answer == "boxes":
        if not labels:
            raise ConfigError(f"{source} finds things: say which, in the order of its classes, with --labels")
        return len(labels)
    try:
        answer = brought.network.ask(torch.zeros(example))
    except (RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{source} refuses a tile of {example}: {' '.join(str(error).split())[:300]}; give its extent as tile"
        ) from error
    extent = () if chain.answer == "findings" else example[2:]
    if answer.shape[0] != 1 or answer.shape[2:] != extent:
        raise ConfigError(f"{source} answers a tile of {example} with {tuple(answer.shape)}: another extent")
    beside = chain.answer == "labels" and chain.activation != "sigmoid"
    found = int(answer.shape[1]) - beside
    if found != len(labels):
        kinds = f"{found} classes beside the background" if beside else f"{found} classes"
        raise ConfigError(f"{source} gives {kinds}, and there are {len(labels)} labels")
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
    spatial = [one for one, step in zip(chain.steps, chain.in_turn(), strict=False) if not isinstance(step, Intensity)]
    looks = replace(
        chain, clip=(), clip_percentiles=(), scale=(0.0, 1000.0), normalise=False, mean=None, deviation=None,
        activation="none", largest=(), context=0, mirror=(), each={}, colour=False,
        steps=(*spatial, {"scale": (0.0, 1000.0)}) if spatial else (),
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


def _made(scratch: Path, name: str, brought: Brought, labels: Sequence[str], modality: str) -> tuple[Path, Path, Path]:
    """Write the three folders below `scratch`."""
    volume, net, plugin = scratch / name, scratch / f"{name}_net", scratch / "plugin"
    shutil.copytree(SERVED, volume / "1" / "served", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(BACKEND / "volume_model.py", volume / "1" / "model.py")
    brought.chain.write(volume / "1" / "chain.json")
    (volume / "config.pbtxt").write_text(volume_config(name, brought.chain))
    (net / "1").mkdir(parents=True)
    shutil.copyfile(BACKEND / "net_model.py", net / "1" / "model.py")
    brought.network.save(net / "1")
    (net / "config.pbtxt").write_text(net_config(name, brought.chain, len(brought.example)))
    plugin.mkdir()
    (plugin / "plugin.toml").write_text(_manifest(name, brought.chain, labels, modality))
    return volume, net, plugin


def _manifest(name: str, chain: Chain, labels: Sequence[str], modality: str) -> str:
    """Return plugin.toml; where there are several roles, that a series is for one is guessed from its description."""
    which = WHICH if len(chain.roles) > 1 else ""
    series = ((SERIES + which).format(role=role, modality=modality) for role in chain.roles)
    table = TABLES[chain.answer]
    told = (table.format(label=label, type=json.dumps(suggested(label, chain.answer))) for label in labels)
    return PLUGIN.format(name=name, title=name.replace("_", " ")) + "".join([*series, *told])


def suggested(label: str, answer: str = "labels") -> str | list[str]:
    """Return SNOMED CT's code of the same name as a label.

    Where there is none: of a segment that of any anatomical structure, to be replaced; else a code of the node's own.
    """
    words = label.replace("_", " ").split()
    keyword = "".join(word.capitalize() for word in words)
    if keyword in codes.SCT.dir():
        return f"SCT.{keyword}"
    if answer == "labels":
        return "SCT.AnatomicalStructure"
    return ["_".join(words).upper()[:CODE_LENGTH], codes.OWN_SCHEME, label]
