"""The node's log: on stderr, one line for each event, as text in a terminal and as JSON elsewhere."""

import logging
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor

from node.plain_text import plain

Format = Literal["auto", "text", "json"]
Level = Literal["debug", "info", "warning", "error"]

ENDINGS = {"parked": "error", "postponed": "warning", "superseded": "warning", "reload_refused": "error"}
"""The end of an event's name → level of its line; other events are of level info, those of single instances debug."""
LOGGED_ELSEWHERE = {"node.reload", "node.reloaded", "node.reload_refused"}

log = structlog.get_logger()


class StandardError:
    """The standard error stream of the process; a terminal that was closed costs the lines, and nothing else."""

    def write(self, text: str) -> None:
        """Write, where the stream still takes it."""
        with suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        """Flush, where the stream still takes it."""
        with suppress(OSError, ValueError):
            sys.stderr.flush()


def log_to_stderr(level: Level = "info", form: Format = "auto") -> None:
    """Write the node's log to stderr, one line for each event; pynetdicom's own log shows critical errors only.

    Parameters
    ----------
    form
        "auto" is text in a terminal, and JSON elsewhere.
    """
    in_terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[plain_values, structlog.stdlib.add_log_level, add_time, *_renderers(form, in_terminal=in_terminal)],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", StandardError())),
    )
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)


def _renderers(form: Format, *, in_terminal: bool) -> list[Processor]:
    if form == "text" or (form == "auto" and in_terminal):
        return [structlog.dev.ConsoleRenderer(colors=in_terminal)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False, default=str)]


def plain_values(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Make every text of an event fit to be printed: much of it comes from headers, peers and plugins."""
    return {name: plain(value) if isinstance(value, str) else value for name, value in event.items()}


def add_time(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Add the time in UTC, with its offset and milliseconds (RFC 3339)."""
    first = {"timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"), "level": event["level"]}
    return {**first, "event": event["event"], **event}


def log_associations() -> None:
    """Write pynetdicom's own log of associations to stderr, too: what is proposed, accepted and rejected."""
    handler = logging.StreamHandler(cast("TextIO", StandardError()))
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("pynetdicom")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)


def log_event(study_uid: str, name: str, detail: str, facts: Mapping[str, Any]) -> None:
    """Log an event of the ledger once it is committed: the log tells the history of each study as it happens."""
    if name in LOGGED_ELSEWHERE:
        return
    level = "debug" if name.startswith("instance.") else ENDINGS.get(name.rpartition(".")[2], "info")
    shown = {"study": study_uid, **facts, "detail": detail}
    getattr(log, level)(name, **{key: value for key, value in shown.items() if value not in ("", None)})
