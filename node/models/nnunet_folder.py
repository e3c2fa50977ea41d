"""A results folder of nnU-Net v2 as a source: its plans, its labels, and the networks of its folds."""

import importlib.util
import json
import pickle
import re
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from node.errors import ConfigError
from node.models.import_source import Brought, Source
from node.models.network_file import of_module
from node.serving.nnunet import ROLE, NnunetPlan, Values
from node.toml_files import load_toml

PLANS, DATASET = "plans.json", "dataset.json"
CHECKPOINTS = "checkpoint_final.pth", "checkpoint_best.pth"
ORIENTATIONS = {
    "SimpleITKIO": "native",
    "NibabelIO": "native",
    "SimpleITKIOWithReorient": "SAR",
    "NibabelIOWithReorient": "SAR",
}
"""How nnU-Net read the images it was trained on → in which direction the axes of its arrays grew, slice first."""
RESAMPLING = {
    "resample_data_or_seg_to_shape": ("order", "order_z"),
    "resample_torch_fornnunet": (),
}
"""nnU-Net's functions that are done here → which of their arguments are orders; without, linear and nearest across."""
MODALITIES = {
    "CT": r"ct|cbct",
    "PT": r"pet|pt|suv",
    "MR": r"mri?|t1\w*|t2\w*|flair|dwi|adc|dce|pd\w*|swi|bold",
    "US": r"us|ultrasound",
    "MG": r"mg|mammo\w*",
}
"""Modality of DICOM → what nnU-Net's users call its channel."""
ARCHITECTURES = "dynamic_network_architectures."
MOST_TILES = 16
PLAIN = [np.core.multiarray.scalar, np.dtype, *(type(np.dtype(kind)) for kind in ("f8", "f4", "i8"))]  # type: ignore[attr-defined]
"""What nnU-Net's record of its training is made of, beside what torch takes for plain."""
DIRECTION = (
    "nnU-Net took its images as they came ({reader}), and its folder does not say in which direction their axes grew; "
    "here they are taken as the DICOM images have them: slice, row, column. Where the training images came otherwise, "
    'from other software or in other planes, say it when adding, `orientation = "SAR"` in the chain, and compare left '
    "with right on a known case."
)
MISSING = 'nnU-Net reads its own plans: pip install "isocenter[nnunet]"'


def is_results(path: Path) -> bool:
    """Return whether a path is a results folder of nnU-Net, one of its folds, or a folder of several such."""
    return path.is_dir() and (any((place / PLANS).is_file() for place in (path, path.parent)) or bool(_below(path)))


def _below(path: Path) -> list[Path]:
    return sorted(plans.parent for plans in path.glob(f"*/{PLANS}"))


