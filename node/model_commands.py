"""The commands for models, `isocenter model …`: their arguments and their output."""

from pathlib import Path
from typing import Annotated

import typer

from node import catalogue_commands
from node.command_options import (
    DEFAULT,
    AsJson,
    ConfigFile,
    log_for_people,
    print_json,
    progress,
    reported_errors,
    while_awaited,
)

model_app = typer.Typer(help="Bring your own model, or get a public one.", no_args_is_help=True)
catalogue_commands.add_to(model_app)


@model_app.command("list")
def model_list(config: ConfigFile = DEFAULT, *, as_json: AsJson = False) -> None:
    """List the models: kind, versions, state on the servers, and which plugins use them."""
    from dataclasses import asdict

    from node.host import find_plugins
    from node.models import listed
    from node.settings import Settings

    with reported_errors():
        settings = Settings.read(config)
        plugins = find_plugins(settings.plugin_folders)
        triton = settings.triton
        found = list(listed(triton.model_repository, triton.urls, plugins, triton.included))
    if as_json:
        away = [line for line in found if isinstance(line, str)]
        print_json({"models": [asdict(model) for model in found if not isinstance(model, str)], "away": away})
        return
    for line in found:
        typer.echo(line)


@model_app.command("add")
def model_add(
    source: Annotated[
        Path,
        typer.Argument(
            help="A TorchScript, torch.export or ONNX file, weights with --network, an nnU-Net results folder, a MONAI "
            "bundle, or a model's Triton folder."
        ),
    ],
    name: Annotated[str, typer.Option(help="What model and plugin are called.")],
    labels: Annotated[str, typer.Option(help="Names of the segments in the order of the classes, with commas.")] = "",
    modality: Annotated[str, typer.Option(help="Of the series it takes; CT if the model names none.")] = "",
    chain: Annotated[Path | None, typer.Option(help="A TOML file with the steps before and after the network.")] = None,
    network: Annotated[
        str, typer.Option(help="For a file of weights: monai.networks.nets.UNet(…) or FILE.py:CLASS(…).")
    ] = "",
    backend: Annotated[
        str,
        typer.Option(help="Triton backend: python; onnxruntime, tensorrt or pytorch in NVIDIA's container."),
    ] = "python",
    validated_on: Annotated[
        str,
        typer.Option(help="The data these weights were validated on; without it, results say: validation unknown."),
    ] = "",
    guard: Annotated[
        str, typer.Option(help="The guard that judges the images first: NAME of the model guard_NAME.")
    ] = "",
    *,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust", help="Load files that can hold code: TorchScript, torch.export, FILE.py, a model of Triton."
        ),
    ] = False,
    config: ConfigFile = DEFAULT,
) -> None:
    """Make a Triton model and a plugin of a network."""
    import sys

    from node.engine import preload_children
    from node.models import add
    from node.sandbox import landlock_version
    from node.settings import Settings

    with reported_errors():
        settings = Settings.read(config)
        named = [label.strip() for label in labels.split(",") if label.strip()]
        preload_children(sys.modules[add.__module__])
        with progress("loading the network, and asking it about a phantom"):
            added = add(
                source, name, models=settings.triton.model_repository, plugins=settings.plugins[0], labels=named,
                modality=modality, chain=chain, builder=network, backend=backend, trust=trust,
                validated_on=validated_on, guard=guard,
            )  # fmt: skip
    if trust and not landlock_version():
        typer.echo("this kernel has no Landlock: what was trusted was loaded without being confined")
    phantom = "" if added.likeness is None else f"; a phantom came back with a Dice of {added.likeness:.3f}"
    typer.echo(f"{added.kind}, {added.classes} classes{phantom}")
    for folder in added.folders:
        typer.echo(folder)


@model_app.command("export")
def model_export(
    folder: Annotated[Path, typer.Argument(help="Where the repository is written; a new folder is made.")],
    model: Annotated[
        list[str] | None, typer.Option(help="Export this model; may be repeated. Without it, all that routes need.")
    ] = None,
    config: ConfigFile = DEFAULT,
) -> None:
    """Write models as a Triton repository that stands alone, for a server without isocenter."""
    from node.app import load_routes
    from node.models.export import export
    from node.settings import Settings

    with reported_errors():
        settings = Settings.read(config)
        names = model or [name.partition(":")[0] for name in load_routes(settings).models]
        written = export(settings.triton.model_repository, folder, names, settings.triton.included)
        for line in while_awaited(written, "copying"):
            typer.echo(line)
    typer.echo(f"serve it: tritonserver --model-repository={folder}; its Python needs PyTorch and NumPy")


@model_app.command("compare")
def model_compare(
    name: Annotated[str, typer.Argument(help="A plugin that a model was added as.")],
    framework: Annotated[
        str,
        typer.Option("--with", help="nnunet, monai, or torch: what runs the model here, without a server."),
    ],
    folder: Annotated[Path, typer.Option("--on", help="A folder of DICOM files of one study.")],
    source: Annotated[
        Path | None, typer.Option(help="The framework's model, if it is no longer where it was added from.")
    ] = None,
    config: ConfigFile = DEFAULT,
) -> None:
    """Compare a served model with its framework's own answer, and write it into the model card."""
    from node.models.compare import compare
    from node.settings import Settings

    log_for_people()
    with reported_errors():
        lines = compare(Settings.read(config), name, framework, folder, source)
        for line in while_awaited(lines, f"asking the served model, and {framework}"):
            typer.echo(line)
