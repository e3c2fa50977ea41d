"""The command `isocenter`: its arguments and its output. What a command does is in `node.commands`.

Each command imports what it needs when it runs, so that `isocenter --help` starts at once.
"""

import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from node import exit_codes, installation, operations
from node.author_commands import plugin_app
from node.command_options import (
    DEFAULT,
    PRIVATE,
    VERBOSITY,
    AsJson,
    ConfigFile,
    Isocenter,
    Verbosity,
    fail,
    is_quiet,
    log_for_people,
    print_json,
    print_steps,
    progress,
    reported_errors,
    while_awaited,
)
from node.exit_codes import MEND, NOTHING
from node.model_commands import model_app

app = typer.Typer(
    cls=Isocenter, help="A PACS-integrated DICOM AI node.", no_args_is_help=True, pretty_exceptions_enable=False
)
operations.add_to(app)
installation.add_to(app)
app.add_typer(plugin_app, name="plugin")
app.add_typer(model_app, name="model")
ledger_app = typer.Typer(help="The database of the node.", no_args_is_help=True)
app.add_typer(ledger_app, name="ledger")

LOG_LEVEL = "ISOCENTER_LOG__LEVEL"
"""The environment variable that overrides `log.level`, in every process of a node."""
LEVELS = {Verbosity.QUIET: "warning", Verbosity.VERBOSE: "debug"}
"""Level of the log of a node that serves, where it is not that of the configuration."""
FOR_OTHERS = {"plugin", "model"}
"""Commands that write what other users may read: plugins and models hold no images."""


def isolate_children() -> None:
    """Have every Python that is started from here not look for modules in the current directory.

    A folder `node` or `plugins` there would be imported in place of ours. A job's process begins with `python -c`.
    A program that pipx installed runs with `python -E`, which the children of `multiprocessing` inherit: they ignore
    the variable, and inherit `-P` only from a process that has it.
    """
    os.environ["PYTHONSAFEPATH"] = "1"
    if sys.flags.ignore_environment and not sys.flags.safe_path:
        os.execv(sys.executable, [sys.executable, "-P", *sys.orig_argv[1:]])  # noqa: S606


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
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="Results and errors only: no steps, no progress; of the log, errors only."),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="More of the log: what happens, and each association; of a node that serves, all."
        ),
    ] = False,
) -> None:
    """A PACS-integrated DICOM AI node."""
    if quiet and verbose:
        fail("--quiet and --verbose exclude each other")
    VERBOSITY.set(Verbosity.QUIET if quiet else Verbosity.VERBOSE if verbose else Verbosity.NORMAL)
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
    shown = progress("demo")

    def say(line: str) -> None:
        if not is_quiet():
            shown.say(lambda: typer.echo(f"{typer.style('·', dim=True)} {line}"))

    say("importing PyTorch and the libraries for DICOM; the first time takes longest")
    with reported_errors(), shown:
        from node.commands import demo

        log_for_people()
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


@app.command()
def web(config: ConfigFile = DEFAULT) -> None:
    """Show the page: what runs and waits, and the story of each study. On this machine only; it changes nothing."""
    from node.command_options import opened
    from node.log import log_to_stderr
    from node.web import listen

    log_to_stderr()
    with reported_errors():
        settings, ledger = opened(config)
        log_to_stderr(settings.log.level, settings.log.format)
        typer.echo(f"http://{settings.web.address}/", err=True)
        listen(settings, ledger)


def run(config: Path, *roles: str) -> None:
    """Run a node in some roles until SIGTERM or Ctrl-C."""
    from node.commands import serve
    from node.commands.shutdown import shutdown_on_signals
    from node.log import log_to_stderr

    if level := LEVELS.get(VERBOSITY.get()):
        os.environ[LOG_LEVEL] = level
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
    from node.settings import Settings

    log_for_people()
    with reported_errors():
        reports: list[check.Report] = []
        checking = check.check(Settings.read(config), load=load)
        for report in while_awaited(checking, "loading models" if load else "checking"):
            reports.append(report)
            verdict = typer.style("ok", fg="green") if report.good else typer.style("mend", fg="red")
            if not (as_json or (report.good and is_quiet())):
                typer.echo(f"{verdict}  {report.sentence}")
        if as_json:
            print_json([asdict(report) for report in reports])
        if not all(report.good for report in reports):
            raise typer.Exit(MEND)


