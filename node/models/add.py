"""`isocenter model add`: a network becomes a volume model and a plugin that needs no code."""

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from node.errors import ConfigError
from node.models import native_backends
from node.models.config_pbtxt import OwnModel, volume_config
from node.models.import_source import Brought, Reader, Source
from node.models.label_codes import UNKNOWN, by_name, label_codes
from node.models.made_in_sandbox import PICTURE, Made, ModelToAdd, made_in_sandbox, place_made
from node.models.manifest_lines import guard_line, kind_lines, kind_of
from node.models.model_card import CARD, SOURCE, card
from node.models.monai_bundle import is_bundle, read_bundle
from node.models.network_file import EXTENT, read
from node.models.nnunet_folder import is_results, read_results
from node.models.phantom_picture import draw
from node.models.triton_folder import ServedVolumeModel, copy, is_triton, served_network, try_out, understand
from node.models.trust import require_trust_of_folder
from node.results import MASK_THRESHOLD
from node.serving import chains
from node.serving.chain import Chain, Resize
from node.serving.chains import AnyChain
from node.serving.grid import Placed
from node.toml_files import load_toml

Mask = NDArray[np.bool_]
SERVING = Path(chains.__file__).parent
MODEL = 'from serving.volume_model import VolumeModel as TritonPythonModel\n\n__all__ = ["TritonPythonModel"]\n'
PLUGIN = """\
name = "{name}"
version = "1.0.0"
title = "{title}"
{kind}"""
DECLARED = """
[model]
name = "{name}"
"""
OWN_MODEL = """network = "{name}"                   # the model that runs the network
"""
CODED = """\
models = ["{name}"]
"""
SERIES = """
[series.{role}]
{guard}when.Modality = "{modality}"
"""
WHICH = """when.SeriesDescription = {{ matches = "(?i){role}" }}
"""
SEGMENT = """
[[segment]]
label = "{label}"
{lines}"""
FINDING = """
[[finding]]
label = "{label}"
name = {type}
threshold = {threshold:g}              # present from this score on; say how often that is right:
# operating_point = {{ sensitivity = 0.9, specificity = 0.8, on = "1,000 images of HOSPITAL" }}
"""
REGION = """
[[region]]
label = "{label}"
type = {type}
threshold = {threshold:g}              # boxes with a lower score are left out
"""
IMAGE = """
[derived]
description = "{label}"
derivation = "DCM.ImageProcessing"     # how it was made, PS3.16 CID 7203
synthetic = false                      # whether it shows what was never measured
"""
TABLES = {"labels": SEGMENT, "findings": FINDING, "boxes": REGION, "image": IMAGE}
"""What plugin.toml says of each label, by the answer of the chain."""
PHANTOM, MARGIN = (40, 56, 48), 3
LIKENESS = 0.9
"""Lowest Dice of the phantom and its answer: below it, the answer is mirrored, shifted, scaled or cut off."""


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
    backend: str = native_backends.PYTHON,
    trust: bool = False,
    validated_on: str = "",
    guard: str = "",
) -> Made:
    """Make `models/NAME` and `plugins/NAME` from a network, and `models/NAME_net` where another back end runs it.

    Parameters
    ----------
    labels
        Names of the segments, in the order of the network's classes, without the background; those that the source
        tells without it.
    modality
        Of the images; what the source tells, or CT, without it.
    chain
        A TOML file with the fields of `Chain`, before those that the source tells.
    trust
        Whether files that can hold code may be loaded.
    validated_on
        The data that these very weights were validated on, such as "LiTS, 131 CT of 7 hospitals": the plugin is then of
        kind "V". Without it, it is of kind "U": validation unknown.
    guard
        Name of the guard that every role names: the model `guard_NAME` of the repository judges its images first.
    backend
        What runs the network on Triton: "python", the volume model itself, everywhere; "onnxruntime", "tensorrt" or
        "pytorch", a model of its own, where the server is of NVIDIA's container.

    Raises
    ------
    ConfigError
        A folder is there already, the network cannot be read, answers in another extent or with another number of
        classes than there are labels, or the phantom did not come back as it was sent. Nothing is left behind.

    The network is loaded and asked in a child process, which is confined (`node.models.made_in_sandbox`).
    """
    order = ModelToAdd(
        source=Source(path=source, chain=chain, builder=builder, trust=trust),
        name=name,
        models=models,
        plugins=plugins,
        labels=tuple(labels),
        modality=modality,
        backend=backend,
        validated_on=validated_on,
        guard=guard,
    )
    order.check()
    with tempfile.TemporaryDirectory(dir=models) as scratch:
        return place_made(order, Path(scratch), made_in_sandbox(make, order, Path(scratch)))


