"""The only place that builds things: a node from its settings."""

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import structlog

from node import flow, preload
from node.arena import PROCESS_MEMORY, Arena, ArenaPool, remove_orphans
from node.assemble import decode, decode_due
from node.deliver import CommitmentScu, Outbox, QueryRetrieveScu
from node.engine import Engine, Slots, Step, preload_children, run_in_child, start_fork_server
from node.errors import NodeError, NodeStops
from node.host import Plugin, find_plugins
from node.images import decoded
from node.images.part10 import Part10
from node.images.stacks import group_into_stacks
from node.infer import Order, Performed, Priors
from node.ledger import Ledger
from node.notifications import News
from node.profiles import TRANSFER_SYNTAXES, Profile
from node.receive import Arrivals, Receivers
from node.route import Routes, read_routes
from node.settings import Destination, Settings, TritonSettings
from node.spool import Spool
from node.storage import open_courier, open_ledger, open_spool
from node.triton import Fleet, GrpcTriton, Room, Servers

log = structlog.get_logger()

PREPARE_SECONDS = 0.5
"""How often a study that is being received is looked at, to have memory ready for its volumes."""
DAY_SECONDS = 86400.0
BEAT_SECONDS = 1.0
"""How often a running job is looked after."""
DECODE_SECONDS = 120.0
"""How long the decoding of a few images may take before it is ended."""
END_SECONDS = 10.0
"""How long it takes to end what has not ended in `engine.stop_seconds`."""


def load_routes(settings: Settings) -> Routes:
    """Read plugins and routes; ConfigError where they do not fit together."""
    return read_routes(
        settings.routes,
        plugins=find_plugins(settings.plugins),
        destinations=tuple(settings.destinations),
        quiet_seconds=settings.assemble.quiet_seconds,
    )


def versions(plugins: Mapping[str, Plugin]) -> dict[str, str]:
    """Return the installed version of every plugin."""
    return {name: plugin.manifest.version for name, plugin in plugins.items()}


def perform_order(
    order: Order,
    spool: Spool,
    urls: tuple[str, ...],
    deadline_seconds: float,
    profiles: Mapping[str, Profile],
    lent: str = "",
) -> Performed:
    """Do one job, in the arena that is lent to it; runs in a child process."""
    arena = Arena(lent) if lent else None
    triton = GrpcTriton(urls, deadline_seconds=deadline_seconds, priority=order.job.priority, arena=arena)
    try:
        return flow.perform(order, spool, triton, profiles, arena or PROCESS_MEMORY)
    finally:
        triton.close()


