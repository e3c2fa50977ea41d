"""The builder: a node from its settings."""

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import structlog

from node.clock import DAY_SECONDS, ClockWatch
from node.engine import Engine, Step, preload_children
from node.errors import ConfigError, NodeError
from node.host import find_plugins
from node.ledger import Ledger
from node.log import log_event
from node.notifications import RELOAD, News
from node.receive import KnownPeers
from node.roles import preload
from node.roles.deliver_role import DeliverRole
from node.roles.receive_role import ReceiveRole
from node.roles.role import KILL_SECONDS, NodeParts, NodeRole
from node.roles.work_role import WorkRole
from node.route import Routes, read_routes
from node.settings import Settings
from node.spool import Spool
from node.storage import check_ledger_is_there, open_courier, open_ledger, open_spool
from node.tls import expiring
from node.triton import Servers

log = structlog.get_logger()

ROLES: Mapping[str, type[NodeRole]] = {"receive": ReceiveRole, "work": WorkRole, "deliver": DeliverRole}
"""The roles in the order of the flow."""
REPORT_SECONDS = 10.0
"""How often a process notes in the ledger that it runs."""
RELOADED = ("routes", "plugins", "destinations", "priors")
RELOADED_OF_RECEIVE = ("accept_from", "commitment_to")
"""The keys that a node takes in while it runs."""


def load_routes(settings: Settings) -> Routes:
    """Read plugins and routes; ConfigError if they do not fit together."""
    return read_routes(
        settings.routes,
        plugins=find_plugins(settings.plugin_folders),
        destinations=tuple(settings.destinations),
        test_destinations=[name for name, destination in settings.destinations.items() if destination.test],
        quiet_seconds=settings.assemble.quiet_seconds,
    )


