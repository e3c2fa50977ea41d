"""The command `isocenter`: its arguments and its output. What a command does is in `node.commands`.

Each command imports what it needs when it runs, so that `isocenter --help` starts at once.
"""

import os
from pathlib import Path
from typing import Annotated

import typer

from node import installation, operations
from node.command_options import DEFAULT, NOTHING, AsJson, ConfigFile, print_json, reported_errors

app = typer.Typer(
    help="A PACS-integrated DICOM AI node.", no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False
)
plugin_app = typer.Typer(help="What plugin authors need.", no_args_is_help=True)
operations.add_to(app)
installation.add_to(app)
app.add_typer(plugin_app, name="plugin")
model_app = typer.Typer(help="Bring your own model.", no_args_is_help=True)
app.add_typer(model_app, name="model")
ledger_app = typer.Typer(help="The database of the node.", no_args_is_help=True)
app.add_typer(ledger_app, name="ledger")

PRIVATE = 0o077
"""The umask of commands that write images or rows: they are for the node's user alone."""
FOR_OTHERS = {"plugin", "model"}
"""Commands that write what other users may read: plugins and models hold no images."""


def isolate_children() -> None:
    """Have every Python that is started from here not look for modules in the current directory.

    A folder `node` or `plugins` there would be imported in place of ours. A job's process begins with `python -c`.
    """
    os.environ["PYTHONSAFEPATH"] = "1"


def print_version(requested: bool) -> None:  # noqa: FBT001 (typer calls it so)
    """Print the installed version and exit."""
    if requested:
        from importlib.metadata import version

        typer.echo(f"isocenter {version('isocenter')}")
        raise typer.Exit


