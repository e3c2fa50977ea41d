"""procrastinate as the courier between machines: it brings job ids through PostgreSQL to a process with a free slot.

procrastinate is an optional extra: this module is imported only where `engine.kind` names it.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event

from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import ConnectorException
from procrastinate.schema import SchemaManager
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from node.errors import LedgerUnavailable

POLL_SECONDS = 1.0
"""How often the queue is searched without a notification, for ids that become due, or whose notification is lost."""
CONNECT_SECONDS = 5.0
"""How long to wait for a database that does not answer; the engine then tries again."""


def schema() -> str:
    """Return the SQL that creates procrastinate's tables."""
    return str(SchemaManager.get_schema())


@dataclass(slots=True)
class Procrastinate:
    """Takes job ids from the queue that the ledger fills, while a slot is free for them.

    Parameters
    ----------
    conninfo
        The PostgreSQL database of the ledger, as a connection string of libpq.
    queue, task
        Names of the queue in procrastinate, and of the task in it.
    poll_seconds, connect_seconds
        How often the queue is searched without a notification, and how long to wait for the database.
    """

    conninfo: str
    queue: str
    task: str
    poll_seconds: float = POLL_SECONDS
    connect_seconds: float = CONNECT_SECONDS
    _threads: ThreadPoolExecutor | None = field(init=False, default=None)  # kept while the database is away
    _stopped: Event = field(init=False, default_factory=Event)
    _end: Callable[[], object] = field(init=False, default=lambda: None)

    def listen(self, work: Callable[[], object], *, name: str, slots: int) -> None:
        """Run `work` for each id that comes, in `slots` threads called `name`; return when stopped.

        Raises
        ------
        LedgerUnavailable
            The database does not answer, or the connection was lost.
        """
        if self._threads is None:
            self._threads = ThreadPoolExecutor(slots, thread_name_prefix=name)
        try:
            asyncio.run(self._listen(work, self._threads, slots))
        except asyncio.CancelledError:
            self._threads.shutdown()
        except (ConnectorException, PoolTimeout) as error:
            reason = str(error.__cause__ or error).strip().partition("\n")[0]
            raise LedgerUnavailable(f"job ids cannot be listened to just now: {reason}") from error

    def stop(self) -> None:
        """Take no more ids; `listen` returns when the work in progress is done."""
        self._stopped.set()
        with suppress(RuntimeError):  # the event loop has ended already
            self._end()

    def _connections(self) -> AsyncConnectionPool:
        return AsyncConnectionPool(
            self.conninfo,
            min_size=1,
            max_size=4,
            timeout=self.connect_seconds,
            open=False,
            check=AsyncConnectionPool.check_connection,
        )

    async def _listen(self, work: Callable[[], object], threads: ThreadPoolExecutor, slots: int) -> None:
        loop = asyncio.get_running_loop()
        app = App(connector=PsycopgConnector())

        @app.task(name=self.task)
        async def deliver(job_id: int) -> None:  # noqa: ARG001 (the ledger decides which job is done)
            await loop.run_in_executor(threads, work)

        async with self._connections() as pool, app.open_async(pool):
            await pool.wait(self.connect_seconds)
            worker = loop.create_task(
                app.run_worker_async(
                    queues=[self.queue],
                    concurrency=slots,
                    fetch_job_polling_interval=self.poll_seconds,
                    delete_jobs="always",
                    install_signal_handlers=False,
                    shutdown_graceful_timeout=0,  # the threads finish the work in progress, and `listen` waits for them
                )
            )
            self._end = lambda: loop.call_soon_threadsafe(worker.cancel)
            if self._stopped.is_set():
                worker.cancel()
            await worker
        raise LedgerUnavailable("job ids cannot be listened to just now: the notifications have ended")
