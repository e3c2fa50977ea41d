"""The ledger: the database of studies, jobs and deliveries; its schema, and every SQL statement."""

from node.ledger.database import conninfo, read_url
from node.ledger.job_queue import JobQueue
from node.ledger.ledger import Ledger
from node.ledger.ledger_file import count_sound_rows

__all__ = ["JobQueue", "Ledger", "conninfo", "count_sound_rows", "read_url"]
