"""What `isocenter check` checks: one sentence for each part, good or to be mended."""

import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import structlog

from node.app import load_routes
from node.clock import DAY_SECONDS
from node.deliver import echo
from node.engine import landlock_version
from node.errors import ConfigError, ModelRefused, NodeError, SpoolFull, TritonUnavailable
from node.host import Kind
from node.infer import check_kind, check_models_of
from node.ledger import Ledger
from node.receive import KnownPeers, try_port
from node.records import Address
from node.route import Routes
from node.settings import LOOPBACK, Receive, Settings
from node.spool import Spool
from node.storage import open_ledger, open_spool
from node.tls import expiring, shows
from node.tls_settings import ReceiveTls
from node.toml_files import meant
from node.triton import LOCAL, GrpcTriton, Servers, Wheel

log = structlog.get_logger()

STUCK_SECONDS = 3600.0
"""Work that has waited for longer is reported."""
ECHO_SECONDS = 10.0
"""How long a destination may take to answer."""


@dataclass(frozen=True, slots=True)
class Report:
    """The result of one check."""

    good: bool
    sentence: str


def check(settings: Settings, *, load: bool = False) -> Iterator[Report]:
    """Check everything that a node needs, part by part; a part that fails does not hide the others.

    No model is loaded and no server is started, unless `load`: then each model of the routes is loaded on every server.
    """
    said: set[Report] = set()
    for part in (_routes, _receive, _spool, _ledger, _loading if load else _models, _destinations):
        for report in _reports(part, settings):
            if report not in said:
                said.add(report)
                yield report


def _reports(part: Callable[[Settings], Iterator[Report]], settings: Settings) -> list[Report]:
    """Return the reports of one part; its first error is the last of them."""
    reports: list[Report] = []
    try:
        reports.extend(part(settings))
    except NodeError as error:
        reports.append(Report(good=False, sentence=str(error)))
    return reports


def _routes(settings: Settings) -> Iterator[Report]:
    routes = load_routes(settings)
    yield Report(good=True, sentence=f"plugins: {', '.join(sorted(routes.plugins)) or 'none'}")
    yield Report(good=True, sentence=_confinement(landlock_version()))
    if not routes.routes:
        raise ConfigError(f"{settings.routes} has no route: nothing will ever be analysed; write a [[route]]")
    yield Report(good=True, sentence=f"routes: {', '.join(route.name for route in routes.routes)}")
    yield from _demonstrations(routes)


def _demonstrations(routes: Routes) -> Iterator[Report]:
    """Tell which routes call plugins of kind C: they answer no images of patients."""
    for route in routes.routes:
        names = [name for name in route.plugins if routes.plugins[name].manifest.kind is Kind.DEMONSTRATION]
        if names and route.allow_demonstration:
            where = ", ".join(route.to)
            yield Report(
                good=True, sentence=f"route {route.name!r} sends demonstrations to {where}: {', '.join(names)}"
            )
        elif names:
            told = f"route {route.name!r} asks demonstration networks about phantoms only; bring weights for patients: "
            yield Report(good=True, sentence=told + ", ".join(names))


def _confinement(version: int) -> str:
    """Say how much a plugin's process can reach, by the version of Landlock in the kernel."""
    if not version:
        return "plugins are not confined: this kernel has no Landlock (Linux 5.13 and later have it)"
    left = [what for since, what in ((4, "the network"), (6, "signals")) if version < since]
    return "plugins are confined" + (f", but not from {' and '.join(left)}: the kernel is too old" if left else "")


def _receive(settings: Settings) -> Iterator[Report]:
    check_receive(settings)
    callers = ", ".join(settings.receive.accept_from) or "this machine only, since receive.accept_from is empty"
    yield Report(good=True, sentence=f"receive: {settings.receive.listening}{_tls(settings.receive)}, from {callers}")
    yield from (Report(good=False, sentence=sentence) for sentence in expiring(settings.certificates))


