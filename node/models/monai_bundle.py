"""A MONAI bundle as a source: its inference configuration read as data, its network built by name.

See MONAI's bundle specification: configs/metadata.json and configs/inference.json (or .yaml), models/model.pt or .ts.
"""

import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from node.errors import ConfigError
from node.models import network_file
from node.models.bundle_config import Configuration
from node.models.import_source import Brought, Source
from node.models.monai_transforms import AFTER, BEFORE, INFERERS, Read, finished, read_all
from node.models.network_file import Network
from node.serving.chain import Chain, Resize
from node.toml_files import load_toml

CONFIGS, MODELS = "configs", "models"
INFERENCE = "inference.json", "inference.yaml", "inference.yml"
SCRIPTED, WEIGHTS = "model.ts", "model.pt"
BEFORE_NAMES = "preprocessing", "pre_transforms", "preprocess", "transforms_infer"
AFTER_NAMES = "postprocessing", "post_transforms", "postprocess"
NETWORK_NAMES = "network_def", "net", "network"
"""What bundles of the zoo call the parts of their configuration."""
PARTS = BEFORE_NAMES, AFTER_NAMES, NETWORK_NAMES
BACKGROUND = "background"
ANSWERS = {"segmentation": "labels", "labels": "labels", "classes": "findings"}
"""What metadata call the format of the network's output → the chain's answer; anything else is an image."""
SAMPLES = 3
"""Of a picture in colour."""


def is_bundle(path: Path) -> bool:
    """Say whether a folder is a MONAI bundle: it has an inference configuration and its metadata."""
    configs = path / CONFIGS
    return (configs / "metadata.json").is_file() and any((configs / name).is_file() for name in INFERENCE)


def configuration(path: Path) -> Configuration:
    """Return the inference configuration of a bundle."""
    folder = path / CONFIGS
    return Configuration.read(next(folder / name for name in INFERENCE if (folder / name).is_file()))


def named(inference: Configuration, names: Sequence[str]) -> str:
    """Return which of these names a part of the configuration has, empty where none."""
    return next((name for name in names if name in inference), "")


def read_bundle(source: Source) -> Brought:
    """Read a bundle.

    Raises
    ------
    ConfigError
        It does something that is not understood, which is named; or it needs code of its own, and `trust` is false.
    """
    inference = configuration(source.path)
    metadata = Configuration.read(source.path / CONFIGS / "metadata.json").words
    key, image = _format(metadata, "inputs", "image")
    answer, output_format = _format(metadata, "outputs", "pred")
    read = Read(planar=len(image.get("spatial_shape", (0, 0, 0))) == 2)
    try:
        read_all(_transforms(inference, BEFORE_NAMES), BEFORE, read, [key, "image"])
        read_all(_inferer(inference), INFERERS, read, [key])
        read_all(_transforms(inference, AFTER_NAMES), AFTER, read, [answer, "pred"])
        kind = "labels" if read.discrete else "image"
        words = {
            **_given(image, planar=read.planar),
            "answer": ANSWERS.get(str(output_format.get("format")), kind),
            **finished(read),
        }
        if words["answer"] == "findings" and read.discrete and "activation" not in read.chain:
            words["activation"] = "softmax"  # the largest wins, and a score must lie between 0 and 1
        chain = Chain.of({**words, **(load_toml(source.chain) if source.chain else {})})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{inference.path}: {error}") from error
    extents, fixed = _extents(chain, image)
    example = (1, int(image.get("num_channels", 1)), *extents)
    return Brought(
        network=_network(source, inference, example, fixed=fixed),
        chain=chain,
        example=example,
        labels=_labels(output_format),
        modality=_modality(image),
        stated=str(image.get("modality", "")),
    )


def _format(metadata: Mapping[str, Any], way: str, usual: str) -> tuple[str, Mapping[str, Any]]:
    """Return name and format of the first of the network's inputs or outputs."""
    several: Mapping[str, Any] = metadata.get("network_data_format", {}).get(way, {})
    return next(iter(several.items()), (usual, {}))


