"""Run a node in one role or all, until SIGTERM or Ctrl-C."""

import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import structlog

from node.app import Node
from node.commands import systemd
from node.commands.check import check_doors, check_known_destinations
from node.commands.shutdown import Shutdown
from node.errors import NodeError
from node.log import log_to_stderr
from node.settings import Settings, environment, forget_overrides
from node.triton import Servers

log = structlog.get_logger()


def serve(config: Path, roles: Sequence[str], shutdown: Shutdown) -> None:
    """Start a node, have it read its files again at SIGHUP, and stop it when another signal comes.

    Raises
    ------
    ConfigError, ModelRefused
        The configuration cannot be served; the message says what to mend.
    """
    settings, overrides = Settings.read(config), environment()
    forget_overrides()
    log_to_stderr(settings.log.level, settings.log.format)
    try:
        _serve(Node(settings, roles, reread=partial(Settings.read, config, overrides)), shutdown)
    except NodeError as error:
        log.error("node.failed", reason=str(error))
        raise


def _serve(node: Node, shutdown: Shutdown) -> None:
    settings = node.settings
    if "receive" in node.roles:  # a port in use is told before Triton has started
        check_doors(settings)
    if "deliver" in node.roles:  # beside the start: a destination that is down must not delay it
        threading.Thread(target=check_known_destinations, args=(settings, node.ledger), daemon=True).start()
    needed = "work" in node.roles and bool(node.routes.models)
    with Servers(settings.triton, settings.spool.path / "triton.log", needed) as servers:
        node.start(servers, stopping=lambda: shutdown.requested)
        systemd.notify("READY=1", f"STATUS=serves as {', '.join(node.roles)}")
        systemd.start_watchdog(lambda: node.alive)
        shutdown.wait(settings.engine.stop_seconds, on_hangup=node.reload)
        systemd.notify("STOPPING=1")
        node.stop()
