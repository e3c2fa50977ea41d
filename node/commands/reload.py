"""Have the nodes on a ledger take in new routes, plugins and destinations."""

import time
from dataclasses import dataclass

from node.app import load_routes
from node.notifications import RELOAD
from node.settings import Settings
from node.storage import open_ledger

WAIT_SECONDS, LOOK_SECONDS = 15.0, 0.2
"""How long the nodes may take to answer, and how often to look."""
ANSWERS = {"node.reloaded": True, "node.reload_refused": False}


@dataclass(frozen=True, slots=True)
class NodeAnswer:
    """What a node made of the files."""

    good: bool
    sentence: str


def reload(settings: Settings, *, seconds: float = WAIT_SECONDS) -> list[NodeAnswer]:
    """Check the files, ask every node on the ledger to read its own, and return what the first of them say.

    Raises
    ------
    ConfigError
        A mistake in the files: no node was asked.
    """
    load_routes(settings)
    ledger = open_ledger(settings)
    after = ledger.events.last()
    ledger.events.add("", RELOAD, "")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        told = [event for _, event in ledger.events.read("", after=after) if event.name in ANSWERS]
        if told:
            return [NodeAnswer(ANSWERS[event.name], f"process {event.detail}") for event in told]
        time.sleep(LOOK_SECONDS)
    return [NodeAnswer(good=False, sentence=f"no node answered in {seconds:g} s: none runs on this ledger")]
