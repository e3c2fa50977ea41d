"""The command `isocenter`: its arguments and its output. What a command does is in `node.commands`.

Each command imports what it needs when it runs, so that `isocenter --help` starts at once.
"""

import os
from pathlib import Path
from typing import Annotated

import typer

from node import installation, operations
from node.author_commands import plugin_app
from node.command_options import (
    DEFAULT,
    NOTHING,
    PRIVATE,
    AsJson,
    ConfigFile,
    fail,
    print_json,
    progress,
    reported_errors,
)

app = typer.Typer(help="A PACS-integrated DICOM AI node.", no_args_is_help=True, pretty_exceptions_enable=False)
operations.add_to(app)
installation.add_to(app)
app.add_typer(plugin_app, name="plugin")
model_app = typer.Typer(help="Bring your own model.", no_args_is_help=True)
app.add_typer(model_app, name="model")
ledger_app = typer.Typer(help="The database of the node.", no_args_is_help=True)
app.add_typer(ledger_app, name="ledger")

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

    def say(line: str) -> None:
        typer.echo(f"{typer.style('·', dim=True)} {line}")

    say("importing PyTorch and the libraries for DICOM; the first time takes longest")
    from node.commands import demo
    from node.log import quiet_log

    quiet_log()
    with reported_errors():
        outcome = demo.demo(out_folder.resolve(), dicom, say)
    for title, files in (("in the stand-in PACS", outcome.objects), ("picture", outcome.pictures)):
        for file in files:
            typer.echo(f"{typer.style(title + ':', bold=True)} {file}")
    for name, seconds in outcome.seconds:
        typer.echo(f"{seconds:8.2f} s  {name}")
    for line in outcome.unanswered:
        typer.secho(line, fg="yellow")
    if outcome.unanswered:
        raise typer.Exit(NOTHING)


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
    what: Annotated[
        list[str], typer.Argument(help="Folders, DICOM files, ZIP files or DICOMDIRs, and AE@host:port behind them.")
    ],
    calling: Annotated[str, typer.Option(help="The AE title to call as.")] = "ISOCENTER_SCU",
    rate: Annotated[float | None, typer.Option(min=0.001, help="Instances in a second, at most.")] = None,
    repeat: Annotated[int, typer.Option(min=1, help="How often all of it is sent.")] = 1,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Associations at the same time.")] = 1,
) -> None:
    """Send DICOM files to a Storage SCP; exit code 1 if not all were stored."""
    from node.deliver import StoreOutcome, readable, send_at_once, unpacked
    from node.log import quiet_log
    from node.records import Address
    from node.results.figures import counted

    quiet_log()
    *sources, to = what
    with reported_errors():
        address = Address.parse(to)
        if not sources:
            fail("name what to send, and AE@host:port behind it")
        stored = total = 0
        with unpacked([Path(source) for source in sources]) as found:
            read = [readable(source) for source in found]
            objects = [outgoing for each in read for outgoing in each.objects]
            missing = [line for each in read for line in each.missing]
            for line in (*missing, *(line for each in read for line in each.passed_over)):
                typer.secho(line, fg="yellow")
            with progress(len(objects) * repeat, "sending") as bar:
                for _ in range(repeat):
                    sent = send_at_once(objects, address, calling, associations=concurrency, rate=rate)
                    for outgoing, result in sent:
                        bar.update(1)
                        total += 1
                        stored += result.outcome is StoreOutcome.STORED
                        if result.reason:
                            typer.echo(f"{outgoing.path}: {result.reason}")
    typer.echo(f"{stored} of {total} instances stored by {to}")
    if missing:
        typer.echo(f"{counted(len(missing), 'file')} could not be sent", err=True)
    if stored < total or missing:
        raise typer.Exit(1)


@ledger_app.command("rebuild")
def ledger_rebuild(config: ConfigFile = DEFAULT) -> None:
    """Make a damaged or lost ledger again from the packs of the spool; stop the node before."""
    from node.commands.rebuild_ledger import rebuild
    from node.settings import Settings

    with reported_errors():
        for line in rebuild(Settings.read(config)):
            typer.echo(line)


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