def _tls(receive: Receive) -> str:
    """Say where TLS is spoken."""
    if receive.tls is None:
        return ""
    return f" and by TLS on port {receive.tls.port}" if receive.tls.port else " by TLS"


def _spool(settings: Settings) -> Iterator[Report]:
    spool = open_spool(settings)
    try:
        spool.check_space()
    except SpoolFull as error:
        raise ConfigError(f"{error}; make room, or lower spool.free_mark_mb") from error
    free = shutil.disk_usage(spool.path).free
    ledger = open_ledger(settings)
    old = ledger.retention.finished_bytes(before=ledger.db.clock() - settings.spool.keep_days * DAY_SECONDS)
    kept = ledger.retention.finished_bytes(before=ledger.db.clock())
    yield Report(
        good=True,
        sentence=f"spool: {spool.path}, {_size(free)} free; {_size(kept)} of finished studies are kept for "
        f"{settings.spool.keep_days:g} days, {_size(old)} of them wait to be purged",
    )
    yield from _packs(spool, ledger)


def _packs(spool: Spool, ledger: Ledger) -> Iterator[Report]:
    """Report packs that cannot be recovered, and packs that are gone and still needed."""
    marks = ledger.instances.marks()
    for name, count in spool.unread(marks).items():
        yield Report(
            good=False,
            sentence=f"pack {name} ends in {count} bytes that cannot be read, of an instance that was cut short; when "
            f"its sender has been asked, delete {spool.packs / name} if no study needs it",
        )
    for name, count in ledger.instances.pack_counts(name for name in marks if not spool.size(name)).items():
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
    for sentence in ledger.queries.stuck(seconds=STUCK_SECONDS):
        yield Report(good=False, sentence=f"stuck: {sentence}")
    for study_uid, what, reason in ledger.queries.parked():
        yield Report(
            good=False, sentence=f"parked: {what} of study {study_uid}: {reason}; mend it, then isocenter requeue"
        )


def _models(settings: Settings) -> Iterator[Report]:
    """Look at the models' folders for a server on this machine, and ask other servers whether they have the models."""
    routes = load_routes(settings)
    names = [model.partition(":")[0] for model in routes.models]
    for url in settings.triton.urls:
        if url == LOCAL:
            Wheel.find().check()
            check_model_folders(settings, routes)
        else:
            _check_served(url, names)
        yield Report(good=True, sentence=f"triton: {url} has {', '.join(names) or 'no models'}; --load loads them")


def _check_served(url: str, names: list[str]) -> None:
    triton = GrpcTriton([url])
    try:
        there = [model.name for model in triton.models()]
    except TritonUnavailable as error:
        raise TritonUnavailable(f"{error} Start it, or mend triton.urls") from error
    finally:
        triton.close()
    for name in names:
        if name not in there:
            raise ModelRefused(f"model {name} is not in the repository of {url}{meant(name, there)}")


def _loading(settings: Settings) -> Iterator[Report]:
    routes = load_routes(settings)
    models = routes.models
    if LOCAL in settings.triton.urls:
        check_model_folders(settings, routes)
    with Servers(settings.triton, settings.spool.path / "triton-check.log") as servers:
        check_models(routes, servers.urls, settings.triton.deadline_seconds)
    yield Report(
        good=True, sentence=f"triton: {', '.join(settings.triton.urls)} serves {', '.join(models) or 'no models'}"
    )


def check_model_folders(settings: Settings, routes: Routes) -> None:
    """Raise ModelRefused for a model that is missing or is no model, before a server is started."""
    for name in dict.fromkeys(name for route in routes.routes for name in route.plugins):
        check_models_of(routes.plugins[name], (settings.triton.model_repository, *settings.triton.included))


