"""The only place that builds things: a node from its settings."""

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Self
from uuid import UUID, uuid5

import structlog

from node import flow
from node.deliver import CommitmentScu, Outbox, commit_step, echo
from node.engine import Engine, Step, run_in_child, warm_up
from node.errors import ConfigError, NodeError, Transient
from node.host import Plugin, find_plugins
from node.infer import GrpcTriton, LocalServer, Order, Performed
from node.ledger import Ledger
from node.profiles import TRANSFER_SYNTAXES, Profile
from node.receive import Arrivals, CommitmentScp, KnownPeers, Receiver, StoreScp, try_port
from node.records import Address
from node.route import Routes, read_routes
from node.settings import Destination, Settings, TritonSettings
from node.spool import Spool

log = structlog.get_logger()

LOCAL = "local"
WATCH_SECONDS = 2.0
DAY_SECONDS = 86400.0
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (where one that listens everywhere is found)
_DEVICE = UUID("0a2f6a0c-4f55-4be5-9d0f-0f6c1f0f3a51")


def device_uid(address: Address) -> str:
    """Return the UID that names this node as a device: the same as long as its AE title and host name stay."""
    return f"2.25.{uuid5(_DEVICE, f'{address.ae_title}@{socket.gethostname()}').int}"


def calling_title(settings: Settings, destination: Destination) -> str:
    """Return the AE title we call a destination by: its own setting, else the one we are called by."""
    return destination.calling or settings.receive.address.ae_title


def read_river(settings: Settings) -> Routes:
    """Read plugins and routes; ConfigError where they do not fit together."""
    return read_routes(
        settings.routes,
        plugins=find_plugins(settings.plugins),
        destinations=tuple(settings.destinations),
        quiet_seconds=settings.assemble.quiet_seconds,
    )


def profiles(settings: Settings) -> dict[str, Profile]:
    """Return what each destination is sent."""
    return {name: one.wants for name, one in settings.destinations.items()}


def open_spool(settings: Settings) -> Spool:
    """Open the spool folder; ConfigError where it cannot be used."""
    return Spool(
        settings.spool.path,
        free_mark=settings.spool.free_mark_mb * 2**20,
        synced=settings.receive.durability == "power",
    )


def versions(plugins: Mapping[str, Plugin]) -> dict[str, str]:
    """Return the installed version of every plugin."""
    return {name: plugin.manifest.version for name, plugin in plugins.items()}


def models_of(routes: Routes) -> list[str]:
    """Return the models that routed plugins ask for."""
    routed = dict.fromkeys(name for route in routes.routes for name in route.plugins)
    return list(dict.fromkeys(model for name in routed for model in routes.plugins[name].manifest.models))


@dataclass(slots=True)
class Servers:
    """Where Triton answers, with the local server started, watched and stopped where "local" is asked for.

    Where no routed plugin has a model it is not `needed`, and none is started.
    """

    settings: TritonSettings
    log_file: Path
    needed: bool = True
    _server: LocalServer | None = None
    _local: str = ""

    def __enter__(self) -> Self:
        if LOCAL in self.settings.urls and self.needed:
            self._server = LocalServer(self.settings.model_repository, self.log_file)
            self._local = self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.stop()

    @property
    def urls(self) -> tuple[str, ...]:
        """host:port of every server, in the order of the settings."""
        return tuple(self._local if url == LOCAL else url for url in self.settings.urls)

    def watch(self) -> float | None:
        """Start the local server again if it has died; return when to look again."""
        if self._server is None:
            return None
        if not self._server.alive:
            log.error("triton.died", log=str(self.log_file))
            self._local = self._server.start()
        return WATCH_SECONDS


def perform_order(
    order: Order, spool: Spool, urls: tuple[str, ...], deadline_seconds: float, profiles: Mapping[str, Profile]
) -> Performed:
    """Do one job; runs in a child process."""
    triton = GrpcTriton(urls, deadline_seconds=deadline_seconds)
    try:
        return flow.perform(order, spool, triton, profiles)
    finally:
        triton.close()


