"""The rows that remember: schema, and every SQL statement."""

from node.ledger.database import conninfo
from node.ledger.ledger import Ledger
from node.ledger.queue import JobQueue

__all__ = ["JobQueue", "Ledger", "conninfo"]
