"""The Triton servers of a node: which of them live, which one a job asks first, and what is loaded there."""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from node.errors import ModelRefused, TritonUnavailable
from node.triton.client import GrpcTriton, pinned
from node.triton.eviction import Room

log = structlog.get_logger()

WATCH_SECONDS = 2.0


@dataclass(slots=True, kw_only=True)
class Fleet:
    """Several servers with the same models, each looked at now and then.

    Parameters
    ----------
    urls
        Gives host:port of every server, in the order of the settings; a local one has another after each start.
    models
        What is loaded on a server as soon as it lives, as plugin.toml names it.
    deadline_seconds
        How long a model may take for one answer.
    stopping
        Whether the node stops: no more models are loaded then.
    """

    urls: Callable[[], Sequence[str]]
    models: Sequence[str]
    room: Room
    deadline_seconds: float
    stopping: Callable[[], bool] = lambda: False
    _away: set[str] = field(default_factory=set)
    _known: set[str] = field(default_factory=set)
    _instances: dict[tuple[str, str], int] = field(default_factory=dict)
    _running: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _loading: threading.Lock = field(default_factory=threading.Lock)

    def warm(self) -> None:
        """Load the models on every server; one that is away is loaded when it comes back.

        Raises
        ------
        ModelRefused
            A server lacks a model, or it does not load.
        """
        for url in self.urls() if self.models else ():
            with self._looking(url) as triton:
                self._warm(triton, url)

    def watch(self) -> float | None:
        """Look which servers live, load the models where one has come (back); return when to look again."""
        if not self.models:
            return None
        for url in self.urls():
            try:
                with self._looking(url) as triton:
                    triton.last_used()
                    if url not in self._known:
                        self._warm(triton, url)
            except ModelRefused as error:
                log.warning("triton.refused", url=url, reason=str(error))
        return WATCH_SECONDS

    @contextmanager
    def lend(self, models: Sequence[str]) -> Iterator[tuple[tuple[str, ...], float]]:
        """Give a job the servers in the order it is to try them, and how many seconds an answer may take.

        First comes, of those that live, the one where the fewest jobs share an instance of one of the models; who must
        wait there for others may wait so much longer.
        """
        names = tuple(pinned(model)[0] for model in models)
        with self._lock:
            urls = sorted(self.urls(), key=lambda url: (url in self._away, self._queue(url, names)))
            lent = (urls[0], names)
            turns = math.floor(self._queue(urls[0], names)) + 1
            self._running.append(lent)
        try:
            self._make_room(urls[0], names)
            yield tuple(urls), self.deadline_seconds * turns
        except TritonUnavailable:
            self._lost(urls[0])
            raise
        finally:
            with self._lock:
                self._running.remove(lent)

    def _queue(self, url: str, names: Sequence[str]) -> float:
        """How many running jobs there are for one instance of the model that most of them use."""
        others = [theirs for there, theirs in self._running if there == url]
        return max(
            (sum(name in theirs for theirs in others) / self._instances.get((url, name), 1) for name in names),
            default=len(others),
        )

    @contextmanager
    def _looking(self, url: str) -> Iterator[GrpcTriton]:
        """A client for one server, which is away from when it does not answer until it does."""
        triton = GrpcTriton([url], deadline_seconds=self.deadline_seconds)
        try:
            yield triton
            if url in self._away:
                log.info("triton.back", url=url)
                self._away.discard(url)
        except TritonUnavailable as error:
            self._lost(url, str(error))
        finally:
            triton.close()

    def _lost(self, url: str, reason: str = "a job could not use it") -> None:
        """Have a server asked last until it is seen to live; it may have forgotten what was loaded."""
        if url not in self._away:
            log.warning("triton.away", url=url, reason=reason)
        self._away.add(url)
        self._known.discard(url)

    def _warm(self, triton: GrpcTriton, url: str) -> None:
        for model in self.models:
            if self.stopping():
                return
            name, _ = pinned(model)
            self._make_room(url, [name])
            triton.prepare([model], self.deadline_seconds)
            self._instances[url, name] = triton.signature(name).instances
        self._known.add(url)

    def _make_room(self, url: str, names: Sequence[str]) -> None:
        """Unload what has to give way to models; a server that does not answer is left to the job that asks it."""
        if not self.room.limit or not names:
            return
        triton = GrpcTriton([url])
        try:
            with self._loading:
                used = triton.last_used()
                with self._lock:
                    busy = {name for there, theirs in self._running if there == url for name in theirs}
                for name in self.room.to_unload(names, used, busy):
                    log.info("model.unloaded", model=name, url=url)
                    triton.unload(name)
        except TritonUnavailable as error:
            log.warning("triton.away", url=url, reason=str(error))
        finally:
            triton.close()