@dataclass(slots=True)
class Node:
    """A whole node in one process, with its jobs in children and perhaps a Triton server of its own.

    Raises
    ------
    ConfigError, ModelRefused
        From `start`: something that people wrote is wrong; the message says what.
    """

    settings: Settings
    routes: Routes = field(init=False)
    spool: Spool = field(init=False)
    ledger: Ledger = field(init=False)
    _receiver: Receiver = field(init=False)
    _engine: Engine = field(init=False)
    _arrivals: Arrivals = field(init=False)

    def __post_init__(self) -> None:
        self.routes = read_river(self.settings)
        self.spool = open_spool(self.settings)
        self.ledger = open_ledger(self.settings)

    def start(self, servers: Servers) -> None:
        """Listen, recover what a former process left, and begin to work."""
        self._check_models(servers.urls)
        arrivals = self._arrivals = Arrivals(self.ledger, self.spool, wake=lambda: self._engine.wake("receive"))
        promises = self._promises(arrivals)
        river = flow.River(
            ledger=self.ledger,
            spool=self.spool,
            arrivals=arrivals,
            routes=self.routes,
            outboxes=[self._outbox(name, one) for name, one in self.settings.destinations.items()],
            committing=[self._committing(name, one) for name, one in self._asked().items()],
            promises=promises,
            perform=partial(self._perform, servers),
            profiles=profiles(self.settings),
            device_uid=device_uid(self.settings.receive.address),
            slots=self.settings.engine.slots,
            attempts=self.settings.engine.attempts,
            keep_seconds=self.settings.spool.keep_days * DAY_SECONDS,
        )
        self._engine = Engine([*river.steps(), Step(name="triton", work=servers.watch, then=("infer",))])
        store = StoreScp(self.spool, arrivals, closed=lambda: self._engine.wake("assemble"))
        self._receiver = receiver(self.settings, store, promises)
        self._receiver.start()
        arrivals.recover()
        adopted = self.ledger.adopt(versions(self.routes.plugins))
        if any(adopted.values()):
            log.warning("jobs.adopted", **adopted)
        self.ledger.park_strays(tuple(self.settings.destinations))
        warm_up()
        self._engine.start()
        log.info("node.started", address=str(self.settings.receive.address), port=self.port)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._receiver.port

    def stop(self) -> None:
        """Listen no more, end jobs so that their leases are given back, and close everything."""
        self._receiver.stop()
        self._engine.stop()
        self._arrivals.record()
        self.ledger.close()
        log.info("node.stopped")

    def _outbox(self, name: str, destination: Destination) -> Outbox:
        return Outbox(
            destination=name,
            address=destination.address,
            calling=calling_title(self.settings, destination),
            seconds=destination.timeout_seconds,
            give_up_seconds=destination.give_up_days * DAY_SECONDS,
            ledger=self.ledger,
            spool=self.spool,
            commitment=destination.commitment,
            transfer_syntax=TRANSFER_SYNTAXES[destination.wants.transfer_syntax],
        )

    def _asked(self) -> dict[str, Destination]:
        """Return the destinations that are asked for Storage Commitment."""
        return {name: one for name, one in self.settings.destinations.items() if one.commitment}

    def _committing(self, name: str, destination: Destination) -> CommitmentScu:
        return CommitmentScu(
            destination=name,
            address=destination.address,
            calling=calling_title(self.settings, destination),
            seconds=destination.timeout_seconds,
            give_up_seconds=destination.give_up_days * 86400,
            ledger=self.ledger,
        )

    def _promises(self, arrivals: Arrivals) -> CommitmentScp:
        steps = [flow.REPORT, *map(commit_step, self._asked())]
        return CommitmentScp(
            ledger=self.ledger,
            spool=self.spool,
            arrivals=arrivals,
            ae_title=self.settings.receive.address.ae_title,
            addresses={one.ae_title: one for one in self.settings.receive.commitment_to},
            wake=lambda: self._engine.wake(*steps),
        )

    def _perform(self, servers: Servers, order: Order, renew: Callable[[], bool]) -> Performed:
        performed: Performed = run_in_child(
            perform_order,
            (order, self.spool, servers.urls, self.settings.triton.deadline_seconds, profiles(self.settings)),
            seconds=order.plugin.manifest.time_limit_seconds,
            beat=lambda: not self._engine.stopping and renew(),
        )
        return performed

    def _check_models(self, urls: tuple[str, ...]) -> None:
        """Load the routed models; a server that is away may come back, a model that is missing will not."""
        try:
            check_models(self.routes, urls, self.settings.triton.deadline_seconds)
        except Transient as error:
            log.warning("triton.unavailable", reason=str(error))


