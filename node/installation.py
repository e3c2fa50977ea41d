"""The commands that begin a node, and keep it for years: their arguments and their output."""

from pathlib import Path
from typing import Annotated

import typer

from node.command_options import DEFAULT, ConfigFile, fail, is_quiet, opened, print_steps, reported_errors
from node.exit_codes import NOTHING

service_app = typer.Typer(help="The node as a service of systemd.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (init, backup, restore, bundle, alive, conformance):
        app.command()(command)
    app.add_typer(service_app, name="service")


def init(
    folder: Annotated[Path, typer.Argument(help="Where the node is to be; it may exist.")] = Path(),
    pacs: Annotated[str, typer.Option(help="AE@host:port of your PACS: results go there, and it may send.")] = "",
) -> None:
    """Begin a node: write a commented configuration, routes, and folders for plugins, models and data."""
    from node.commands import init

    with reported_errors():
        begun = init.init(folder, pacs)
    for file in () if is_quiet() else begun.written:
        typer.echo(f"written: {file}")
    for file in begun.kept:
        typer.echo(f"kept as it is: {file}")
    typer.echo(typer.style("next:", bold=True))
    for line in begun.advice:
        typer.echo(f"  {line}")


def backup(
    file: Annotated[Path, typer.Argument(help="The file that is written, a tar.gz archive.")],
    config: ConfigFile = DEFAULT,
    *,
    models: Annotated[bool, typer.Option("--models", help="Also your own models, with their weights.")] = False,
    images: Annotated[bool, typer.Option("--images", help="Also the images and results in the spool.")] = False,
) -> None:
    """Back up ledger, configuration, routes and plugins into one file, while the node runs."""
    from node.commands import backup
    from node.settings import Settings

    with reported_errors():
        print_steps(backup.backup(config, Settings.read(config), file, models=models, images=images), "backing up")


def restore(
    file: Annotated[Path, typer.Argument(help="A file that isocenter backup wrote.")],
    config: ConfigFile = DEFAULT,
    *,
    ledger_only: Annotated[
        bool, typer.Option("--ledger-only", help="Only the ledger, for a configuration that is there.")
    ] = False,
) -> None:
    """Make a node of a backup: its configuration at --config, and all else where it says. Nothing is overwritten."""
    from node.commands import backup
    from node.settings import Settings

    with reported_errors():
        lines = backup.restore_ledger(file, Settings.read(config)) if ledger_only else backup.restore(file, config)
        print_steps(lines, "restoring")


def bundle(
    file: Annotated[Path, typer.Argument(help="The tar file that is written.")],
    wheel: Annotated[Path, typer.Option(help="The wheel of isocenter that is to be installed there.")],
    extra: Annotated[str, typer.Option(help="Extras of it, with commas: procrastinate, onnx.")] = "",
    model: Annotated[
        list[Path] | None, typer.Option(help="A model's folder that is to be packed; may be repeated.")
    ] = None,
    *,
    cpu: Annotated[bool, typer.Option("--cpu", help="With PyTorch's CPU build, for machines without a GPU.")] = False,
) -> None:
    """Pack all that an installation needs where there is no internet: wheels, models, digests."""
    from node.commands import bundle
    from node.commands.init import CPU_INDEX

    index = ["--extra-index-url", CPU_INDEX] if cpu else []
    with reported_errors():
        print_steps(bundle.bundle(file, wheel, extra, index=index, models=model or []), "bundling")


def alive(config: ConfigFile = DEFAULT) -> None:
    """Say whether a process of the node on this machine has reported itself lately. For probes."""
    import socket

    from node.commands import status

    with reported_errors():
        found = status.status(*opened(config))
    here = [
        process.name
        for process in found.processes
        if found.is_alive(process) and process.name.startswith(f"{socket.gethostname()}:")
    ]
    if not here:
        fail("no process of the node on this machine is alive", NOTHING)
    typer.echo(f"alive: {', '.join(here)}")


def conformance(
    config: Annotated[
        Path | None,
        typer.Option("--config", help="The configuration whose values are stated; without it, the defaults."),
    ] = None,
) -> None:
    """Print the DICOM Conformance Statement of the node in Markdown, after DICOM PS3.2 annex N."""
    from node.commands.conformance import statement
    from node.settings import Settings

    with reported_errors():
        typer.echo(statement(Settings.read(config) if config else Settings()), nl=False)


@service_app.command("install")
def service_install(
    config: ConfigFile = DEFAULT,
    *,
    only_print: Annotated[bool, typer.Option("--print", help="Only print the unit; nothing is written.")] = False,
) -> None:
    """Install the node as a service of systemd: a hardened unit, its own user, and what that user may read."""
    from node.commands import install_service
    from node.settings import Settings

    with reported_errors():
        settings = Settings.read(config)
        if only_print:
            typer.echo(install_service.unit(config, settings, gpu=install_service.has_gpu()), nl=False)
            return
        print_steps(install_service.install(config, settings), "installing")
