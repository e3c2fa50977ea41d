"""The commands that begin a node, and keep it for years: their arguments and their output."""

from pathlib import Path
from typing import Annotated

import typer

from node.command_options import reported_errors


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(init)


def init(
    folder: Annotated[Path, typer.Argument(help="Where the node is to be; it may exist.")] = Path(),
    pacs: Annotated[str, typer.Option(help="AE@host:port of your PACS: results go there, and it may send.")] = "",
) -> None:
    """Begin a node: write a commented configuration, routes, and folders for plugins, models and data."""
    from node.commands import init

    with reported_errors():
        begun = init.init(folder, pacs)
    for file in begun.written:
        typer.echo(f"written: {file}")
    for file in begun.kept:
        typer.echo(f"kept as it is: {file}")
    typer.echo(typer.style("next:", bold=True))
    for line in begun.advice:
        typer.echo(f"  {line}")
