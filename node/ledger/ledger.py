"""The ledger: the rows that remember."""

from node.ledger.commitments import Commitments
from node.ledger.deliveries import Deliveries
from node.ledger.fallbacks import Fallbacks
from node.ledger.plugin_versions import Versions
from node.ledger.priors import Priors
from node.ledger.queries import Told
from node.ledger.retention import Retention


class Ledger(Versions, Deliveries, Fallbacks, Commitments, Priors, Retention, Told):
    """The ledger on SQLite (WAL, synchronous FULL) or PostgreSQL; opened, it has this program's schema.

    Parameters
    ----------
    url
        `sqlite:////absolute/path`, made where it does not exist; or `postgresql://user:password@host/name`, a database
        that is there.
    clock
        Seconds since 1970; another one in tests.
    queue
        Where an engine takes job ids from, in the same PostgreSQL database; none where it looks into the ledger itself.

    Raises
    ------
    ConfigError
        The URL is none, or names no place that can be written, or a newer program has written it.
    LedgerUnavailable
        From any method: the database is away, locked, or cannot be written just now.
    LedgerRefused
        From any method: the database will never hold what it was given.
    """
