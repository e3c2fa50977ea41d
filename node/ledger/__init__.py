"""The ledger: the database of studies, jobs and deliveries; its schema, and every SQL statement."""

from node.ledger.database import conninfo
from node.ledger.job_queue import JobQueue
from node.ledger.ledger import Ledger

__all__ = ["JobQueue", "Ledger", "conninfo"]
