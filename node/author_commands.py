"""The commands of plugin authors, `isocenter plugin …`: their arguments and their output."""

import os
from pathlib import Path
from typing import Annotated

import typer

from node.command_options import (
    DEFAULT,
    PRIVATE,
    AsJson,
    ConfigFile,
    log_for_people,
    print_json,
    reported_errors,
    while_awaited,
)
from node.exit_codes import NOTHING

plugin_app = typer.Typer(help="What plugin authors need.", no_args_is_help=True)


@plugin_app.command("list")
def plugin_list(config: ConfigFile = DEFAULT, *, as_json: AsJson = False) -> None:
    """List the plugins that routes can name."""
    from node.host import find_plugins
    from node.settings import Settings

    with reported_errors():
        plugins = find_plugins(Settings.read(config).plugin_folders).values()
    found = [
        {
            "name": plugin.name,
            "version": plugin.manifest.version,
            "title": plugin.manifest.title,
            "roles": list(plugin.roles),
            "kind": plugin.manifest.kind,
            "validation": plugin.manifest.statement,
        }
        for plugin in plugins
    ]
    if as_json:
        print_json(found)
        return
    for each in found:
        roles = ", ".join(map(str, each["roles"]))
        typer.echo(
            f"{each['name']} {each['version']}  {each['title']}  ({roles})  {each['kind']}: {each['validation']}"
        )


@plugin_app.command("new")
def plugin_new(
    name: Annotated[str, typer.Argument(help="What plugin and model are called.")],
    start: Annotated[
        str,
        typer.Option(
            "--from", help="What to begin with: template, nodule-detector, radiograph-classifier or prior-comparison."
        ),
    ] = "template",
    config: ConfigFile = DEFAULT,
) -> None:
    """Make a plugin to begin with: it runs, and its test passes."""
    from node.commands.new_plugin import new_plugin
    from node.settings import Settings

    with reported_errors():
        settings = Settings.read(config)
        folders = new_plugin(name, settings.plugins[0], settings.triton.model_repository, start)
    for folder in folders:
        typer.echo(folder)
    typer.echo(f"try it: isocenter plugin try {name} FOLDER, with a folder of DICOM files; then change its plugin.py")


@plugin_app.command("test")
def plugin_test(
    plugin: Annotated[str, typer.Argument(help="A plugin's name, or its folder.")], config: ConfigFile = DEFAULT
) -> None:
    """Run the test of a plugin."""
    from node.commands.run_plugin_test import run_test
    from node.commands.try_plugin import find
    from node.settings import Settings

    with reported_errors():
        folder = Path(plugin)
        passed = run_test(folder if folder.is_dir() else find(Settings.read(config), plugin).folder)
    if not passed:
        raise typer.Exit(NOTHING)


@plugin_app.command("try")
def plugin_try(
    plugin: Annotated[str, typer.Argument(help="A plugin's name, or its folder.")],
    folder: Annotated[Path, typer.Argument(help="A folder of DICOM files of one study.")],
    out_folder: Annotated[Path, typer.Option("--out", help="Where the objects and the picture go.")] = Path("tried"),
    prior: Annotated[Path | None, typer.Option(help="A folder of DICOM files of an earlier study.")] = None,
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Run it again whenever the plugin is saved.")] = False,
    show: Annotated[bool, typer.Option("--open", help="Open the picture.")] = False,
    allow_demonstration: Annotated[
        bool,
        typer.Option(
            "--allow-demonstration", help="Ask a network that was trained on phantoms about other images, too."
        ),
    ] = False,
    config: ConfigFile = DEFAULT,
) -> None:
    """Run one plugin on a folder of DICOM files, with no node running."""
    from node.commands.try_plugin import PICTURE, try_plugin, until_saved
    from node.settings import Settings

    os.umask(PRIVATE)
    log_for_people()
    with reported_errors():
        settings = Settings.read(config)
        lines = try_plugin(
            settings, plugin, folder, out_folder, prior=prior, allow_demonstration=allow_demonstration,
            again=until_saved if watch else lambda _: False,
        )  # fmt: skip
        for line in while_awaited(lines, "trying"):
            typer.echo(line)
            if show and line.startswith(PICTURE):
                typer.launch(line.removeprefix(PICTURE))
