"""The node's log: to stderr, one line an event."""

import logging
import sys

import structlog


def log_to_stderr() -> None:
    """Send the node's log to stderr, one line an event; pynetdicom's own is silent but for errors."""
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)


def quiet_log() -> None:
    """Keep the log out of a command whose output people read; warnings still show."""
    log_to_stderr()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