def make(order: ModelToAdd, scratch: Path) -> Made:
    """Write the models and, last, the plugin into folders of their own below `scratch`; it alone loads the network."""
    source = order.source
    if is_triton(source.path):
        require_trust_of_folder(source.path, trust=source.trust)
        if isinstance(model := understand(source.path), ServedVolumeModel):
            return _beside(order, model, scratch)
    reader = next(reader for knows, reader in READERS if knows(source.path))
    brought = reader(source)
    named = order.labels or brought.labels
    classes = _classes(brought, named, source.path)
    likeness = None
    if brought.chain.answer != "findings":
        likeness, sent, back = self_test(brought.chain)
        if likeness < LIKENESS:
            draw(sent, back, scratch / PICTURE)
            raise ConfigError(
                f"a phantom comes back through this chain with a Dice of {likeness:.2f}, not the same place and size: "
                f"look at {order.picture}, and at orientation, spacing, size and align in {source.chain or source.path}"
            )
    modality = _modality(order, brought)
    folders = _made(
        scratch, order.name, brought, named, modality, source.path, order.backend, order.validated_on, order.guard
    )
    return Made(folders=folders, kind=brought.network.kind, classes=classes, likeness=likeness)


def read_file(source: Source) -> Brought:
    """Read a network that comes alone, with the chain that was given beside it."""
    chain = _chain(source.chain)
    example = _example(chain)
    network = read(source.path, builder=source.builder, trust=source.trust, example=example)
    return Brought(network=network, chain=chain, example=example)


def read_served(source: Source) -> Brought:
    """Read a network that Triton serves already, with the chain that was given beside it."""
    chain = _chain(source.chain)
    return Brought(network=served_network(source.path), chain=chain, example=_example(chain))


READERS: tuple[tuple[Callable[[Path], bool], Reader], ...] = (
    (is_results, read_results),
    (is_bundle, read_bundle),
    (is_triton, read_served),
    (lambda _: True, read_file),
)
"""What a source is → who reads it; the first that knows it."""


def _beside(order: ModelToAdd, model: ServedVolumeModel, scratch: Path) -> Made:
    """Write a volume model that Triton serves already, and a plugin with code beside it."""
    source, name, labels = order.source.path, order.name, order.labels
    if not labels:
        raise ConfigError(f"{source} gives labels: say what they are, with --labels")
    try_out(source, model, labels)
    volume, plugin = scratch / name, scratch / "plugin"
    copy(source, volume)
    plugin.mkdir()
    (plugin / "plugin.py").write_text(
        model.code(name, labels, lambda label: by_name(label) or UNKNOWN), encoding="utf-8"
    )
    words = (PLUGIN + CODED + SERIES).format(
        name=name,
        title=name.replace("_", " "),
        kind=kind_lines(order.validated_on),
        role="image",
        modality=order.modality or "CT",
        guard=guard_line(order.guard),
    )
    (plugin / "plugin.toml").write_text(words, encoding="utf-8")
    return Made(folders=(volume, plugin), kind=model.kind, classes=len(labels), likeness=None)


def _modality(order: ModelToAdd, brought: Brought) -> str:
    """Return Modality of the images; ConfigError if the source states one that is not understood: it is not guessed."""
    if order.modality or brought.modality:
        return order.modality or brought.modality
    if brought.stated is None:
        return "CT"
    stated = f"are {brought.stated!r}, which is no Modality of DICOM" if brought.stated else "are of no modality"
    raise ConfigError(f"{order.source.path} says that its images {stated}: say which, --modality MR")


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
    given = int(answer.shape[1])
    found = chain.labels_of(given)
    if found != len(labels):
        kinds = f"{found} classes" if found == given else f"{found} classes beside the background"
        raise ConfigError(f"{source} gives {kinds}, and there are {len(labels)} labels")
    return found


