"""The node's log: on stderr, one line for each event."""

import logging
import sys

import structlog
from structlog.typing import EventDict

from node.plain_text import plain


def log_to_stderr() -> None:
    """Write the node's log to stderr, one line for each event; pynetdicom's own log shows critical errors only."""
    structlog.configure(
        processors=[
            plain_values,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)


def plain_values(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Make every text of an event fit to be printed: much of it comes from headers, peers and plugins."""
    return {name: plain(value) if isinstance(value, str) else value for name, value in event.items()}


def quiet_log() -> None:
    """As `log_to_stderr`, but warnings and errors only: for commands whose output people read."""
    log_to_stderr()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