@dataclass(slots=True)
class Node:
    """A node in one role or all: its ledger and spool, and the engine that runs the steps of its roles.

    Parameters
    ----------
    reread
        Reads the settings again, for `reload`; without it, they stay.

    Raises
    ------
    ConfigError, ModelRefused
        From `start`: the configuration cannot be served; the message says what to mend.
    """

    settings: Settings
    roles: Sequence[str] = tuple(ROLES)
    reread: Callable[[], Settings] | None = None
    routes: Routes = field(init=False)
    spool: Spool = field(init=False)
    ledger: Ledger = field(init=False)
    _parts: NodeParts = field(init=False)
    _roles: list[NodeRole] = field(init=False)
    _engine: Engine = field(init=False)
    _beside: list[Step] = field(init=False)
    _reloading: threading.Lock = field(init=False, default_factory=threading.Lock)
    _reloads: int = field(init=False, default=0)
    _name: str = field(init=False, default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}")
    _started_at: float = field(init=False, default_factory=time.time)

    def __post_init__(self) -> None:
        self.routes = load_routes(self.settings)
        self.spool = open_spool(self.settings)
        check_ledger_is_there(self.settings, self.spool)
        self.ledger = open_ledger(self.settings)
        self.ledger.db.listener = log_event

    def start(self, servers: Servers, *, stopping: Callable[[], bool] = lambda: False) -> None:
        """Start the roles, the last of the flow first, and run their steps.

        `stopping` says whether to stop while models are loaded.
        """
        preload_children(preload)
        self._parts = parts = NodeParts(
            settings=self.settings,
            routes=self.routes,
            spool=self.spool,
            ledger=self.ledger,
            servers=servers,
            wake=self._wake,
            stopping=lambda: stopping() or self._engine.stopping,
        )
        self._roles = [ROLES[name](parts) for name in ROLES if name in self.roles]
        news = News(self.ledger.events, self._names, self._wake)
        times = self.ledger.future_times
        clock = ClockWatch(times.bring_back, times.carry_over, lambda: self._wake(*self._names()))
        courier = open_courier(self.settings) if "work" in self.roles else None
        self._reloads = self.ledger.events.count(RELOAD)
        self._beside = [
            Step(name="news", work=news.hear),
            Step(name="clock", work=clock.look),
            Step(name="reload", work=self._reload_where_asked),
            Step(name="certificates", work=self._warn_of_certificates),
            Step(name="presence", work=self._report),
        ]
        self._engine = Engine(self._steps(), courier=courier, first=clock.look)
        self._note_killed()
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

    @property
    def alive(self) -> bool:
        """Whether every step of the node still has its threads."""
        return self._engine.alive

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
        with suppress(NodeError):  # the ledger is away: the next start notices
            self.ledger.processes.remove(self._name)
        self.ledger.close()
        log.info("node.stopped")

    def _report(self) -> float:
        """Note in the ledger that this process runs, for `isocenter status`."""
        detail = "; ".join(filter(None, (role.describe() for role in self._roles)))
        self.ledger.processes.report(
            self._name, roles=", ".join(self.roles), version=version("isocenter"), started_at=self._started_at,
            detail=detail,
        )  # fmt: skip
        return REPORT_SECONDS

    def _note_killed(self) -> None:
        """Log which processes of this machine were killed before they could say that they stop."""
        host, own = self._name.rsplit(":", 1)
        for process in self.ledger.processes.all():
            there, pid = process.name.rsplit(":", 1)
            if there == host and (pid == own or not Path(f"/proc/{pid}").exists()):
                log.warning("node.was_killed", process=process.name, roles=process.roles)
                self.ledger.processes.remove(process.name)

    def reload(self) -> str:
        """Go on with the routes, plugins, destinations and callers that the files name now; return what came of it.

        All is checked before anything is changed: with a mistake in it, all stays as it is. Each step goes on with the
        new routes when its present work is done, so no study is planned by a part of them.
        """
        with self._reloading:
            try:
                outcome = self._reload()
            except NodeError as error:
                outcome = f"refused, nothing has changed: {error}"
                log.error("node.reload_refused", reason=str(error))
                self.ledger.events.add("", "node.reload_refused", f"{os.getpid()}: {error}")
            return outcome

    def _reload(self) -> str:
        if self.reread is None:
            raise ConfigError("this node was started without a file")
        read = self.reread()
        settings = self.settings.model_copy(update={name: getattr(read, name) for name in RELOADED})
        receive = {name: getattr(read.receive, name) for name in RELOADED_OF_RECEIVE}
        settings = settings.model_copy(update={"receive": self.settings.receive.model_copy(update=receive)})
        later = [name for name in Settings.model_fields if getattr(read, name) != getattr(settings, name)]
        parts = replace(self._parts, settings=settings, routes=load_routes(settings))
        KnownPeers.parse(settings.receive.address.ae_title, settings.receive.accept_from)
        for role in self._roles:
            role.check(parts)
        self.settings, self.routes, self._parts = settings, parts.routes, parts
        for role in self._roles:
            role.renew(parts)
        self._engine.replace(self._steps())
        names = ", ".join(route.name for route in parts.routes.routes)
        outcome = f"routes: {names or 'none'}; destinations: {', '.join(settings.destinations) or 'none'}"
        if later:
            outcome += f"; changed, and read at the next start only: {', '.join(later)}"
        log.info("node.reloaded", detail=outcome)
        self.ledger.events.add("", "node.reloaded", f"{os.getpid()}: {outcome}")
        return outcome

    def _reload_where_asked(self) -> None:
        """Reload once for what `isocenter reload` has asked, here or on another machine, since the node looked last."""
        asked = self.ledger.events.count(RELOAD)
        if asked != self._reloads:
            self._reloads = asked
            self.reload()

    def _warn_of_certificates(self) -> float:
        """Log each certificate that ends soon, once a day."""
        for sentence in expiring(self.settings.certificates):
            log.warning("certificate.expires", reason=sentence)
        return DAY_SECONDS

    def _steps(self) -> list[Step]:
        return [*(step for role in self._roles for step in role.steps()), *self._beside]

    def _names(self) -> list[str]:
        return [step.name for step in self._engine.steps]

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return next(role.port for role in self._roles if isinstance(role, ReceiveRole))

    def _wake(self, *steps: str) -> None:
        self._engine.wake(*steps)
