"""The queue of job ids beside the ledger's tables, filled in the same transaction that makes a job due.

It belongs to procrastinate, whose workers empty it. It may be lost: the ledger can fill it again.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Engine, inspect, text

from node.records import JOB_QUEUE, JOB_TASK

LOCK = 0x150_CE27E5
"""The advisory lock of PostgreSQL that is held while procrastinate's tables are made, or lost ids are looked for."""
DEAD_SECONDS = 60.0
"""A worker of procrastinate that has shown no sign of life for so long is dead; it shows one every 10 s."""
NAMES = {"queue": JOB_QUEUE, "task": JOB_TASK}
_PUT = text(
    "SELECT procrastinate_defer_jobs_v1(ARRAY[ROW("
    "CAST(:queue AS varchar), CAST(:task AS varchar), CAST(:priority AS integer), NULL, NULL, "
    "jsonb_build_object('job_id', CAST(:job_id AS integer)), "
    "clock_timestamp() + make_interval(secs => CAST(:seconds AS double precision))"
    ")]::procrastinate_job_to_defer_v1[])"
)
_HOLD = text(f"SELECT pg_try_advisory_xact_lock({LOCK})")
_CLEAN = text(
    "DELETE FROM procrastinate_jobs WHERE queue_name = :queue AND status <> 'todo' AND NOT EXISTS (SELECT 1"
    " FROM procrastinate_workers AS worker WHERE worker.id = worker_id AND worker.last_heartbeat > now() - :dead)"
).bindparams(queue=JOB_QUEUE, dead=timedelta(seconds=DEAD_SECONDS))
IS_MISSING = text(
    "NOT EXISTS (SELECT 1 FROM procrastinate_jobs AS message WHERE message.queue_name = :queue"
    " AND message.status = 'todo' AND CAST(message.args ->> 'job_id' AS integer) = job.id)"
).bindparams(queue=JOB_QUEUE)
"""Of a job: no message that names it waits for a worker."""


@dataclass(frozen=True, slots=True)
class JobQueue:
    """procrastinate's queue in a PostgreSQL ledger; `schema` is the SQL that makes its tables."""

    schema: str

    def prepare(self, engine: Engine) -> None:
        """Make procrastinate's tables where there are none; of several processes at once, one does it."""
        with engine.connect() as connection, connection.begin():
            if _is_there(connection):
                return
            connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
            if not _is_there(connection):
                connection.execution_options(no_parameters=True).exec_driver_sql(self.schema)

    def put(self, connection: Connection, jobs: Iterable[Any], *, now: float) -> None:
        """Put the ids of jobs into the queue, each to be delivered when it is due, by the database's own clock."""
        for due in jobs:
            wait = due.due_at - now
            what = {"job_id": due.id, "priority": due.priority, "seconds": wait if wait > 0 else None}
            connection.execute(_PUT, NAMES | what)

    def clean(self, connection: Connection) -> bool:
        """Delete what dead workers have left in the queue; False while another process sees to it."""
        if not connection.execute(_HOLD).scalar():
            return False
        connection.execute(_CLEAN)
        return True


def _is_there(connection: Connection) -> bool:
    return inspect(connection).has_table("procrastinate_jobs")
