"""The builder: a node from its settings."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from node.clock import ClockWatch
from node.engine import Engine, Step, preload_children
from node.errors import NodeError
from node.host import find_plugins
from node.ledger import Ledger
from node.notifications import News
from node.roles import preload
from node.roles.deliver_role import DeliverRole
from node.roles.receive_role import ReceiveRole
from node.roles.role import KILL_SECONDS, NodeParts, NodeRole
from node.roles.work_role import WorkRole
from node.route import Routes, read_routes
from node.settings import Settings
from node.spool import Spool
from node.storage import open_courier, open_ledger, open_spool
from node.triton import Servers

log = structlog.get_logger()

ROLES: Mapping[str, type[NodeRole]] = {"receive": ReceiveRole, "work": WorkRole, "deliver": DeliverRole}
"""The roles in the order of the flow."""


def load_routes(settings: Settings) -> Routes:
    """Read plugins and routes; ConfigError if they do not fit together."""
    return read_routes(
        settings.routes,
        plugins=find_plugins(settings.plugins),
        destinations=tuple(settings.destinations),
        test_destinations=[name for name, destination in settings.destinations.items() if destination.test],
        quiet_seconds=settings.assemble.quiet_seconds,
    )


@dataclass(slots=True)
class Node:
    """A node in one role or all: its ledger and spool, and the engine that runs the steps of its roles.

    Raises
    ------
    ConfigError, ModelRefused
        From `start`: the configuration cannot be served; the message says what to mend.
    """

    settings: Settings
    roles: Sequence[str] = tuple(ROLES)
    routes: Routes = field(init=False)
    spool: Spool = field(init=False)
    ledger: Ledger = field(init=False)
    _roles: list[NodeRole] = field(init=False)
    _engine: Engine = field(init=False)

    def __post_init__(self) -> None:
        self.routes = load_routes(self.settings)
        self.spool = open_spool(self.settings)
        self.ledger = open_ledger(self.settings)

    def start(self, servers: Servers, *, stopping: Callable[[], bool] = lambda: False) -> None:
        """Start the roles, the last of the flow first, and run their steps.

        `stopping` says whether to stop while models are loaded.
        """
        preload_children(preload)
        parts = NodeParts(
            settings=self.settings,
            routes=self.routes,
            spool=self.spool,
            ledger=self.ledger,
            servers=servers,
            wake=self._wake,
            stopping=lambda: stopping() or self._engine.stopping,
        )
        self._roles = [ROLES[name](parts) for name in ROLES if name in self.roles]
        steps = [step for role in self._roles for step in role.steps()]
        news = News(self.ledger.events, [step.name for step in steps], self._wake)
        clock = ClockWatch(self.ledger.future_times.bring_back, lambda: self._wake(*(step.name for step in steps)))
        courier = open_courier(self.settings) if "work" in self.roles else None
        beside = [Step(name="news", work=news.hear), Step(name="clock", work=clock.look)]
        self._engine = Engine([*steps, *beside], courier=courier)
        for role in reversed(self._roles):
            role.start()
        try:
            for role in self._roles:
                role.load()
        except NodeError:
            for role in self._roles:
                role.stop(0)
            raise
        self._engine.start()
        log.info("node.started", roles=", ".join(self.roles), address=str(self.settings.receive.address))

    def stop(self) -> None:
        """Accept no more associations, give associations and jobs `engine.stop_seconds` to end, and close everything.

        A job that has not ended by then is given back, which costs it no attempt.
        """
        seconds = self.settings.engine.stop_seconds
        ends = time.monotonic() + seconds
        for role in self._roles:
            role.stop(seconds)
        self._engine.stop(seconds=seconds + KILL_SECONDS)
        for role in self._roles:
            role.close(max(ends - time.monotonic(), 0))
        self.ledger.close()
        log.info("node.stopped")

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return next(role.port for role in self._roles if isinstance(role, ReceiveRole))

    def _wake(self, *steps: str) -> None:
        self._engine.wake(*steps)