class Folds(nn.Module):
    """The networks of several folds as a single network: its channels are theirs, fold after fold."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, tiles: Tensor) -> Tensor:
        """Answer tiles (tile, channel, …) with (tile, fold · class, …)."""
        return torch.cat([network(tiles) for network in self.networks], 1)


def read_results(source: Source) -> Brought:
    """Read the results folder of one configuration, or one fold of it.

    Raises
    ------
    ConfigError
        A file is missing or cannot be read, nnU-Net is not installed, or the model needs what is not served: the second
        stage of a cascade, pictures without geometry, a preprocessor or a network of the user's own. The message says
        which, and what to do.
    """
    folder, files = checkpoints(source.path)
    if importlib.util.find_spec("nnunetv2") is None:
        raise ConfigError(f"{source.path}: {MISSING}")
    loaded = [load_checkpoint(file, trust=source.trust) for file in files]
    plans, dataset = (json.loads((folder / name).read_text(encoding="utf-8")) for name in (PLANS, DATASET))
    try:
        with redirect_stdout(StringIO()):  # nnU-Net tells of environment variables that only training needs
            plan, labels, network = _understood(folder, plans, dataset, loaded, trust=source.trust)
        if source.chain is not None:
            plan = NnunetPlan.of({**asdict(plan), **load_toml(source.chain)})
    except KeyError as error:
        raise ConfigError(f"{folder}: nnU-Net's files lack {error}; they are of version 1, or not whole") from error
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{source.chain or folder}: {error}") from error
    example = (1, len(plan.roles), *plan.tile)
    remarks = (DIRECTION.format(reader=plans["image_reader_writer"]),) if plan.orientation == "native" else ()
    return Brought(
        network=of_module(network, example, kind="nnU-Net"),
        chain=plan,
        example=example,
        labels=labels,
        modality=modality(_channels(dataset)),
        stated=", ".join(_channels(dataset)),
        remarks=remarks,
    )


def checkpoints(path: Path) -> tuple[Path, list[Path]]:
    """Return the results folder and the checkpoints to be served: of the fold that was named, else of all."""
    if not (path / PLANS).is_file() and (path.parent / PLANS).is_file():
        folder, folds = path.parent, [path]
    elif not (path / PLANS).is_file():
        names = ", ".join(folder.name for folder in _below(path))
        raise ConfigError(f"{path} holds several results of nnU-Net; name one of them: {names}")
    else:
        folder, folds = path, sorted(path.glob("fold_[0-9]*")) or [path / "fold_all"]
    for name in CHECKPOINTS:
        if found := [fold / name for fold in folds if (fold / name).is_file()]:
            return folder, found
    raise ConfigError(f"{path} has no fold with {' or '.join(CHECKPOINTS)}: train one, or copy it there")


def load_checkpoint(checkpoint: Path, *, trust: bool) -> Mapping[str, Any]:
    """Load a checkpoint; what is in it beside numbers and text is built only where it is trusted."""
    try:
        with torch.serialization.safe_globals(PLAIN):
            held: Mapping[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=not trust)
    except pickle.UnpicklingError as error:
        raise ConfigError(f"{checkpoint} holds more than numbers and text, which is code: see --trust") from error
    except (EOFError, RuntimeError) as error:
        raise ConfigError(f"{checkpoint} cannot be read: {' '.join(str(error).split())[:200]}") from error
    return held


def _understood(
    folder: Path,
    plans: Mapping[str, Any],
    dataset: Mapping[str, Any],
    checkpoints: Sequence[Mapping[str, Any]],
    *,
    trust: bool,
) -> tuple[NnunetPlan, tuple[str, ...], nn.Module]:
    """Return what the plans say, the names of the labels, and the network of all folds."""
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans  # noqa: PLC0415 (where it is installed)
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager  # noqa: PLC0415

    manager = PlansManager(dict(plans))
    name = checkpoints[0]["init_args"]["configuration"]
    configuration = manager.get_configuration(name)
    for wrong, sentence in (
        (
            configuration.previous_stage_name is not None,
            f"{name} is the second stage of a cascade and not served; name the folder of 3d_fullres, 3d_lowres or 2d",
        ),
        (
            configuration.preprocessor_name != "DefaultPreprocessor",
            f"its preprocessor {configuration.preprocessor_name} is not nnU-Net's default, and is not served",
        ),
        (
            plans["image_reader_writer"] not in ORIENTATIONS,
            f"it was trained on pictures without geometry ({plans['image_reader_writer']}), and is not served",
        ),
        (
            not configuration.network_arch_class_name.startswith(ARCHITECTURES) and not trust,
            f"its network {configuration.network_arch_class_name} is code: read it, and say --trust to have it run",
        ),
    ):
        if wrong:
            raise ConfigError(f"{folder}: {sentence}")
    plan = _plan(plans, dataset, configuration, checkpoints[0].get("inference_allowed_mirroring_axes"))
    names, heads = _labels(dataset["labels"], dataset.get("regions_class_order"))
    networks = []
    for checkpoint in checkpoints:
        network = get_network_from_plans(
            configuration.network_arch_class_name,
            configuration.network_arch_init_kwargs,
            configuration.network_arch_init_kwargs_req_import,
            len(plan.roles),
            heads,
            allow_init=False,
            deep_supervision=False,
        ).eval()
        try:
            network.load_state_dict(checkpoint["network_weights"])
        except RuntimeError as error:
            raise ConfigError(
                f"{folder}: the weights do not fit the network of its plans; {checkpoint['trainer_name']} made another"
            ) from error
        networks.append(network)
    return replace(plan, folds=len(networks)), names, Folds(networks).eval()


def _plan(
    plans: Mapping[str, Any], dataset: Mapping[str, Any], configuration: Any, mirror: Sequence[int] | None
) -> NnunetPlan:
    """Return nnU-Net's plans as what is done on the server."""
    channels = _channels(dataset)
    trained = plans["foreground_intensity_properties_per_channel"]
    order, across = _orders(configuration.configuration, "data")
    logits_order, logits_across = _orders(configuration.configuration, "probabilities")
    separate = {
        configuration.configuration[f"resampling_fn_{what}_kwargs"].get("force_separate_z")
        for what in ("data", "probabilities")
    }
    if len(separate) > 1:
        raise ValueError("force_separate_z differs between images and probabilities, which is not served")
    return NnunetPlan(
        orientation=ORIENTATIONS[plans["image_reader_writer"]],
        transpose=tuple(plans["transpose_forward"]),
        spacing=tuple(configuration.spacing),
        values=tuple(
            _values(scheme, masked, trained[str(number)])
            for number, (scheme, masked) in enumerate(
                zip(configuration.normalization_schemes, configuration.use_mask_for_norm, strict=True)
            )
        ),
        order=order,
        order_across=across,
        logits_order=logits_order,
        logits_order_across=logits_across,
        separate=separate.pop(),
        tile=tuple(configuration.patch_size),
        tiles_at_once=min(configuration.batch_size, MOST_TILES),  # what training had memory for
        mirror=tuple(mirror or ()),
        regions=tuple(dataset.get("regions_class_order") or ()) if _has_regions(dataset["labels"]) else (),
        roles=roles(channels),
    )


