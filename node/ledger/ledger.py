"""The ledger: one object that opens the database and holds all its parts."""

import time
from collections.abc import Callable

from node.ledger.commitment_requests import CommitmentRequests
from node.ledger.commitments import Commitments
from node.ledger.database import BUSY_SECONDS, Database
from node.ledger.deliveries import Deliveries
from node.ledger.events import Events
from node.ledger.failed_associations import FailedAssociations
from node.ledger.fallbacks import Fallbacks
from node.ledger.future_times import FutureTimes
from node.ledger.instances import Instances
from node.ledger.interventions import Interventions
from node.ledger.job_queue import JobQueue
from node.ledger.jobs import Jobs
from node.ledger.node_processes import NodeProcesses
from node.ledger.overview import Overview
from node.ledger.pauses import Pauses
from node.ledger.priors import PriorStudies
from node.ledger.queries import Queries
from node.ledger.rebuilding import Rebuilding
from node.ledger.retention import Retention
from node.ledger.studies import Studies


class Ledger:
    """The ledger on SQLite (WAL, synchronous FULL) or PostgreSQL; opened, it has this program's schema.

    Parameters
    ----------
    url
        `sqlite:////absolute/path`, created if it does not exist; or `postgresql://user:password@host/name`, a database
        that exists.
    clock
        Seconds since 1970; another one in tests.
    queue
        The queue of job ids in the same PostgreSQL database; without one, the engine looks into the ledger itself.
    busy_seconds
        Seconds that a statement waits for the transaction of another program.

    Raises
    ------
    ConfigError
        The URL is not valid, its place cannot be written, or a newer version of this program has written it.
    LedgerUnavailable
        From any method: the database does not answer, is locked, or cannot be written now.
    LedgerRefused
        From any method: the database can never store the value.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], float] = time.time,
        queue: JobQueue | None = None,
        busy_seconds: float = BUSY_SECONDS,
    ) -> None:
        self.db = Database(url, clock=clock, queue=queue, busy_seconds=busy_seconds)
        self.instances = Instances(self.db)
        self.studies = Studies(self.db)
        self.priors = PriorStudies(self.db)
        self.jobs = Jobs(self.db)
        self.fallbacks = Fallbacks(self.db)
        self.deliveries = Deliveries(self.db)
        self.commitments = Commitments(self.db)
        self.requests = CommitmentRequests(self.db)
        self.retention = Retention(self.db)
        self.rebuilding = Rebuilding(self.db)
        self.events = Events(self.db)
        self.failed_associations = FailedAssociations(self.db)
        self.future_times = FutureTimes(self.db)
        self.queries = Queries(self.db)
        self.interventions = Interventions(self.db)
        self.overview = Overview(self.db)
        self.processes = NodeProcesses(self.db)
        self.pauses = Pauses(self.db)

    def close(self) -> None:
        """Close all connections."""
        self.db.close()