def self_test(chain: AnyChain) -> tuple[float, Mask, Mask]:
    """Send an asymmetric phantom through a chain with a network that only looks; return Dice, what went and came back.

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
    larger, moved = torch.nn.functional.pad(phantom, [MARGIN] * 6), affine.copy()
    moved[:3, 3] -= affine[:3, :3].sum(1) * MARGIN
    images = [(phantom, affine), *[(larger, moved)] * (len(chain.roles) - 1)]
    looking = chain.looking()
    return min((_likeness(looking, images, role) for role in range(len(images))), key=lambda likeness: likeness[0])


def _likeness(chain: AnyChain, images: Sequence[Placed], role: int) -> tuple[float, Mask, Mask]:
    """Return the Dice of the first image with what a network sees that looks at one role alone, and both."""
    body = images[0][0] > 0

    def look(tiles: torch.Tensor) -> torch.Tensor:
        return torch.cat([1 - tiles[:, role : role + 1], tiles[:, role : role + 1]], 1)

    seen = chains.segment(chain, images, look) > 0
    return float(2 * (seen & body).sum() / (seen.sum() + body.sum())), body.numpy(), seen.numpy()


def _made(
    scratch: Path,
    name: str,
    brought: Brought,
    labels: Sequence[str],
    modality: str,
    source: Path,
    backend: str,
    validated_on: str,
    guard: str,
) -> tuple[Path, ...]:
    """Write the models and, last, the plugin into folders of their own below `scratch`."""
    volume, plugin = scratch / name, scratch / "plugin" / name
    version, chain, network = volume / "1", brought.chain, None
    shutil.copytree(SERVING, version / "serving", ignore=shutil.ignore_patterns("__pycache__"))
    (version / "model.py").write_text(MODEL)
    chains.write(chain, version)
    if native_backends.is_own_model(brought, backend):
        own = scratch / f"{name}_net"
        network = OwnModel(name=own.name, names=native_backends.write(own, own.name, brought, backend))
    else:
        brought.network.save(version / "network")
    warm_up = brought.example if chain.tile and chain.answer != "boxes" else ()
    (volume / "config.pbtxt").write_text(volume_config(name, chain, network, warm_up, kind=kind_of(validated_on)))
    (volume / SOURCE).write_text(json.dumps({"kind": brought.network.kind, "path": str(source.resolve())}) + "\n")
    plugin.mkdir(parents=True)
    (plugin / "plugin.toml").write_text(_manifest(name, chain, labels, modality, network, validated_on, guard))
    suggestions = [(label, label_codes(label, chain.answer)) for label in labels]
    text = card(
        name,
        brought,
        suggestions,
        modality,
        source,
        version / chains.CHAIN,
        network.name if network else "",
        validated_on,
    )
    (plugin / CARD).write_text(text, encoding="utf-8")
    return (volume, *([scratch / network.name] if network else []), plugin)


def _manifest(
    name: str,
    chain: AnyChain,
    labels: Sequence[str],
    modality: str,
    network: OwnModel | None,
    validated_on: str,
    guard: str,
) -> str:
    """Return plugin.toml; where there are several roles, that a series is for one is guessed from its description."""
    which = WHICH if len(chain.roles) > 1 else ""
    line = guard_line(guard)
    series = ((SERIES + which).format(role=role, modality=modality, guard=line) for role in chain.roles)
    table = TABLES[chain.answer]
    threshold = chain.threshold if isinstance(chain, Chain) else MASK_THRESHOLD
    tables = (
        table.format(label=label, type=json.dumps(found.type), lines=found.lines(), threshold=threshold)
        for label, found in ((label, label_codes(label, chain.answer)) for label in labels)
    )
    own = OWN_MODEL.format(name=network.name) if network else ""
    begin = (PLUGIN + DECLARED).format(name=name, title=name.replace("_", " "), kind=kind_lines(validated_on))
    return begin + "".join([own, *series, *tables])
