"""procrastinate as the courier between machines: it brings job ids through PostgreSQL to whoever has a slot free.

It is an optional extra, so nothing here is imported but where `engine.kind` asks for it.
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
"""How often the queue is looked into all the same: for ids that become due, or whose notification is lost."""
CONNECT_SECONDS = 5.0
"""How long a database that is away is waited for; the engine then tries again."""


def schema() -> str:
    """Return the SQL that makes procrastinate's tables."""
    return str(SchemaManager.get_schema())


@dataclass(slots=True)
class Procrastinate:
    """Takes job ids from the queue that ledgers fill, as long as a slot is free for them.

    Parameters
    ----------
    conninfo
        The PostgreSQL database of the ledger, in libpq's words.
    queue, task
        What procrastinate calls the queue, and the task in it.
    """

    conninfo: str
    queue: str
    task: str
    _threads: ThreadPoolExecutor | None = field(init=False, default=None)  # stay when the database is away
    _stopped: Event = field(init=False, default_factory=Event)
    _end: Callable[[], object] = field(init=False, default=lambda: None)

    def listen(self, work: Callable[[], object], *, name: str, slots: int) -> None:
        """Do the work for each id that comes, so many at once, in threads of that name; return when stopped.

        Raises
        ------
        LedgerUnavailable
            The database is away, or was.
        """
        if self._threads is None:
            self._threads = ThreadPoolExecutor(slots, thread_name_prefix=name)
        try:
            asyncio.run(self._listen(work, self._threads, slots))
        except asyncio.CancelledError:
            self._threads.shutdown()
        except (ConnectorException, PoolTimeout) as error:
            said = str(error.__cause__ or error).strip().partition("\n")[0]
            raise LedgerUnavailable(f"job ids cannot be listened to just now: {said}") from error

    def stop(self) -> None:
        """Take no more ids; `listen` returns when the work at hand is done."""
        self._stopped.set()
        with suppress(RuntimeError):  # it has ended by itself
            self._end()

    def _connections(self) -> AsyncConnectionPool:
        check = AsyncConnectionPool.check_connection
        wait = CONNECT_SECONDS
        return AsyncConnectionPool(self.conninfo, min_size=1, max_size=4, timeout=wait, open=False, check=check)

    async def _listen(self, work: Callable[[], object], threads: ThreadPoolExecutor, slots: int) -> None:
        loop = asyncio.get_running_loop()
        app = App(connector=PsycopgConnector())

        @app.task(name=self.task)
        async def deliver(job_id: int) -> None:  # noqa: ARG001 (which job is done, the ledger decides)
            await loop.run_in_executor(threads, work)

        async with self._connections() as pool, app.open_async(pool):
            await pool.wait(CONNECT_SECONDS)
            worker = loop.create_task(
                app.run_worker_async(
                    queues=[self.queue],
                    concurrency=slots,
                    fetch_job_polling_interval=POLL_SECONDS,
                    delete_jobs="always",
                    install_signal_handlers=False,
                    shutdown_graceful_timeout=0,  # the threads go on with the work at hand, and are waited for
                )
            )
            self._end = lambda: loop.call_soon_threadsafe(worker.cancel)
            if self._stopped.is_set():
                worker.cancel()
            await worker
        raise LedgerUnavailable("job ids cannot be listened to just now: the notifications have ended")