def _destinations(settings: Settings) -> Iterator[Report]:
    for name, destination in settings.destinations.items():
        sentence = check_destination(settings, name)
        yield Report(good=sentence is None, sentence=sentence or f"destination {name}: {destination.address} answers")
        brings = {
            "its Storage Commitment answers": destination.commitment,
            "the priors it sends": settings.priors.ask == name,
        }
        for what in (what for what, asked in brings.items() if asked):
            if (sentence := check_caller(settings, name, what)) is not None:
                yield Report(good=False, sentence=sentence)


def check_models(routes: Routes, urls: tuple[str, ...], deadline_seconds: float) -> None:
    """Load every model that a routed plugin uses; ModelRefused names the first that cannot be loaded or believed."""
    triton = GrpcTriton(urls, deadline_seconds=deadline_seconds)
    try:
        for model in routes.models:
            triton.prepare([model], deadline_seconds)
        for name in dict.fromkeys(name for route in routes.routes for name in route.plugins):
            check_kind(routes.plugins[name], triton)
    finally:
        triton.close()


def check_receive(settings: Settings) -> None:
    """Raise ConfigError if the address cannot be listened on, or the host of a caller has no address.

    A port on which a node of our AE title answers is in order: this configuration is being served already.
    """
    address = settings.receive.listening
    peers = KnownPeers.parse(address.ae_title, settings.receive.accept_from)
    if peers.unresolved:
        hosts = ", ".join(peers.unresolved)
        raise ConfigError(
            f"receive.accept_from: no address is known here for {hosts}; the node looks again every 30 s, and "
            "rejects their associations until then"
        )
    try:
        check_doors(settings)
    except ConfigError:
        if not _served(address, settings.receive.tls):
            raise


def check_doors(settings: Settings) -> None:
    """Raise ConfigError where a port of the receiver cannot be listened on, or its certificates cannot be used."""
    if settings.receive.tls is not None:
        settings.receive.tls.credentials.context()
    for address in (settings.receive.listening, settings.receive.tls_listening):
        if address is not None:
            try_port(address)


def _served(address: Address, tls: ReceiveTls | None) -> bool:
    """Return whether a node of our AE title or with our certificate answers at our own address."""
    here = Address(address.ae_title, LOOPBACK.get(address.host, address.host), address.port)
    if tls is not None:
        tls.credentials.context()
        return shows(here.host, tls.port or here.port, tls.certificate)
    try:
        echo(here, address.ae_title, seconds=2)
    except NodeError:
        return False
    return True


def check_known_destinations(settings: Settings, ledger: Ledger) -> None:
    """Log each destination that does not answer; the outbox waits for it.

    For one that has never stored anything, the configuration is probably wrong: that is an error.
    """
    for name in settings.destinations:
        sentence = check_destination(settings, name)
        if sentence is None:
            continue
        known = ledger.deliveries.has_delivered(name)
        (log.warning if known else log.error)("destination.unavailable", destination=name, reason=sentence)


def check_caller(settings: Settings, name: str, what: str) -> str | None:
    """Return why an association from a destination, which brings `what`, would be rejected; None if it would not."""
    called, caller = settings.receive.address.ae_title, settings.destinations[name].address
    peers = KnownPeers.parse(called, settings.receive.accept_from)
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(caller.host, None)}
    except (OSError, UnicodeError):
        return f"destination {name}: host {caller.host} is not known here; mend destinations.{name}.address"
    for address in sorted(found):
        if (rejection := peers.rejection(calling=caller.ae_title, called=called, address=address)) is not None:
            return (
                f"destination {name}: {what} would be rejected, since {rejection.sentence};"
                f" add {caller.ae_title}@{caller.host} to it"
            )
    return None


def check_destination(settings: Settings, name: str) -> str | None:
    """Verify one destination by C-ECHO; return why it does not answer, or None."""
    destination = settings.destinations[name]
    seconds = min(destination.timeout_seconds, ECHO_SECONDS)
    try:
        echo(destination.peer, settings.calling_title(destination), seconds=seconds)
    except NodeError as error:
        return f"destination {name}: {error}; start it, or mend destinations.{name}.address"
    return None
