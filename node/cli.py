"""The command `isocenter`: words in, words out, no logic."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from node import app as build
from node.commands.check import check as check_all
from node.commands.demo import demo as run_demo
from node.commands.explain import explain as story_of
from node.commands.new_plugin import new_plugin
from node.commands.try_plugin import try_plugin
from node.deliver import StoreOutcome, readable
from node.deliver import send as send_all
from node.errors import NodeError
from node.flow import ROLES
from node.host import find_plugins
from node.log import log_to_stderr, quiet_log
from node.records import Address
from node.settings import Settings
from node.shutdown import ending
from node.storage import open_ledger
from node.triton import Servers

app = typer.Typer(
    help="A PACS-integrated DICOM AI node.", no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False
)
plugin_app = typer.Typer(help="What plugin authors need.", no_args_is_help=True)
app.add_typer(plugin_app, name="plugin")
model_app = typer.Typer(help="Bring your own model.", no_args_is_help=True)
app.add_typer(model_app, name="model")

out = Console(highlight=False, soft_wrap=True)
ConfigFile = Annotated[Path, typer.Option("--config", help="The configuration file; paths in it are relative to it.")]
DEFAULT = Path("config/isocenter.toml")


@contextmanager
def told() -> Iterator[None]:
    """Tell an error of the node's own in one sentence, and exit with 2."""
    try:
        yield
    except NodeError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]isocenter:[/] {escape(str(error))}")
        raise typer.Exit(2) from error


@app.command()
def demo(
    dicom: Annotated[
        Path | None, typer.Option(help="A folder with your own study, instead of a synthetic one.")
    ] = None,
    out_folder: Annotated[Path, typer.Option("--out", help="Where everything is left.")] = Path("isocenter-demo"),
) -> None:
    """Run the main job here and now: a chest CT by C-STORE, Triton, SEG and SR back in a stand-in PACS."""
    quiet_log()
    with told():
        left = run_demo(out_folder.resolve(), dicom, lambda line: out.print(f"[dim]·[/] {escape(line)}"))
    for title, files in (("in the stand-in PACS", left.objects), ("picture", left.pictures)):
        for file in files:
            out.print(f"[bold]{title}:[/] {escape(str(file))}")
    for name, seconds in left.seconds:
        out.print(f"{seconds:8.2f} s  {name}")


@app.command()
def serve(config: ConfigFile = DEFAULT) -> None:
    """Run the whole node on this machine until SIGTERM or Ctrl-C."""
    run(config, *ROLES)


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
    log_to_stderr()
    with told(), ending() as end:
        settings = Settings.read(config)
        node = build.Node(settings, roles)
        if "deliver" in roles:
            build.check_known_destinations(settings, node.ledger)
        needed = "work" in roles and bool(build.models_of(node.routes))
        with Servers(settings.triton, settings.spool.path / "triton.log", needed) as servers:
            node.start(servers, stopping=lambda: end.told)
            end.wait(settings.engine.stop_seconds)
            node.stop()


@app.command()
def check(config: ConfigFile = DEFAULT) -> None:
    """Check configuration, plugins, models, disk and destinations, and say what to mend."""
    log_to_stderr()
    with told():
        reports = check_all(Settings.read(config))
        for report in reports:
            out.print(f"{'[green]ok[/]' if report.good else '[red]mend[/]'}  {escape(report.sentence)}")
        if not all(report.good for report in reports):
            raise typer.Exit(2)


@app.command()
def send(
    folder: Annotated[Path, typer.Argument(help="A folder of DICOM files.")],
    to: Annotated[str, typer.Argument(help="AE@host:port")],
    calling: Annotated[str, typer.Option(help="The AE title to call as.")] = "ISOCENTER_SCU",
) -> None:
    """Send a folder of DICOM files to a Storage SCP."""
    quiet_log()
    with told():
        objects, unreadable = readable(folder)
        results = list(send_all(objects, Address.parse(to), calling))
    for line in unreadable:
        out.print(f"[yellow]{escape(line)}[/]")
    for sent, result in results:
        if result.reason:
            out.print(f"{escape(str(sent.path))}: {escape(result.reason)}")
    stored = sum(result.outcome is StoreOutcome.STORED for _, result in results)
    out.print(f"{stored} of {len(results)} instances stored by {to}")
    if stored < len(results):
        raise typer.Exit(1)


@app.command()
def explain(study: Annotated[str, typer.Argument(help="Study Instance UID")], config: ConfigFile = DEFAULT) -> None:
    """Tell the story of a study, with why each route did or did not match."""
    with told():
        for line in story_of(open_ledger(Settings.read(config)), study):
            out.print(escape(line))


