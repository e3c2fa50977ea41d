"""The Triton servers of a node: which of them are up, which one a job asks first, and what is loaded on each."""

import math
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from node.errors import ModelRefused, TritonUnavailable
from node.triton.client import GrpcTriton, pinned
from node.triton.model_loader import ModelLoader, cores
from node.triton.model_memory import ModelMemory

log = structlog.get_logger()

WATCH_SECONDS = 2.0


@dataclass(slots=True, kw_only=True)
class Fleet:
    """Several servers with the same models, each checked now and then.

    Parameters
    ----------
    urls
        Returns host:port of every server, in the order of the settings; a local server has another port after each
        start.
    models
        What is loaded on a server as soon as it is up, as plugin.toml names it.
    deadline_seconds
        How long a model may take for one answer, and to be loaded.
    stopping
        Whether the node stops: no more models are loaded then.
    on_loaded
        Called when a model has been loaded, or could not be.
    urgent
        Returns the models that jobs wait for. They are loaded first.
    loads_at_once
        Models that are loaded at once.
    """

    urls: Callable[[], Sequence[str]]
    models: Sequence[str]
    memory: ModelMemory
    deadline_seconds: float
    stopping: Callable[[], bool] = lambda: False
    on_loaded: Callable[[], None] = lambda: None
    urgent: Callable[[], Collection[str]] = tuple
    loads_at_once: int = field(default_factory=cores)
    _away: set[str] = field(default_factory=set)
    _known: set[str] = field(default_factory=set)
    _instances: dict[tuple[str, str], int] = field(default_factory=dict)
    _running: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _unloading: threading.Lock = field(default_factory=threading.Lock)
    _loader: ModelLoader = field(init=False)

    def __post_init__(self) -> None:
        self._loader = ModelLoader(
            load=self._load,
            done=self.on_loaded,
            urgent=self.urgent,
            stopping=self.stopping,
            threads=self.loads_at_once,
        )

    def start(self) -> None:
        """Begin to load the models on every server that is up, in the background.

        Raises
        ------
        ModelRefused
            A server has no such model in its repository. Whether a model loads is seen later, and logged.
        """
        if self.stopping():
            return
        for url in self.urls() if self.models else ():
            with self._client(url) as triton:
                _check_models(url, triton, self.models)
                self._known.add(url)
                self._loader.put(url, self.models)

    def check(self, models: Sequence[str]) -> None:
        """Raise ModelRefused where a server that is up lacks one of some models."""
        for url in self.urls() if models else ():
            with self._client(url) as triton:
                _check_models(url, triton, models)

    def states(self) -> dict[str, str]:
        """Return the state of each server in words: away, or up, with the number of models that are still loaded."""
        return {url: self._state(url) for url in (self.urls() if self.models else ())}

    def _state(self, url: str) -> str:
        if url in self._away:
            return "is away"
        left = len(self._loader.unfinished(url))
        return f"is up, {left} of {len(self.models)} models are being loaded" if left else "is up"

    def renew(self, models: Sequence[str]) -> None:
        """Have other models loaded from now on; what is loaded stays."""
        new = [model for model in models if model not in self.models]
        self.models = models
        for url in set(self._known):
            self._loader.put(url, new)

    def watch(self) -> float | None:
        """Check which servers are up, begin to load the models on one that came up, and return when to check next."""
        if not self.models:
            return None
        for url in self.urls():
            with self._client(url) as triton:
                triton.last_used()
                if url not in self._known:
                    self._known.add(url)
                    self._loader.put(url, self.models)
        return WATCH_SECONDS

    def is_loading(self, models: Collection[str]) -> bool:
        """Return whether a job must wait for one of its models: every server that is up still has one to load."""
        up = [url for url in self.urls() if url not in self._away]
        return bool(up) and all(self._loader.unfinished(url) & set(models) for url in up)

    @contextmanager
    def lend(self, models: Sequence[str]) -> Iterator[tuple[tuple[str, ...], float]]:
        """Give a job the servers in the order it is to try them, and how many seconds an answer may take.

        Of the servers that are up and have loaded the models, the first is the one where the fewest jobs share an
        instance of one of them. A job that must wait there for others is given so much more time.
        """
        names = tuple(pinned(model)[0] for model in models)
        with self._lock:
            urls = sorted(self.urls(), key=lambda url: (url in self._away, self._unready(url, models, names)))
            lent = (urls[0], names)
            turns = math.floor(self._queue(urls[0], names)) + 1
            self._running.append(lent)
        try:
            self._free_memory(urls[0], names)
            yield tuple(urls), self.deadline_seconds * turns
        except TritonUnavailable:
            self._lost(urls[0])
            raise
        finally:
            with self._lock:
                self._running.remove(lent)

    def _unready(self, url: str, models: Collection[str], names: Sequence[str]) -> tuple[bool, float]:
        return bool(self._loader.unfinished(url) & set(models)), self._queue(url, names)

    def _queue(self, url: str, names: Sequence[str]) -> float:
        """Return how many running jobs there are for one instance of the model that most of them use."""
        others = [theirs for there, theirs in self._running if there == url]
        return max(
            (sum(name in theirs for theirs in others) / self._instances.get((url, name), 1) for name in names),
            default=len(others),
        )

    @contextmanager
    def _client(self, url: str) -> Iterator[GrpcTriton]:
        """Give a client for one server; a server that does not answer counts as away until it answers again."""
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
        """Have a server asked last until it answers again; it may have forgotten what was loaded."""
        if url not in self._away:
            log.warning("triton.away", url=url, reason=reason)
        self._away.add(url)
        self._known.discard(url)
        self._loader.drop(url)

    def _load(self, url: str, model: str) -> None:
        """Load a model on a server, and log how that went."""
        name, _ = pinned(model)
        begun = time.monotonic()
        log.info("model.loading", model=model, url=url)
        try:
            with self._client(url) as triton:
                self._free_memory(url, [name])
                triton.prepare([model], self.deadline_seconds)
                self._instances[url, name] = triton.signature(name).instances
                log.info("model.ready", model=model, url=url, seconds=round(time.monotonic() - begun, 1))
        except ModelRefused as error:
            log.error(
                "model.refused",
                model=model,
                url=url,
                reason=str(error),
                mend="mend the model, then run isocenter check and isocenter requeue; jobs that need it are parked",
            )

    def _free_memory(self, url: str, names: Sequence[str]) -> None:
        """Unload models so that others fit; a server that does not answer is left to the job that asks it."""
        if not self.memory.limit or not names:
            return
        triton = GrpcTriton([url])
        try:
            with self._unloading:
                used = triton.last_used()
                with self._lock:
                    busy = {name for there, theirs in self._running if there == url for name in theirs}
                loading = {pinned(model)[0] for model in self._loader.running(url)}
                for name in self.memory.to_unload({*names, *loading}, used, busy):
                    log.info("model.unloaded", model=name, url=url)
                    triton.unload(name)
        except TritonUnavailable as error:
            log.warning("triton.away", url=url, reason=str(error))
        finally:
            triton.close()


def _check_models(url: str, triton: GrpcTriton, models: Sequence[str]) -> None:
    """Raise ModelRefused for the first model that a server does not have in its repository."""
    names = {model.name for model in triton.models()}
    for model in models:
        if pinned(model)[0] not in names:
            raise ModelRefused(
                f"Triton at {url} has no model {pinned(model)[0]}: put its folder into the server's model repository, "
                "or mend the name in plugin.toml."
            )
