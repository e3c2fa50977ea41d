"""What the roles of a node have in common."""

from collections.abc import Callable
from dataclasses import dataclass

from node.engine import Step
from node.ledger import Ledger
from node.route import Routes
from node.settings import Settings
from node.spool import Spool
from node.triton import Servers

BEAT_SECONDS = 1.0
"""How often a child process is looked after."""
KILL_SECONDS = 10.0
"""How long it takes to kill what has not ended in `engine.stop_seconds`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeParts:
    """The parts of a node that its roles share.

    Parameters
    ----------
    servers
        The Triton servers; only the role `work` uses them.
    wake
        Wakes steps by their names.
    stopping
        Whether the node stops, or is about to.
    """

    settings: Settings
    routes: Routes
    spool: Spool
    ledger: Ledger
    servers: Servers
    wake: Callable[..., None]
    stopping: Callable[[], bool]


class NodeRole:
    """One role of a node: the steps that it runs, and what it starts and stops beside them."""

    def __init__(self, parts: NodeParts) -> None:
        self.parts = parts

    def steps(self) -> list[Step]:
        """Return the steps of the flow that this role runs, and its own."""
        raise NotImplementedError

    def check(self, parts: NodeParts) -> None:
        """Raise a ConfigError or ModelRefused where the role cannot go on with other settings and routes."""

    def renew(self, parts: NodeParts) -> None:
        """Go on with other routes, plugins and destinations; the steps are asked for anew afterwards."""
        self.parts = parts

    def describe(self) -> str:
        """Return what a person should know of what the role depends on; empty if it depends on nothing."""
        return ""

    def start(self) -> None:
        """Recover what a former process left, and start what the steps need. The steps run afterwards."""

    def load(self) -> None:
        """Do what takes long, when all roles have started."""

    def stop(self, seconds: float) -> None:
        """Begin nothing more, and return at once; what runs has so many seconds to end."""

    def close(self, seconds: float) -> None:
        """Wait so many seconds for what still runs, and release everything. The steps have ended."""
