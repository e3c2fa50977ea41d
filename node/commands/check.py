"""What `isocenter check` looks at: one sentence each, good or to be mended."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from node import app
from node.errors import ConfigError, ModelRefused, NodeError, SpoolFull
from node.ledger import Ledger
from node.settings import Settings
from node.spool import Spool
from node.storage import open_ledger, open_spool
from node.triton import LOCAL, Servers

STUCK_SECONDS = 3600.0
"""What has waited for so long is told."""


@dataclass(frozen=True, slots=True)
class Report:
    """One thing that was looked at."""

    good: bool
    sentence: str


def check(settings: Settings) -> list[Report]:
    """Look at everything a node needs, each as far as it can be looked at without the others."""
    return [
        report
        for look in (_routes, _receive, _spool, _ledger, _triton, _destinations)
        for report in _looked(look, settings)
    ]


def _looked(look: Callable[[Settings], Iterator[Report]], settings: Settings) -> list[Report]:
    """Turn the first error of a look into its last sentence."""
    reports: list[Report] = []
    try:
        reports.extend(look(settings))
    except NodeError as error:
        reports.append(Report(good=False, sentence=str(error)))
    return reports


def _routes(settings: Settings) -> Iterator[Report]:
    routes = app.read_river(settings)
    yield Report(good=True, sentence=f"plugins: {', '.join(sorted(routes.plugins)) or 'none'}")
    if not routes.routes:
        raise ConfigError(f"{settings.routes} has no route: nothing will ever be analysed; write a [[route]]")
    yield Report(good=True, sentence=f"routes: {', '.join(route.name for route in routes.routes)}")


def _receive(settings: Settings) -> Iterator[Report]:
    app.check_receive(settings)
    callers = ", ".join(settings.receive.accept_from) or "this machine alone, since receive.accept_from is empty"
    yield Report(good=True, sentence=f"receive: {settings.receive.address}, from {callers}")


def _spool(settings: Settings) -> Iterator[Report]:
    spool = open_spool(settings)
    try:
        spool.check_space()
    except SpoolFull as error:
        raise ConfigError(f"{error}; make room, or lower spool.free_mark_mb") from error
    free = shutil.disk_usage(spool.path).free
    ledger = open_ledger(settings)
    old = ledger.finished_bytes(before=ledger.clock() - settings.spool.keep_days * app.DAY_SECONDS)
    kept = ledger.finished_bytes(before=ledger.clock())
    yield Report(
        good=True,
        sentence=f"spool: {spool.path}, {_size(free)} free; {_size(kept)} of finished studies are kept for "
        f"{settings.spool.keep_days:g} days, {_size(old)} of them wait to be purged",
    )
    yield from _packs(spool, ledger)


def _packs(spool: Spool, ledger: Ledger) -> Iterator[Report]:
    """Tell of packs that cannot be recovered, and of those that are gone and still needed."""
    marks = ledger.marks()
    for name, count in spool.unread(marks).items():
        yield Report(
            good=False,
            sentence=f"pack {name} ends in {count} bytes that cannot be read, of an instance that was cut short; when "
            f"its sender has been asked, delete {spool.packs / name} if no study needs it",
        )
    for name, count in ledger.pack_counts(name for name in marks if not spool.size(name)).items():
        yield Report(
            good=False,
            sentence=f"pack {name} is gone from {spool.packs}, and {count} instances were in it; bring it back, or "
            "have their studies sent again",
        )


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


def _ledger(settings: Settings) -> Iterator[Report]:
    ledger = open_ledger(settings)
    yield Report(good=True, sentence=f"ledger: {settings.ledger.url}")
    for sentence in ledger.stuck(seconds=STUCK_SECONDS):
        yield Report(good=False, sentence=f"stuck: {sentence}")
    for study_uid, what, reason in ledger.parked():
        yield Report(
            good=False, sentence=f"parked: {what} of study {study_uid}: {reason}; mend it, then isocenter requeue"
        )


def _triton(settings: Settings) -> Iterator[Report]:
    routes = app.read_river(settings)
    models = app.models_of(routes)
    if LOCAL in settings.triton.urls:
        _model_folders(settings.triton.model_repository, models)
    with Servers(settings.triton, settings.spool.path / "triton-check.log") as servers:
        app.check_models(routes, servers.urls, settings.triton.deadline_seconds)
    yield Report(
        good=True, sentence=f"triton: {', '.join(settings.triton.urls)} serves {', '.join(models) or 'no models'}"
    )


def _model_folders(repository: Path, models: list[str]) -> None:
    """Say what a missing model is before a server is started for it."""
    for model in (model.partition(":")[0] for model in models):
        if not (repository / model / "config.pbtxt").is_file():
            raise ModelRefused(f"model {model} is not in {repository}; put its folder there, with its config.pbtxt")


def _destinations(settings: Settings) -> Iterator[Report]:
    for name, destination in settings.destinations.items():
        sentence = app.check_destination(settings, name)
        yield Report(good=sentence is None, sentence=sentence or f"destination {name}: {destination.address} answers")
        brings = {
            "its Storage Commitment answers": destination.commitment,
            "the priors it sends": settings.priors.ask == name,
        }
        for what in (what for what, asked in brings.items() if asked):
            if (sentence := app.check_caller(settings, name, what)) is not None:
                yield Report(good=False, sentence=sentence)