def _transforms(inference: Configuration, names: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return the transforms of a Compose, or none where the bundle has none of these names."""
    found = inference.get(named(inference, names))
    if found is None:
        return []
    transforms = found.get("transforms", [found]) if isinstance(found, dict) else found
    return list(transforms)


def _inferer(inference: Configuration) -> list[Mapping[str, Any]]:
    if "inferer" not in inference:
        raise ConfigError(f"{inference.path}: it says of no inferer how the network is asked")
    return [inference.get("inferer")]


def _given(image: Mapping[str, Any], *, planar: bool) -> dict[str, Any]:
    """Return what the network is given: a picture in colour, or a role for each channel, as the metadata call it."""
    count = int(image.get("num_channels", 1))
    if count == 1 or (planar and count == SAMPLES):
        return {"roles": ["image"], "colour": count == SAMPLES}
    named = [str(image.get("channel_def", {}).get(str(number), f"channel{number}")) for number in range(count)]
    return {"roles": ["".join(letter if letter.isalnum() else "_" for letter in name.lower()) for name in named]}


def _extents(chain: Chain, image: Mapping[str, Any]) -> tuple[tuple[int, ...], bool]:
    """Return the extent of one tile, of the chain or as the metadata give it, and whether every tile has it."""
    axes = 2 if chain.planar else 3
    stretched = next((step.extents[-axes:] for step in reversed(chain.in_turn()) if isinstance(step, Resize)), ())
    for extents in (chain.tile, stretched):
        if extents and all(extents):
            return extents, True
    shape = tuple(extent if isinstance(extent, int) else 0 for extent in image.get("spatial_shape", ()))
    return shape if len(shape) == axes and all(shape) else (network_file.EXTENT,) * axes, False


def _labels(output_format: Mapping[str, Any]) -> tuple[str, ...]:
    names = [
        str(name) for _, name in sorted(output_format.get("channel_def", {}).items(), key=lambda item: int(item[0]))
    ]
    return tuple(names[1:] if names and names[0].lower() == BACKGROUND else names)


def _modality(image: Mapping[str, Any]) -> str:
    """Return Modality (PS3.3 C.7.3.1.1.1) of what the metadata call it: "MR", "CT", "MRI, T1"."""
    words = str(image.get("modality", "")).upper().replace("MRI", "MR").replace(",", " ").split()
    return next((word for word in words if word in {"CT", "MR", "PT", "CR", "DX", "MG", "US", "OP", "XA"}), "")


def _network(source: Source, inference: Configuration, example: tuple[int, ...], *, fixed: bool) -> Network:
    """Return the network: as TorchScript where the bundle has that and is trusted, else built, with the weights."""
    models = source.path / MODELS
    if (models / SCRIPTED).is_file() and (source.trust or not (models / WEIGHTS).is_file()):
        return network_file.read(models / SCRIPTED, trust=source.trust)
    if not (models / WEIGHTS).is_file():
        raise ConfigError(f"{models} has neither {SCRIPTED} nor {WEIGHTS}: download the bundle's weights")
    if not (name := named(inference, NETWORK_NAMES)):
        raise ConfigError(f"{inference.path}: it does not say which network the weights are for")
    if source.trust:
        return network_file.with_weights(_trusted(source.path, inference, name), models / WEIGHTS, example, fixed=fixed)
    words = dict(inference.get(name))
    place = str(words.pop("_target_", ""))
    arguments = {key: value for key, value in words.items() if not key.startswith("_")}
    place = place if "." in place else f"monai.networks.nets.{place}"
    if not place.startswith("monai.networks."):
        raise ConfigError(f"{inference.path}: {place} is code of the bundle: read it, and say --trust to have it run")
    return network_file.with_weights(network_file.built(place, arguments), models / WEIGHTS, example, fixed=fixed)


def _trusted(folder: Path, inference: Configuration, name: str) -> torch.nn.Module:
    """Have MONAI build the network, running whatever code the bundle has for it."""
    if importlib.util.find_spec("monai") is None:
        raise ConfigError(f'{folder} needs MONAI: pip install "isocenter[monai]"')
    parser = importlib.import_module("monai.bundle").ConfigParser()
    parser.read_config(str(inference.path))
    sys.path.insert(0, str(folder))
    try:
        made: torch.nn.Module = parser.get_parsed_content(name)
    finally:
        sys.path.remove(str(folder))
    return made.cpu()
