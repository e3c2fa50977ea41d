"""The commands that show what a node does, and steer it: their arguments and their output."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from node.command_options import (
    DEFAULT,
    AsJson,
    ConfigFile,
    fail,
    opened,
    print_json,
    print_table,
    reported_errors,
)
from node.exit_codes import NOTHING

if TYPE_CHECKING:
    from node.ledger import Ledger

Confirmed = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


class Pausable(StrEnum):
    """What can be paused."""

    DESTINATION = "destination"
    ROUTE = "route"
    PLUGIN = "plugin"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (status, queue, studies, explain, watch, requeue, cancel, delete, pause, resume, reload):
        app.command()(command)


def status(config: ConfigFile = DEFAULT, *, as_json: AsJson = False) -> None:
    """Show what runs, what waits at each stage, disk, Triton, destinations, and what needs a person."""
    from node.commands import status

    with reported_errors():
        found = status.status(*opened(config))
        if as_json:
            print_json(found.as_json())
            return
        for line in status.lines(found):
            typer.echo(line)


def queue(config: ConfigFile = DEFAULT, *, as_json: AsJson = False) -> None:
    """List what waits or runs, study by study, the oldest first."""
    from node.commands.list_queue import COLUMNS, rows

    with reported_errors():
        found = rows(opened(config)[1])
    if as_json:
        print_json(found)
    elif found:
        print_table(found, COLUMNS)
    else:
        typer.echo("nothing waits", err=True)
    if not found:
        raise typer.Exit(NOTHING)


def studies(
    config: ConfigFile = DEFAULT,
    *,
    patient: Annotated[str, typer.Option(help="Patient ID; * at the end stands for any rest.")] = "",
    accession: Annotated[str, typer.Option(help="Accession Number; * at the end stands for any rest.")] = "",
    date: Annotated[str, typer.Option(help="Study Date YYYYMMDD, or YYYYMMDD-YYYYMMDD; either end may lack.")] = "",
    modality: Annotated[str, typer.Option(help="Modality of one of its series.")] = "",
    sender: Annotated[str, typer.Option(help="AE title that sent it.")] = "",
    state: Annotated[str, typer.Option(help="State of the study, or of one of its jobs or deliveries.")] = "",
    plugin: Annotated[str, typer.Option(help="Plugin that has a job for it.")] = "",
    limit: Annotated[int, typer.Option(help="How many at most; the last changed come first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List studies, by what a person knows of them."""
    from node.commands import list_studies
    from node.ledger.overview import StudyFilter

    with reported_errors():
        first, last = list_studies.dates(date)
        list_studies.check_state(state)
        wanted = StudyFilter(
            patient_id=patient, accession_number=accession, first_date=first, last_date=last,
            modality=modality, sender=sender, state=state, plugin=plugin,
        )  # fmt: skip
        found = list_studies.rows(opened(config)[1], wanted, limit)
    if as_json:
        print_json(found)
    elif found:
        print_table(found, list_studies.COLUMNS)
    else:
        typer.echo("no study fits", err=True)
    if not found:
        raise typer.Exit(NOTHING)


def explain(
    study: Annotated[
        str | None,
        typer.Argument(
            help="A UID, an Accession Number or a Patient ID; without it, associations that failed are listed."
        ),
    ] = None,
    config: ConfigFile = DEFAULT,
    *,
    as_json: AsJson = False,
) -> None:
    """Print the history of a study, and why each route did or did not match; or which associations failed, and why."""
    from node.commands import explain

    with reported_errors():
        _, ledger = opened(config)
        if study is None:
            failed = list(explain.failed_associations(ledger))
            if as_json:
                print_json({"lines": failed})
            for line in () if as_json else failed:
                typer.echo(line)
            return
        meant = ledger.overview.meant(study)
        if not meant and not ledger.queries.refusals(study):
            fail(f"nothing of study {study} was ever received here", NOTHING)
        meant = meant or [study]
        if len(meant) > 1:
            from node.commands.list_studies import COLUMNS, rows_of

            typer.echo(f"{len(meant)} studies; name one of them:", err=True)
            (print_json if as_json else lambda rows: print_table(rows, COLUMNS))(rows_of(ledger, meant))
            return
        lines = list(explain.explain(ledger, meant[0]))
    if as_json:
        print_json({"study": meant[0], "lines": lines})
        return
    for line in lines:
        typer.echo(line)


def watch(config: ConfigFile = DEFAULT, *, as_json: AsJson = False) -> None:
    """Follow what happens to all studies, until Ctrl-C."""
    import json
    from dataclasses import asdict

    from node.commands.explain import follow, told

    with reported_errors():
        _, ledger = opened(config)
        try:
            for events in follow(ledger):
                for line in map(json.dumps, map(asdict, events)) if as_json else told(events):
                    typer.echo(line)
        except KeyboardInterrupt:
            return