@app.command()
def send(
    what: Annotated[
        list[str], typer.Argument(help="Folders, DICOM files, ZIP files or DICOMDIRs, and AE@host:port behind them.")
    ],
    calling: Annotated[str, typer.Option(help="The AE title to call as.")] = "ISOCENTER_SCU",
    rate: Annotated[float | None, typer.Option(min=0.001, help="Instances in a second, at most.")] = None,
    repeat: Annotated[int, typer.Option(min=1, help="How often all of it is sent.")] = 1,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Associations at the same time.")] = 1,
    tls: Annotated[bool, typer.Option("--tls", help="Send by TLS.")] = False,  # noqa: FBT002
    tls_authorities: Annotated[
        Path | None, typer.Option(help="PEM file of authorities that may have signed the peer's certificate.")
    ] = None,
    tls_certificate: Annotated[Path | None, typer.Option(help="PEM file of the certificate to show.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file of its private key.")] = None,
) -> None:
    """Send DICOM files to a Storage SCP."""
    from node.deliver import StoreOutcome, readable, send_at_once, unpacked
    from node.records import Address
    from node.results.figures import counted
    from node.tls import ClientTls

    log_for_people()
    *sources, to = what
    with reported_errors():
        address = Address.parse(to)
        if tls or tls_authorities or tls_certificate:
            credentials = ClientTls(authorities=tls_authorities, certificate=tls_certificate, key=tls_key)
            credentials.context()
            address = replace(address, tls=credentials)
        if not sources:
            fail("name what to send, and AE@host:port behind it")
        stored = total = 0
        with unpacked([Path(source) for source in sources]) as found:
            read = [readable(source) for source in found]
            objects = [outgoing for each in read for outgoing in each.objects]
            missing = [line for each in read for line in each.missing]
            for line in (*missing, *(line for each in read for line in each.passed_over if not is_quiet())):
                typer.secho(line, fg="yellow")
            with progress(f"sending to {to}", len(objects) * repeat) as shown:
                for _ in range(repeat):
                    sent = send_at_once(objects, address, calling, associations=concurrency, rate=rate)
                    for outgoing, result in sent:
                        shown.step()
                        total += 1
                        stored += result.outcome is StoreOutcome.STORED
                        if result.reason:
                            shown.say(partial(typer.echo, f"{outgoing.path}: {result.reason}"))
    typer.echo(f"{stored} of {total} instances stored by {to}")
    if missing:
        typer.echo(f"{counted(len(missing), 'file')} could not be sent", err=True)
    if stored < total or missing:
        raise typer.Exit(NOTHING)


@ledger_app.command("rebuild")
def ledger_rebuild(config: ConfigFile = DEFAULT) -> None:
    """Make a damaged or lost ledger again from the packs of the spool; stop the node before."""
    from node.commands.rebuild_ledger import rebuild
    from node.settings import Settings

    with reported_errors():
        print_steps(rebuild(Settings.read(config)), "reading packs")


def show_exit_codes(commands: typer.Typer, *words: str) -> None:
    """Have the help of every command end with what its exit codes mean."""
    for each in commands.registered_commands:
        name = each.name or getattr(each.callback, "__name__", "")
        each.epilog = exit_codes.in_a_line(" ".join([*words, str(name)]))
    for group in commands.registered_groups:
        assert group.typer_instance is not None  # noqa: S101 (all are added with one)
        show_exit_codes(group.typer_instance, *words, str(group.name))


show_exit_codes(app)