def _values(scheme: str, masked: bool, trained: Mapping[str, float]) -> Values:  # noqa: FBT001 (as the plans list it)
    """Return how a channel is normalised: by the training set's own numbers, or by its own."""
    if scheme != "CTNormalization":
        return Values(scheme=scheme, masked=masked and scheme == "ZScoreNormalization")  # no other asks for the mask
    return Values(
        scheme=scheme,
        mean=float(trained["mean"]),
        std=float(trained["std"]),
        percentile_00_5=float(trained["percentile_00_5"]),
        percentile_99_5=float(trained["percentile_99_5"]),
    )


def _orders(configuration: Mapping[str, Any], what: str) -> tuple[int, int]:
    """Return the order of the spline within planes, and across them."""
    name = configuration[f"resampling_fn_{what}"]
    if name not in RESAMPLING:
        raise ValueError(f"its resampling {name} is none of {', '.join(RESAMPLING)}, and is not served")
    words = configuration[f"resampling_fn_{what}_kwargs"]
    within, across = (words[key] for key in RESAMPLING[name]) if RESAMPLING[name] else (1, 0)
    return within, across


def _channels(dataset: Mapping[str, Any]) -> list[str]:
    """Return the names of the input channels, in their order."""
    names = dataset.get("channel_names") or dataset["modality"]
    return [names[key] for key in sorted(names, key=int)]


def roles(channels: Sequence[str]) -> tuple[str, ...]:
    """Return names of roles for nnU-Net's channels; a single channel is called image."""
    if len(channels) == 1:
        return (ROLE,)
    plain = [re.sub(r"\W+", "_", name.lower()).strip("_")[:24] for name in channels]
    return tuple(
        name if re.match("[a-z]", name) and plain.count(name) == 1 else f"channel_{number}"
        for number, name in enumerate(plain)
    )


def modality(channels: Sequence[str]) -> str:
    """Return DICOM's word for what a channel is called; empty where it tells nothing."""
    words = {word for name in channels for word in re.split(r"[\W_]+", name.lower())}
    found = (modality for modality, pattern in MODALITIES.items() if any(re.fullmatch(pattern, word) for word in words))
    return next(found, "")


def _has_regions(labels: Mapping[str, Any]) -> bool:
    return any(isinstance(value, list) and len(value) > 1 for value in labels.values())


def _labels(labels: Mapping[str, Any], order: Sequence[int] | None) -> tuple[tuple[str, ...], int]:
    """Return the names of the segments, in the order of nnU-Net's numbers, and how many channels the network gives.

    The label to be ignored in training is no class. Of regions, a label is what no later region covers.
    """
    named = {name: value for name, value in labels.items() if name not in ("background", "ignore")}
    if not _has_regions(labels):
        numbers = {int(value[0] if isinstance(value, list) else value): name for name, value in named.items()}
        if sorted(numbers) != list(range(1, len(numbers) + 1)):
            raise ValueError("labels are not numbered 1, 2, 3 …, which nnU-Net asks for")
        return tuple(numbers[number] for number in sorted(numbers)), len(numbers) + 1
    regions = [(name, set(value) if isinstance(value, list) else {value}) for name, value in named.items()]
    if order is None or len(order) != len(regions):
        raise ValueError("regions_class_order has not one number for each region")
    rest = {
        label: " without ".join(filter(None, [name, " and ".join(_covering(covered, regions[number + 1 :]))]))
        for number, (label, (name, covered)) in enumerate(zip(order, regions, strict=True))
    }
    return tuple(rest[label][:64] for label in sorted(rest)), len(regions)


def _covering(region: set[int], later: Sequence[tuple[str, set[int]]]) -> list[str]:
    """Return the later regions that overlap a region, without those that lie within another of them."""
    over = [(name, covered) for name, covered in later if covered & region]
    return [name for name, covered in over if not any(covered < other for _, other in over)]
