"""The role `work`: jobs in child processes, with models on Triton servers and arenas for their volumes."""

import math
import time
from collections.abc import Callable, Mapping

import structlog

from node import flow
from node.arena import PROCESS_MEMORY, Arena, ArenaPool, remove_orphans
from node.deliver import QueryRetrieveScu
from node.engine import Sandbox, Slots, Step, run_in_child, start_fork_server, tcp_ports
from node.errors import ConfigError, NodeStops
from node.faults import armed
from node.infer import Order, Performed, Priors
from node.profiles import Profile
from node.roles.role import BEAT_SECONDS, NodeParts, NodeRole
from node.spool import Spool
from node.triton import Fleet, GrpcTriton, ModelMemory

log = structlog.get_logger()

ARENA_SECONDS = 0.5
"""How often studies that are being received are measured, to have arenas ready for their volumes."""


VOLUMES = 48
"""A job may allocate so many times the size of its volumes: eight copies in float64 with as many masks and fields."""


def memory_limit(volume_bytes: int, base_mb: int) -> int:
    """Return how many bytes a job may allocate, by the size that its images have according to their headers."""
    return base_mb * 2**20 + VOLUMES * volume_bytes


class WorkRole(NodeRole):
    """Claims jobs that are due, runs each in a child process, and records its result objects."""

    def __init__(self, parts: NodeParts) -> None:
        super().__init__(parts)
        settings = parts.settings
        self._arenas = ArenaPool(settings.engine.volumes_mb * 2**20)
        self._slots = Slots(settings.engine.slots, stopping=parts.stopping)
        self._ends = math.inf  # when running jobs are given back, by time.monotonic
        self._fleet = Fleet(
            urls=lambda: parts.servers.urls,
            models=parts.routes.models,
            memory=ModelMemory(
                repository=settings.triton.model_repository,
                limit=settings.triton.models_mb * 2**20,
                beside=settings.triton.included,
            ),
            deadline_seconds=settings.triton.deadline_seconds,
            stopping=parts.stopping,
            on_loaded=lambda: parts.wake("infer"),
            urgent=self._models_of_waiting_jobs,
        )

    def steps(self) -> list[Step]:
        """See `NodeRole.steps`."""
        settings = self.parts.settings
        infer = flow.infer(
            self.parts.ledger,
            self.parts.spool,
            self.parts.routes,
            self._slots,
            self._perform,
            self._priors(),
            attempts=settings.engine.attempts,
            device_uid=settings.device_uid or self.parts.ledger.queries.device_uid(),
            destinations=tuple(settings.destinations),
            loading=self._plugins_that_wait,
        )
        return [
            infer,
            Step(name="arenas", work=self._prepare_arena),
            Step(name="local triton", work=self.parts.servers.watch, then=("triton",)),
            Step(name="triton", work=self._fleet.watch, then=("infer",)),
        ]

    def start(self) -> None:
        """Remove the arenas of killed nodes, and plan jobs again whose plugin has another version now."""
        if removed := remove_orphans():
            log.info("arenas.swept", arenas=removed)
        self._adopt()

    def describe(self) -> str:
        """See `NodeRole.describe`: the state of each Triton server."""
        names = dict(zip(self.parts.servers.urls, self.parts.settings.triton.urls, strict=True))
        states = self._fleet.states().items()
        return "; ".join(f"{names.get(url, url)} {state}" for url, state in states) or "no models are needed"

    def check(self, parts: NodeParts) -> None:
        """See `NodeRole.check`: each model must be on the servers."""
        if parts.routes.models and not parts.servers.started:
            raise ConfigError(
                "the routes need models, and no local Triton runs, since they needed none before: restart"
            )
        self._fleet.check(parts.routes.models)

    def renew(self, parts: NodeParts) -> None:
        """See `NodeRole.renew`; models that are new are loaded, and jobs of other plugin versions planned again."""
        super().renew(parts)
        self._fleet.renew(parts.routes.models)
        self._adopt()

    def _adopt(self) -> None:
        versions = {name: plugin.manifest.version for name, plugin in self.parts.routes.plugins.items()}
        adopted = self.parts.ledger.jobs.adopt(versions)
        if any(adopted.values()):
            log.warning("jobs.adopted", **adopted)

    def load(self) -> None:
        """Begin to load the models in the background, and start the process that jobs are forked from."""
        self._fleet.start()
        start_fork_server()

    def stop(self, seconds: float) -> None:
        """See `NodeRole.stop`; a job that has not ended by then is given back, which costs it no attempt."""
        self._ends = time.monotonic() + seconds

    def close(self, seconds: float) -> None:  # noqa: ARG002 (jobs end with their steps)
        """Remove the arenas, and have the servers unmap them."""
        names = self._arenas.close()
        triton = GrpcTriton(self.parts.servers.urls)
        triton.let_go(names)
        triton.close()

    def _perform(self, release_slot: Callable[[], None], order: Order, renew: Callable[[], bool]) -> Performed:
        """Run a job in a child process, with an arena and the servers that it is to ask."""
        manifest = order.plugin.manifest
        beat = self._until_stopped(renew)
        with (
            self._arenas.lend(order.volume_bytes, beat) as arena,
            self._fleet.lend(manifest.models) as (urls, deadline_seconds),
        ):
            return run_in_child(
                perform_in_child,
                (order, self.parts.spool, urls, deadline_seconds, self.parts.settings.profiles, arena),
                returns=Performed,
                seconds=manifest.time_limit_seconds,
                beat=beat,
                beat_seconds=BEAT_SECONDS,
                on_slot_released=release_slot,
                sandbox=Sandbox(
                    writable=(self.parts.spool.objects,),
                    hidden=self.parts.settings.private_files,
                    ports=None if manifest.network else tcp_ports(urls),
                    signals=armed(),
                    memory=memory_limit(order.volume_bytes, self.parts.settings.engine.job_memory_mb),
                ),
            )

    def _plugins_that_wait(self) -> list[str]:
        """Return the plugins that still wait for one of their models to be loaded, and those that are paused."""
        plugins, paused = self.parts.routes.plugins.items(), self.parts.ledger.pauses.names("plugin")
        return [name for name, plugin in plugins if name in paused or self._fleet.is_loading(plugin.manifest.models)]

    def _models_of_waiting_jobs(self) -> set[str]:
        """Return the models that due jobs wait for."""
        plugins = self.parts.routes.plugins
        return {
            m
            for name in self.parts.ledger.jobs.waiting_plugins()
            if name in plugins
            for m in plugins[name].manifest.models
        }

    def _until_stopped(self, renew: Callable[[], bool]) -> Callable[[], bool]:
        """Return the beat of a job: it renews the lease, and raises NodeStops when the time to end is over."""

        def beat() -> bool:
            if time.monotonic() > self._ends:
                raise NodeStops("the node stopped while it ran")
            return renew()

        return beat

    def _prepare_arena(self) -> float | None:
        """Have an arena ready for the largest study that is being received."""
        received = self.parts.ledger.instances.receiving_bytes()
        self._arenas.prepare(received)
        return ARENA_SECONDS if received else None

    def _priors(self) -> Priors:
        """Return what finds earlier studies: here, and at the destination that is asked for them."""
        settings = self.parts.settings
        archive = None
        if settings.priors.ask:
            destination = settings.destinations[settings.priors.ask]
            archive = QueryRetrieveScu(
                name=settings.priors.ask,
                address=destination.peer,
                calling=settings.calling_title(destination),
                move_destination=settings.receive.address.ae_title,
            )
        return Priors(
            priors=self.parts.ledger.priors,
            instances=self.parts.ledger.instances,
            part10=self.parts.spool.part10,
            archive=archive,
            seconds=settings.priors.seconds,
        )


def perform_in_child(
    order: Order,
    spool: Spool,
    urls: tuple[str, ...],
    deadline_seconds: float,
    profiles: Mapping[str, Profile],
    arena_name: str,
) -> Performed:
    """Perform one job in this process, with the arena that was lent to it, if any."""
    arena = Arena(arena_name) if arena_name else None
    triton = GrpcTriton(urls, deadline_seconds=deadline_seconds, priority=order.job.priority, arena=arena)
    try:
        return flow.perform(order, spool, triton, profiles, arena or PROCESS_MEMORY)
    finally:
        triton.close()
