"""The list of what waits or runs, for `isocenter queue`."""

from typing import Any

from node.ledger import Ledger
from node.ledger.queries import span
from node.plain_text import plain

COLUMNS = ("for", "state", "what", "number", "attempts", "study", "why")


def rows(ledger: Ledger) -> list[dict[str, Any]]:
    """Return studies, jobs and deliveries that are not finished, the oldest first, as rows of `COLUMNS`."""
    now = ledger.db.clock()
    return [
        {
            "for": span(now - waiting.since),
            "state": waiting.state,
            "what": plain(waiting.what),
            "number": waiting.number,
            "attempts": waiting.attempts,
            "study": waiting.study_uid,
            "why": plain(waiting.reason),
        }
        for waiting in ledger.overview.unfinished()
    ]