def open_ledger(settings: Settings) -> Ledger:
    """Open the ledger, made where it does not exist; ConfigError where it cannot be."""
    return Ledger(settings.ledger.url)


def receiver(settings: Settings, store: StoreScp, promises: CommitmentScp) -> Receiver:
    """Build the SCP that the settings describe."""
    address = settings.receive.address
    return Receiver(
        address=address,
        peers=KnownPeers.parse(address.ae_title, settings.receive.accept_from),
        store=store,
        associations=settings.receive.associations,
        idle_seconds=settings.receive.idle_seconds,
        commitment=promises,
    )


def check_models(routes: Routes, urls: tuple[str, ...], deadline_seconds: float) -> None:
    """Load every model that a routed plugin asks for; ModelRefused names the first that cannot be."""
    triton = GrpcTriton(urls, deadline_seconds=deadline_seconds)
    try:
        triton.prepare(models_of(routes), deadline_seconds)
    finally:
        triton.close()


def check_receive(settings: Settings) -> None:
    """Raise ConfigError where the address cannot be listened on, or a caller's host has no address.

    A port at which a node of our AE title answers is no fault: this very configuration is being served.
    """
    address = settings.receive.address
    KnownPeers.parse(address.ae_title, settings.receive.accept_from)
    try:
        try_port(address)
    except ConfigError:
        if not answers(address):
            raise


def answers(address: Address) -> bool:
    """Return whether a node of ours listens at its own address."""
    here = Address(address.ae_title, ANYWHERE.get(address.host, address.host), address.port)
    try:
        echo(here, address.ae_title, seconds=2)
    except NodeError:
        return False
    return True


def check_known_destinations(settings: Settings, ledger: Ledger) -> None:
    """At start, tell of destinations that do not answer.

    One that has stored something before is down for now: the outbox will wait for it. One that never has is more
    likely a mistake in the configuration, and a ConfigError.
    """
    for name in settings.destinations:
        sentence = check_destination(settings, name)
        if sentence is not None and not ledger.has_delivered(name):
            raise ConfigError(sentence)
        if sentence is not None:
            log.warning("destination.unavailable", destination=name, reason=sentence)


def check_commitment(settings: Settings, name: str) -> str | None:
    """Return why a destination could not bring its Storage Commitment answers on an association of its own, or None."""
    called, caller = settings.receive.address.ae_title, settings.destinations[name].address
    peers = KnownPeers.parse(called, settings.receive.accept_from)
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(caller.host, None)}
    except (OSError, UnicodeError):
        return f"destination {name}: host {caller.host} is not known here; mend destinations.{name}.address"
    for address in sorted(found):
        if (rejection := peers.rejection(calling=caller.ae_title, called=called, address=address)) is not None:
            return (
                f"destination {name}: its Storage Commitment answers would be rejected, since {rejection.sentence};"
                f" add {caller.ae_title}@{caller.host} to it"
            )
    return None


def check_destination(settings: Settings, name: str) -> str | None:
    """Verify one destination by C-ECHO; return why it does not answer, or None."""
    destination = settings.destinations[name]
    try:
        echo(destination.address, calling_title(settings, destination), seconds=min(destination.timeout_seconds, 10))
    except NodeError as error:
        return f"destination {name}: {error}; start it, or mend destinations.{name}.address"
    return None
