"""Models are loaded in the background, several at once, while the node does all that needs none of them."""

import os
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from node.errors import NodeError

Task = tuple[str, str]
"""A server's host:port, and a model as plugin.toml names it."""


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


@dataclass(slots=True, kw_only=True)
class ModelLoader:
    """Loads models on servers, in threads that end when there is nothing left to load.

    Parameters
    ----------
    load
        Loads one model on one server, and raises nothing.
    done
        Called after each model, whether it was loaded or not.
    urgent
        Returns the models that jobs wait for. They are loaded first.
    stopping
        Whether the node stops: no more models are loaded then.
    threads
        Models that are loaded at once.
    """

    load: Callable[[str, str], None]
    done: Callable[[], None]
    urgent: Callable[[], Collection[str]]
    stopping: Callable[[], bool]
    threads: int = field(default_factory=cores)
    _pending: list[Task] = field(default_factory=list)
    _running: set[Task] = field(default_factory=set)
    _threads: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, url: str, models: Iterable[str]) -> None:
        """Have models loaded on a server, those that are not on their way already; return at once."""
        with self._lock:
            known = {*self._pending, *self._running}
            self._pending += [task for task in ((url, model) for model in models) if task not in known]
            more = max(min(self.threads - self._threads, len(self._pending)), 0)
            self._threads += more
        for _ in range(more):  # daemons: a server that does not answer keeps no process from ending
            threading.Thread(target=self._work, name="model loader", daemon=True).start()

    def drop(self, url: str) -> None:
        """Forget what is not yet being loaded on a server."""
        with self._lock:
            self._pending = [task for task in self._pending if task[0] != url]

    def unfinished(self, url: str) -> set[str]:
        """Return the models that are still to be loaded on a server, or are being loaded."""
        with self._lock:
            return {model for server, model in (*self._pending, *self._running) if server == url}

    def running(self, url: str) -> set[str]:
        """Return the models that are being loaded on a server."""
        with self._lock:
            return {model for server, model in self._running if server == url}

    def _work(self) -> None:
        try:
            while (task := self._next()) is not None:
                try:
                    self.load(*task)
                finally:
                    with self._lock:
                        self._running.discard(task)
                self.done()
        finally:
            with self._lock:
                self._threads -= 1

    def _next(self) -> Task | None:
        """Take the first task of an urgent model, else the first of all; None at the end."""
        try:
            urgent = set(self.urgent())
        except NodeError:  # the ledger is away
            urgent = set()
        with self._lock:
            if not self._pending or self.stopping():
                return None
            task = next((task for task in self._pending if task[1] in urgent), self._pending[0])
            self._pending.remove(task)
            self._running.add(task)
            return task