def requeue(
    study: Annotated[
        str | None, typer.Option(help="Only this study, by UID or Accession Number; it is analysed as it is.")
    ] = None,
    job: Annotated[int | None, typer.Option(help="Only this job; isocenter explain prints its number.")] = None,
    delivery: Annotated[str | None, typer.Option(help="Only deliveries of this object, by its UID.")] = None,
    destination: Annotated[str | None, typer.Option(help="Only deliveries to this destination.")] = None,
    config: ConfigFile = DEFAULT,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All that is parked or waits for its next try.")] = False,
) -> None:
    """Put parked studies, jobs and deliveries back, and try waiting deliveries now."""
    with reported_errors():
        settings, ledger = opened(config)
        if study is not None:
            study = _one_study(ledger, study)
        waiting = ledger.overview.waiting()
        if destination is not None and destination not in {*settings.destinations, *waiting}:
            there = ", ".join(sorted({*settings.destinations, *waiting})) or "none"
            fail(f"there is no destination {destination!r}; there are: {there}")
        if not everything and (study, job, delivery, destination) == (None,) * 4:
            parked = ledger.queries.parked()
            if not parked and not waiting:
                fail("nothing is parked, and no delivery waits", NOTHING)
            for uid, what, reason in parked:
                typer.echo(f"{what} of study {uid}: {reason}")
            for name, (count, _, reason) in waiting.items():
                typer.echo(f"{count} deliveries to {name} wait: {reason or 'not tried yet'}")
            confirm(f"requeue all {len(parked)} that are parked, and try all waiting deliveries now?", "--all")
        back = ledger.queries.requeue(study, job_id=job, object_uid=delivery, destination=destination)
    typer.echo("requeued: " + ", ".join(f"{count} {kind}" for kind, count in back.items()))
    if not any(back.values()):
        raise typer.Exit(NOTHING)


def cancel(
    study: Annotated[str, typer.Argument(help="A UID, an Accession Number; or nothing, with --job.")] = "",
    job: Annotated[int | None, typer.Option(help="Only this job; isocenter explain prints its number.")] = None,
    config: ConfigFile = DEFAULT,
    *,
    yes: Confirmed = False,
) -> None:
    """Cancel what is left to do for a study, or one job; what was delivered stays."""
    with reported_errors():
        _, ledger = opened(config)
        if job is not None:
            done = {"jobs": int(ledger.interventions.cancel_job(job))}
        else:
            uid = _one_study(ledger, study)
            if not yes:
                confirm(f"cancel all jobs and deliveries of study {uid} that are not finished?", "--yes")
            done = ledger.interventions.cancel_study(uid)
    typer.echo("cancelled: " + ", ".join(f"{count} {kind}" for kind, count in done.items()))
    if not any(done.values()):
        raise typer.Exit(NOTHING)


def delete(
    study: Annotated[str, typer.Argument(help="A UID or an Accession Number.")],
    config: ConfigFile = DEFAULT,
    *,
    yes: Confirmed = False,
) -> None:
    """Delete a study: its images, its results and its history here; what was delivered stays at its destinations."""
    from node.purge import drop_files
    from node.storage import open_spool

    with reported_errors():
        settings, ledger = opened(config)
        uid = _one_study(ledger, study)
        if not yes:
            confirm(f"delete the images, results and history of study {uid} for ever?", "--yes")
        spool = open_spool(settings, made=True)
        count = ledger.interventions.delete_study(uid)
        drop_files(ledger.retention, ledger.instances, spool)
    typer.echo(f"deleted: {count} instances of study {uid}")


def pause(
    kind: Annotated[Pausable, typer.Argument(help="What is paused.")],
    name: Annotated[str, typer.Argument(help="As the configuration has it.")],
    config: ConfigFile = DEFAULT,
) -> None:
    """Pause a destination, route or plugin: what it would do waits, until it is resumed."""
    from node.app import load_routes

    with reported_errors():
        settings, ledger = opened(config)
        routes = load_routes(settings)
        names = {
            Pausable.DESTINATION: list(settings.destinations),
            Pausable.ROUTE: [route.name for route in routes.routes],
            Pausable.PLUGIN: list(routes.plugins),
        }[kind]
        if name not in names:
            fail(f"there is no {kind} {name!r}; there are: {', '.join(names) or 'none'}")
        typer.echo(f"{kind} {name} is paused" if ledger.pauses.add(kind, name) else f"{kind} {name} was paused before")


def resume(
    kind: Annotated[Pausable, typer.Argument(help="What is resumed.")],
    name: Annotated[str, typer.Argument(help="As isocenter status shows it.")],
    config: ConfigFile = DEFAULT,
) -> None:
    """Resume a destination, route or plugin."""
    with reported_errors():
        _, ledger = opened(config)
        if not ledger.pauses.remove(kind, name):
            fail(f"{kind} {name} is not paused", NOTHING)
        typer.echo(f"{kind} {name} goes on")


def reload(config: ConfigFile = DEFAULT) -> None:
    """Have the running node take in new routes, plugins, destinations and callers; a mistake changes nothing."""
    from node.commands import reload
    from node.settings import Settings

    with reported_errors():
        answers = reload.reload(Settings.read(config))
    for answer in answers:
        typer.echo(answer.sentence)
    if not answers or not all(answer.good for answer in answers):
        raise typer.Exit(NOTHING)


def confirm(question: str, option: str) -> None:
    """Ask in a terminal, and exit with 1 at a no; elsewhere exit with 2, since nobody can answer."""
    import sys

    if not sys.stdin.isatty():
        fail(f"{question} Nobody can answer here: say so with {option}")
    if not typer.confirm(question):
        raise typer.Exit(NOTHING)


def _one_study(ledger: "Ledger", text: str) -> str:
    """Return the one study that is meant; exit where it is none or several."""
    meant = ledger.overview.meant(text) if text else []
    if len(meant) != 1:
        fail(f"{text!r} means {len(meant)} studies: {', '.join(meant) or 'name a UID or an Accession Number'}", NOTHING)
    return meant[0]