@app.command()
def requeue(
    study: Annotated[str | None, typer.Option(help="Only of this study; it is analysed as it is.")] = None,
    job: Annotated[int | None, typer.Option(help="This job alone; explain tells its number.")] = None,
    delivery: Annotated[str | None, typer.Option(help="Deliveries of this object alone, by its UID.")] = None,
    destination: Annotated[str | None, typer.Option(help="Deliveries to this destination alone.")] = None,
    config: ConfigFile = DEFAULT,
) -> None:
    """Put parked studies, jobs and deliveries back."""
    with told():
        ledger = open_ledger(Settings.read(config))
        back = ledger.requeue(study, job_id=job, object_uid=delivery, destination=destination)
    out.print("requeued: " + ", ".join(f"{count} {kind}" for kind, count in back.items()))


@plugin_app.command("list")
def plugin_list(config: ConfigFile = DEFAULT) -> None:
    """List the plugins that routes can name."""
    with told():
        settings = Settings.read(config)
        for plugin in find_plugins(settings.plugins).values():
            manifest = plugin.manifest
            out.print(f"{manifest.name} {manifest.version}  {escape(manifest.title)}  ({', '.join(plugin.roles)})")


@plugin_app.command("new")
def plugin_new(
    name: Annotated[str, typer.Argument(help="What plugin and model are called.")], config: ConfigFile = DEFAULT
) -> None:
    """Make a plugin to begin with: it runs, and its test passes."""
    with told():
        settings = Settings.read(config)
        made = new_plugin(name, settings.plugins[0], settings.triton.model_repository)
    for folder in made:
        out.print(escape(str(folder)))
    out.print(f"try it: isocenter plugin try {name} FOLDER, with a folder of DICOM files; then change its plugin.py")


@plugin_app.command("try")
def plugin_try(
    plugin: Annotated[str, typer.Argument(help="A plugin's name, or its folder.")],
    folder: Annotated[Path, typer.Argument(help="A folder of DICOM files of one study.")],
    out_folder: Annotated[Path, typer.Option("--out", help="Where the objects and the picture go.")] = Path("tried"),
    config: ConfigFile = DEFAULT,
) -> None:
    """Run one plugin on a folder of DICOM files, with no node running."""
    quiet_log()
    with told():
        for line in try_plugin(Settings.read(config), plugin, folder, out_folder):
            out.print(escape(line))


@model_app.command("list")
def model_list(config: ConfigFile = DEFAULT) -> None:
    """List the models: kind, versions, state on the servers, and which plugins use them."""
    from node.models import listed  # noqa: PLC0415 (as below)

    with told():
        settings = Settings.read(config)
        plugins = find_plugins(settings.plugins)
        for line in listed(settings.triton.model_repository, settings.triton.urls, plugins):
            out.print(escape(str(line)))


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
    modality: Annotated[str, typer.Option(help="Of the series it takes; CT where nothing tells.")] = "",
    chain: Annotated[Path | None, typer.Option(help="A TOML file with what is done around the network.")] = None,
    network: Annotated[
        str, typer.Option(help="Of weights alone: monai.networks.nets.UNet(…) or FILE.py:CLASS(…).")
    ] = "",
    backend: Annotated[
        str, typer.Option(help="What runs the network: python; onnxruntime, tensorrt, pytorch in NVIDIA's container.")
    ] = "python",
    *,
    trust: Annotated[bool, typer.Option("--trust", help="Run the code of FILE.py.")] = False,
    config: ConfigFile = DEFAULT,
) -> None:
    """Make a Triton model and a plugin of a network."""
    from node.models import add  # noqa: PLC0415 (no other command needs torch in this process)

    with told():
        settings = Settings.read(config)
        named = [label.strip() for label in labels.split(",") if label.strip()]
        added = add(
            source, name, models=settings.triton.model_repository, plugins=settings.plugins[0], labels=named,
            modality=modality, chain=chain, builder=network, backend=backend, trust=trust,
        )  # fmt: skip
    phantom = "" if added.likeness is None else f"; a phantom came back with a Dice of {added.likeness:.3f}"
    out.print(f"{added.kind}, {added.classes} classes{phantom}")
    for folder in added.folders:
        out.print(escape(str(folder)))


@model_app.command("compare")
def model_compare(
    name: Annotated[str, typer.Argument(help="A plugin that a model was added as.")],
    framework: Annotated[
        str, typer.Option("--with", help="nnunet, monai, or torch: the same here, with no server between.")
    ],
    folder: Annotated[Path, typer.Option("--on", help="A folder of DICOM files of one study.")],
    source: Annotated[
        Path | None, typer.Option(help="Where the framework's model lies, if no longer where it was added from.")
    ] = None,
    config: ConfigFile = DEFAULT,
) -> None:
    """Compare a served model with its framework's own answer, and write it into the model card."""
    from node.models.compare import compare  # noqa: PLC0415 (as above)

    quiet_log()
    with told():
        for line in compare(Settings.read(config), name, framework, folder, source):
            out.print(escape(line))
