"""`isocenter model compare`: the same images through the served model and through the framework it came from."""

import importlib
import importlib.metadata
import importlib.util
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from node.commands.try_plugin import find, what_fits
from node.errors import ConfigError
from node.host import Plugin
from node.images.series import Volume
from node.models import monai_bundle, nnunet_folder
from node.models.import_source import Source
from node.models.model_card import CARD, SOURCE, compared
from node.models.network_file import read
from node.route.planning import describe
from node.serving import chains
from node.serving.network_loader import network_file
from node.settings import Settings
from node.triton import GrpcTriton, Servers
from node.triton.model_config import model_folder
from node.triton.model_inputs import volume_inputs

Answer = Mapping[str, NDArray[Any]]
HEADING = "| output | served | {framework} | |\n|---|---|---|---|"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a framework is asked: where its model lies, the volume model that was made of it, and the images.

    `volumes` has one for each role, (slice, row, column), in the order of the roles.
    """

    source: Path
    model: Path
    volumes: Mapping[str, Volume]


@dataclass(frozen=True, slots=True, kw_only=True)
class Framework:
    """How to ask a framework: the package it needs, how that is installed, and what gives its own answer.

    The answer has the outputs of the volume model that the framework gives too, on the same grid.
    """

    package: str
    install: str
    answer: Callable[[Asked], Answer]


def compare(settings: Settings, name: str, framework: str, folder: Path, source: Path | None = None) -> Iterator[str]:
    """Send images through the served model and through a framework's own pipeline; yield how far they agree.

    Whole numbers are labels: the Dice of each. Of other numbers the largest and the mean difference. The table goes
    into the plugin's model card.

    Parameters
    ----------
    folder
        DICOM images of one study; all series that fit the plugin are compared.
    source
        Where the framework's model lies, if it is no longer where it was when it was added.

    Raises
    ------
    ConfigError
        There is no such plugin or framework, the framework is not installed, its model is gone, or nothing fits.
    """
    plugin = find(settings, name)
    if plugin.manifest.model is None:
        raise ConfigError(f"{plugin.name} has code of its own, and no single model that could be compared")
    if framework not in FRAMEWORKS:
        raise ConfigError(f"there is no framework {framework!r} to compare with; there are: {', '.join(FRAMEWORKS)}")
    theirs = FRAMEWORKS[framework]
    if importlib.util.find_spec(theirs.package) is None:
        raise ConfigError(f"{framework} is not installed here: {theirs.install}")
    model = model_folder((settings.triton.model_repository, *settings.triton.included), plugin.manifest.model.name)
    place = source or _source(model)
    fitting = yield from what_fits(plugin, folder)
    inputs = [{role: fitting.series[key] for role, key in key_of_role.items()} for key_of_role in fitting.inputs]
    volumes = [{role: series.volume() for role, series in series_of_role.items()} for series_of_role in inputs]
    lines: list[str] = []
    for case, served in zip(zip(inputs, volumes, strict=True), _served(settings, plugin, volumes), strict=True):
        own = theirs.answer(Asked(source=place, model=model, volumes=case[1]))
        lines += ["; ".join(f"{role}: {describe(series)}" for role, series in case[0].items()), ""]
        lines += [HEADING.format(framework=f"{theirs.package} {importlib.metadata.version(theirs.package)}")]
        lines += [*rows(served, own, [segment.label for segment in plugin.manifest.segment]), ""]
    yield from lines
    card = plugin.folder / CARD
    text = card.read_text(encoding="utf-8") if card.is_file() else f"# Model card: {plugin.name}\n"
    card.write_text(compared(text, framework, lines[:-1]), encoding="utf-8")
    yield f"written into {card}"


def _source(model: Path) -> Path:
    """Return where a model was added from."""
    file = model / SOURCE
    if not file.is_file():
        raise ConfigError(f"{model} does not tell where it comes from: say it, --source")
    source = Path(json.loads(file.read_text(encoding="utf-8"))["path"])
    if not source.exists():
        raise ConfigError(f"{source}, which the model was made of, is gone: say where it is now, --source")
    return source


def _served(settings: Settings, plugin: Plugin, volumes: Sequence[Mapping[str, Volume]]) -> list[Answer]:
    """Return what the model on Triton answers to each."""
    manifest = plugin.manifest
    assert manifest.model is not None  # noqa: S101 (a plugin that is a manifest alone has one)
    with (
        tempfile.TemporaryDirectory() as scratch,
        Servers(settings.triton, Path(scratch) / "triton.log") as servers,
    ):
        triton = GrpcTriton(servers.urls, deadline_seconds=settings.triton.deadline_seconds)
        try:
            triton.prepare(manifest.models, settings.triton.deadline_seconds)
            return [triton.infer(manifest.model.name, **volume_inputs(volumes_of_role)) for volumes_of_role in volumes]
        finally:
            triton.close()


def rows(served: Answer, own: Answer, labels: Sequence[str]) -> Iterator[str]:
    """Yield a row of the table for each label, or each output that is no label map."""
    for output, theirs in own.items():
        ours = served[output]
        if ours.shape != theirs.shape:
            yield f"| {output} | {ours.shape} | {theirs.shape} | other shapes |"
        elif np.issubdtype(ours.dtype, np.integer):
            yield from (
                _dice(f"{number} {label}", ours == number, theirs == number) for number, label in enumerate(labels, 1)
            )
        else:
            difference = np.abs(ours.astype(np.float64) - theirs)
            yield f"| {output} | | | differs by {difference.max():.3g} at most, {difference.mean():.3g} in the mean |"


def _dice(label: str, ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> str:
    counted = int(ours.sum()), int(theirs.sum())
    dice = f"Dice {2 * int((ours & theirs).sum()) / sum(counted):.4f}" if sum(counted) else "in neither"
    return f"| {label} | {counted[0]} voxels | {counted[1]} voxels | {dice} |"


def of_torch(asked: Asked) -> Answer:
    """Return what the same chain answers here, with the network in this process and no server between."""
    own = asked.model.with_name(f"{asked.model.name}_net") / "1"
    file = network_file(asked.model / "1") or network_file(own, "model")
    if file is None:
        raise ConfigError(
            f"{asked.model} has no network of its own, and neither has {own}: there is nothing to compare"
        )
    images = [(torch.from_numpy(volume.array), volume.affine) for volume in asked.volumes.values()]
    network = read(file, trust=True)  # it was trusted when it was added: Triton runs it from this folder
    with torch.inference_mode():
        answer = chains.answer(chains.read(asked.model / "1"), images, network.ask)
    return {name: np.asarray(value) for name, value in answer.items() if name != "affine"}


def of_nnunet(asked: Asked) -> Answer:
    """Return what nnU-Net's own predictor answers to the images as files, as its command line does."""
    itk = importlib.import_module("SimpleITK")  # nnU-Net needs it too
    folder, checkpoints = nnunet_folder.checkpoints(asked.source)
    for checkpoint in checkpoints:
        nnunet_folder.load_checkpoint(checkpoint, trust=False)  # nnU-Net itself would run code in it
    ending = json.loads((folder / nnunet_folder.DATASET).read_text(encoding="utf-8"))["file_ending"]
    with tempfile.TemporaryDirectory() as scratch, redirect_stdout(StringIO()):
        inference = importlib.import_module("nnunetv2.inference.predict_from_raw_data")
        files = []
        for number, volume in enumerate(asked.volumes.values()):
            lengths = np.linalg.norm(volume.affine[:3, :3], axis=0)
            image = itk.GetImageFromArray(volume.array)
            image.SetOrigin(volume.affine[:3, 3].tolist())
            image.SetSpacing(lengths[::-1].tolist())
            image.SetDirection((volume.affine[:3, :3] / lengths)[:, ::-1].ravel().tolist())
            files.append(f"{scratch}/image_{number:04d}{ending}")
            itk.WriteImage(image, files[-1])
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        predictor = inference.nnUNetPredictor(device=device, allow_tqdm=False)
        folds = tuple(checkpoint.parent.name.removeprefix("fold_") for checkpoint in checkpoints)
        predictor.initialize_from_trained_model_folder(str(folder), folds, checkpoints[0].name)
        predictor.predict_from_files_sequential([files], [f"{scratch}/labels"])
        return {"labels": itk.GetArrayFromImage(itk.ReadImage(f"{scratch}/labels{ending}"))}