@app.callback()
def main(
    context: typer.Context,
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A PACS-integrated DICOM AI node."""
    isolate_children()
    if context.invoked_subcommand not in FOR_OTHERS:
        os.umask(PRIVATE)


@app.command()
def demo(
    dicom: Annotated[
        Path | None, typer.Option(help="A folder with your own study, instead of a synthetic one.")
    ] = None,
    out_folder: Annotated[Path, typer.Option("--out", help="Where everything is left.")] = Path("isocenter-demo"),
) -> None:
    """Run the main job here and now: a chest CT by C-STORE, Triton, SEG and SR back in a stand-in PACS."""
    from node.commands import demo
    from node.log import quiet_log

    quiet_log()
    with reported_errors():
        outcome = demo.demo(
            out_folder.resolve(), dicom, lambda line: typer.echo(f"{typer.style('·', dim=True)} {line}")
        )
    for title, files in (("in the stand-in PACS", outcome.objects), ("picture", outcome.pictures)):
        for file in files:
            typer.echo(f"{typer.style(title + ':', bold=True)} {file}")
    for name, seconds in outcome.seconds:
        typer.echo(f"{seconds:8.2f} s  {name}")


@app.command()
def serve(config: ConfigFile = DEFAULT) -> None:
    """Run the whole node on this machine until SIGTERM or Ctrl-C."""
    run(config, "receive", "work", "deliver")


@app.command()
def receive(config: ConfigFile = DEFAULT) -> None:
    """Receive studies and plan their jobs; on as many machines as share the spool and the ledger."""
    run(config, "receive")


@app.command()
def work(config: ConfigFile = DEFAULT) -> None:
    """Do the jobs that are planned; on as many machines as share the spool and the ledger."""
    run(config, "work")


@app.command()
def deliver(config: ConfigFile = DEFAULT) -> None:
    """Deliver results to the destinations; on as many machines as share the spool and the ledger."""
    run(config, "deliver")


def run(config: Path, *roles: str) -> None:
    """Run a node in some roles until SIGTERM or Ctrl-C."""
    from node.commands import serve
    from node.commands.shutdown import shutdown_on_signals
    from node.log import log_to_stderr

    log_to_stderr()
    with reported_errors(), shutdown_on_signals() as shutdown:
        serve.serve(config.absolute(), roles, shutdown)


@app.command()
def check(
    config: ConfigFile = DEFAULT,
    *,
    load: Annotated[
        bool, typer.Option("--load", help="Load each model of the routes, too; it may take minutes.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check configuration, plugins, models, disk and destinations, and say what to mend; the node may be running."""
    from dataclasses import asdict

    from node.commands import check
    from node.log import quiet_log
    from node.settings import Settings

    quiet_log()
    with reported_errors():
        reports: list[check.Report] = []
        for report in check.check(Settings.read(config), load=load):
            reports.append(report)
            verdict = typer.style("ok", fg="green") if report.good else typer.style("mend", fg="red")
            if not as_json:
                typer.echo(f"{verdict}  {report.sentence}")
        if as_json:
            print_json([asdict(report) for report in reports])
        if not all(report.good for report in reports):
            raise typer.Exit(2)


@app.command()
def send(
    folder: Annotated[Path, typer.Argument(help="A folder of DICOM files.")],
    to: Annotated[str, typer.Argument(help="AE@host:port")],
    calling: Annotated[str, typer.Option(help="The AE title to call as.")] = "ISOCENTER_SCU",
) -> None:
    """Send a folder of DICOM files to a Storage SCP."""
    from node.deliver import StoreOutcome, readable
    from node.deliver import send as send_objects
    from node.log import quiet_log
    from node.records import Address

    quiet_log()
    with reported_errors():
        objects, unreadable = readable(folder)
        results = list(send_objects(objects, Address.parse(to), calling))
    for line in unreadable:
        typer.secho(line, fg="yellow")
    for sent, result in results:
        if result.reason:
            typer.echo(f"{sent.path}: {result.reason}")
    stored = sum(result.outcome is StoreOutcome.STORED for _, result in results)
    typer.echo(f"{stored} of {len(results)} instances stored by {to}")
    if stored < len(results):
        raise typer.Exit(1)


@ledger_app.command("rebuild")
def ledger_rebuild(config: ConfigFile = DEFAULT) -> None:
    """Make a damaged or lost ledger again from the packs of the spool; stop the node before."""
    from node.commands.rebuild_ledger import rebuild
    from node.settings import Settings

    with reported_errors():
        for line in rebuild(Settings.read(config)):
            typer.echo(line)


@plugin_app.command("list")
def plugin_list(config: ConfigFile = DEFAULT) -> None:
    """List the plugins that routes can name."""
    from node.host import find_plugins
    from node.settings import Settings

    with reported_errors():
        settings = Settings.read(config)
        for plugin in find_plugins(settings.plugin_folders).values():
            manifest = plugin.manifest
            what = f"{manifest.name} {manifest.version}  {manifest.title}  ({', '.join(plugin.roles)})"
            typer.echo(f"{what}  {manifest.kind}: {manifest.statement}")


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
    """Run the test of a plugin; exit code 1 if it fails."""
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
    from node.log import quiet_log
    from node.settings import Settings

    os.umask(PRIVATE)
    quiet_log()
    with reported_errors():
        settings = Settings.read(config)
        lines = try_plugin(
            settings, plugin, folder, out_folder, prior=prior, allow_demonstration=allow_demonstration,
            again=until_saved if watch else lambda _: False,
        )  # fmt: skip
        for line in lines:
            typer.echo(line)
            if show and line.startswith(PICTURE):
                typer.launch(line.removeprefix(PICTURE))


@model_app.command("list")
def model_list(config: ConfigFile = DEFAULT) -> None:
    """List the models: kind, versions, state on the servers, and which plugins use them."""
    from node.host import find_plugins
    from node.models import listed
    from node.settings import Settings

    with reported_errors():
        settings = Settings.read(config)
        plugins = find_plugins(settings.plugin_folders)
        for line in listed(settings.triton.model_repository, settings.triton.urls, plugins, settings.triton.included):
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
    from node.models import add
    from node.sandbox import landlock_version
    from node.settings import Settings

    with reported_errors():
        settings = Settings.read(config)
        named = [label.strip() for label in labels.split(",") if label.strip()]
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
        for written in export(settings.triton.model_repository, folder, names, settings.triton.included):
            typer.echo(written)
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
    from node.log import quiet_log
    from node.models.compare import compare
    from node.settings import Settings

    quiet_log()
    with reported_errors():
        for line in compare(Settings.read(config), name, framework, folder, source):
            typer.echo(line)