@dataclass(slots=True)
class Node:
    """A node in some roles or all, with its associations and jobs in children and perhaps a Triton server of its own.

    Raises
    ------
    ConfigError, ModelRefused
        From `start`: something that people wrote is wrong; the message says what.
    """

    settings: Settings
    roles: Collection[str] = tuple(flow.ROLES)
    routes: Routes = field(init=False)
    spool: Spool = field(init=False)
    ledger: Ledger = field(init=False)
    _receivers: Receivers = field(init=False)
    _engine: Engine = field(init=False)
    _arenas: ArenaPool = field(init=False)
    _fleet: Fleet = field(init=False)
    _urls: tuple[str, ...] = ()
    _ends: float = math.inf

    def __post_init__(self) -> None:
        self.routes = load_routes(self.settings)
        self.spool = open_spool(self.settings)
        self.ledger = open_ledger(self.settings)
        self._arenas = ArenaPool(self.settings.engine.volumes_mb * 2**20)

    def start(self, servers: Servers, *, stopping: Callable[[], bool] = lambda: False) -> None:
        """Listen, recover what a former process left, and begin to work, each where it is in our roles.

        `stopping` tells whether to stop while models load.
        """
        preload_children(preload)
        if "work" in self.roles:
            if swept := remove_orphans():
                log.info("arenas.swept", arenas=swept)
            self._urls = servers.urls
            self._fleet = fleet(self.settings.triton, servers, self.routes.models, stopping)
        arrivals = Arrivals(self.ledger, self.spool, wake=lambda: None)
        self._receivers = self._receiver_processes(arrivals)
        river = flow.River(
            ledger=self.ledger,
            spool=self.spool,
            receivers=self._receivers,
            routes=self.routes,
            outboxes=[self._outbox(name, one) for name, one in self.settings.destinations.items()],
            committing=[self._committing(name, one) for name, one in self._asked().items()],
            perform=self._perform,
            priors=priors(self.settings, self.ledger, self.spool),
            profiles=self.settings.profiles,
            device_uid=self.settings.device_uid,
            slots=Slots(self.settings.engine.slots, stopping=lambda: self._engine.stopping),
            attempts=self.settings.engine.attempts,
            keep_seconds=self.settings.spool.keep_days * DAY_SECONDS,
            tell_seconds=self.settings.ledger.keep_days * DAY_SECONDS,
        )
        steps = river.steps(self.roles)
        if "work" in self.roles:
            steps += [
                Step(name="arenas", work=self._prepare),
                Step(name="local triton", work=servers.watch, then=("triton",)),
                Step(name="triton", work=self._fleet.watch, then=("infer",)),
            ]
        if "receive" in self.roles and self.settings.receive.decoders:
            steps.append(self._decoding())
        news = News(self.ledger, [step.name for step in steps], self._wake)
        engine_steps = [*steps, Step(name="news", work=news.hear)]
        self._engine = Engine(engine_steps, courier=open_courier(self.settings) if "work" in self.roles else None)
        if "work" in self.roles:
            adopted = self.ledger.adopt(versions(self.routes.plugins))
            if any(adopted.values()):
                log.warning("jobs.adopted", **adopted)
        if "deliver" in self.roles:
            self.ledger.park_strays(tuple(self.settings.destinations))
        if "receive" in self.roles:  # last of what needs the ledger: who can be called has started, and outlives it
            arrivals.recover()
            arrivals.miss()
            decoded.drop(self.spool.decoded, decoded.sizes(self.spool.decoded))  # some may be half of what they were
            self._receivers.start()
        if "work" in self.roles:
            self._warm()
        self._engine.start()
        log.info("node.started", roles=", ".join(self.roles), address=str(self.settings.receive.address))

    def _warm(self) -> None:
        """Load the models, while callers are served already: those of twenty plugins take a minute."""
        try:
            self._fleet.warm()
        except NodeError:
            self._receivers.close()
            raise
        start_fork_server()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._receivers.port

    def stop(self) -> None:
        """Listen no more, give associations and jobs `engine.stop_seconds` to end, and close everything.

        A job that has not ended by then is given back, and has cost no attempt.
        """
        seconds = self.settings.engine.stop_seconds
        self._ends = time.monotonic() + seconds
        self._receivers.close()
        self._engine.stop(seconds=seconds + END_SECONDS)
        self._receivers.wait(max(self._ends - time.monotonic(), 0) + END_SECONDS)
        self._let_go()
        self.ledger.close()
        log.info("node.stopped")

    def _wake(self, *steps: str) -> None:
        self._engine.wake(*steps)

    def _outbox(self, name: str, destination: Destination) -> Outbox:
        return Outbox(
            destination=name,
            address=destination.address,
            calling=self.settings.calling_title(destination),
            seconds=destination.timeout_seconds,
            give_up_seconds=destination.give_up_days * DAY_SECONDS,
            ledger=self.ledger,
            spool=self.spool,
            commitment=destination.commitment,
            stopping=lambda: self._engine.stopping,
            transfer_syntax=TRANSFER_SYNTAXES[destination.wants.transfer_syntax],
        )

    def _asked(self) -> dict[str, Destination]:
        """Return the destinations that are asked for Storage Commitment."""
        return {name: one for name, one in self.settings.destinations.items() if one.commitment}

    def _committing(self, name: str, destination: Destination) -> CommitmentScu:
        return CommitmentScu(
            destination=name,
            address=destination.address,
            calling=self.settings.calling_title(destination),
            seconds=destination.timeout_seconds,
            give_up_seconds=destination.give_up_days * DAY_SECONDS,
            ledger=self.ledger,
        )

    def _receiver_processes(self, arrivals: Arrivals) -> Receivers:
        return Receivers(
            address=self.settings.receive.address,
            program="node.receiver",
            order=self.settings.model_dump_json(),
            processes=self.settings.receive.processes,
            wake=self._wake,
            recover=arrivals.recover,
        )

    def _perform(self, leave: Callable[[], None], order: Order, renew: Callable[[], bool]) -> Performed:
        beat, models = self._beat(renew), order.plugin.manifest.models
        with self._arenas.lend(order.volume_bytes, beat) as lent, self._fleet.lend(models) as (urls, deadline):
            performed: Performed = run_in_child(
                perform_order,
                (order, self.spool, urls, deadline, self.settings.profiles, lent),
                seconds=order.plugin.manifest.time_limit_seconds,
                beat=beat,
                beat_seconds=BEAT_SECONDS,
                on_slot_released=leave,
            )
        return performed

    def _decoding(self) -> Step:
        """Return the step that has compressed images decoded while their study arrives."""
        wants, limit = self.routes.wants, self.settings.receive.decoded_mb * 2**20
        work = partial(decode_due, self.ledger, self.spool, wants, self._decode, limit=limit)
        return Step(name="decode", work=work, threads=self.settings.receive.decoders)

    def _decode(self, parts: Sequence[Part10]) -> None:
        run_in_child(
            decode, (parts,), seconds=DECODE_SECONDS, beat=lambda: not self._engine.stopping, beat_seconds=BEAT_SECONDS
        )

    def _prepare(self) -> float | None:
        """Have an arena at hand for the largest study that is being received."""
        received = self.ledger.receiving_bytes()
        self._arenas.prepare(received)
        return PREPARE_SECONDS if received else None

    def _let_go(self) -> None:
        """Remove the arenas; a server that is not ours has them mapped until it is told."""
        names = self._arenas.close()
        if self._urls:
            triton = GrpcTriton(self._urls)
            triton.let_go(names)
            triton.close()

    def _beat(self, renew: Callable[[], bool]) -> Callable[[], bool]:
        """Return what looks after a running job: whether it is still ours; NodeStops once its time to end is over."""

        def beat() -> bool:
            if time.monotonic() > self._ends:
                raise NodeStops("the node stopped while it ran")
            return renew()

        return beat


def priors(settings: Settings, ledger: Ledger, spool: Spool) -> Priors:
    """Build what finds priors: here, and at the destination that is to be asked."""
    asked = settings.priors.ask
    archive = None
    if asked:
        one = settings.destinations[asked]
        here = settings.receive.address.ae_title
        archive = QueryRetrieveScu(
            name=asked, address=one.address, calling=settings.calling_title(one), move_destination=here
        )
    seconds = settings.priors.seconds
    return Priors(ledger=ledger, part10=spool.part10, stacks=group_into_stacks, archive=archive, seconds=seconds)


def fleet(
    settings: TritonSettings, servers: Servers, models: Sequence[str], stopping: Callable[[], bool] = lambda: False
) -> Fleet:
    """Build what looks after the servers of a node."""
    return Fleet(
        urls=lambda: servers.urls,
        models=models,
        room=Room(repository=settings.model_repository, limit=settings.models_mb * 2**20),
        deadline_seconds=settings.deadline_seconds,
        stopping=stopping,
    )