def of_monai(asked: Asked) -> Answer:
    """Return what MONAI's own transforms, inferer and network answer to the images as files.

    Only what `read_bundle` understood without trust is built, so that no code of the bundle runs here either.
    """
    monai_bundle.read_bundle(Source(path=asked.source))
    monai, nibabel = importlib.import_module("monai.bundle"), importlib.import_module("nibabel")
    config = monai_bundle.configuration(asked.source)
    parser = monai.ConfigParser()
    parser.read_config(str(config.path))
    before, after, name = (monai_bundle.named(config, names) for names in monai_bundle.PARTS)
    post = parser.get_parsed_content(after)
    network = _of_bundle(parser, name, asked.source / monai_bundle.MODELS)
    with tempfile.TemporaryDirectory() as scratch, torch.inference_mode(), redirect_stdout(StringIO()):
        files = []
        for number, volume in enumerate(asked.volumes.values()):
            affine = np.diag([-1, -1, 1, 1]) @ volume.affine[:, [2, 1, 0, 3]]  # (column, row, slice), RAS
            files.append(f"{scratch}/image_{number}.nii.gz")
            nibabel.save(nibabel.Nifti1Image(volume.array.transpose(2, 1, 0), affine), files[-1])
        data = parser.get_parsed_content(before)({"image": files if len(files) > 1 else files[0]})
        data["pred"] = parser.get_parsed_content("inferer")(data["image"][None], network)[0]
        for step in getattr(post, "transforms", [post]):
            data = data if type(step).__name__.startswith("SaveImage") else step(data)
        labels = np.asarray(data["pred"])
    return {"labels": (labels[0] if len(labels) == 1 else labels.argmax(0)).astype(np.uint8).transpose(2, 1, 0)}


def _of_bundle(parser: Any, name: str, models: Path) -> torch.nn.Module:
    """Return the network of a bundle as MONAI has it; never its script, which can hold code."""
    network: torch.nn.Module = parser.get_parsed_content(name)
    held = torch.load(models / monai_bundle.WEIGHTS, map_location="cpu", weights_only=True)
    network.load_state_dict(held.get("model", held))
    return network.cpu().eval()


FRAMEWORKS: Mapping[str, Framework] = {
    "monai": Framework(package="monai", install='pip install "isocenter[monai]"', answer=of_monai),
    "nnunet": Framework(package="nnunetv2", install='pip install "isocenter[nnunet]"', answer=of_nnunet),
    "torch": Framework(package="torch", install="pip install torch", answer=of_torch),
}
"""What `--with` names."""
