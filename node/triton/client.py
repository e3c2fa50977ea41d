"""Triton as the node sees it: arrays in, arrays out."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

import numpy as np

from node.arena import Arena
from node.errors import ConfigError, TritonUnavailable
from node.triton.server_connection import MESSAGE_BYTES, PROBE_SECONDS, ServedModel, ServerConnection
from node.triton.shared_memory import SHARED_FROM
from node.triton.tensors import Array, Signature

Outcome = TypeVar("Outcome")


class HasArray(Protocol):
    """Something that carries an array, as `Volume` does: its `array` is sent."""

    @property
    def array(self) -> Array: ...  # noqa: D102


class Triton(Protocol):
    """The seam between the node and Triton: `GrpcTriton` is real, `FakeTriton` is for plugin authors."""

    def prepare(self, models: Sequence[str], deadline_seconds: float) -> None:
        """Return when each of `models` is ready to infer on one server, loading those that are not.

        A model is named as plugin.toml does: "ct_lung", or "ct_lung:2" where that version alone is to answer from then
        on.

        Raises
        ------
        ModelRefused
            A model is not in the server's repository, does not load, is there in other versions only, or its answers
            would be kept in the server's response cache.
        TritonUnavailable
            No server answers, or the deadline has passed.
        """

    def infer(self, model: str, /, **inputs: Array | HasArray) -> dict[str, Array]:
        """Send each input by its name and return each output by its name, as arrays that may be changed.

        Shapes, index order and units are the model's own. An input is cast to the model's type where every value stays
        exactly what it was. Text (Triton's BYTES) is an array of `str` on both sides, UTF-8 on the wire.

        Raises
        ------
        ModelRefused
            An input has a wrong name, shape or type, or the model itself raised.
        TritonUnavailable
            No server answers, or the deadline has passed.
        """

    def models(self) -> list[ServedModel]:
        """What the first server that answers has in its repository, loaded or not."""

    def version(self, model: str) -> str:
        """The version of `model` that serves, as Triton numbers it: the one that answered last, if one has."""

    def kind(self, model: str) -> str:
        """What stands behind the answers of `model`: "kind" in its config.pbtxt; empty where it does not say."""

    def close(self) -> None:
        """Close all channels; the object may be used again afterwards."""


class GrpcTriton:
    """Triton over gRPC: large arrays by their place in shared memory where the server reaches it, else in binary.

    `urls` are `host:port`, tried in order: the next where one is unavailable, which then is tried last for a while. No
    channel is opened before the first call, so an instance may be handed to, or made in, a child process; one that has
    been used must not cross a fork. `deadline_seconds` bounds each `infer` as a whole, whichever servers it tries; a
    request that is late, or whose process ends, is cancelled on the server. Of requests that wait there those of
    `priority` above 0 go first and those below 0 last, where the model's queue has priorities.

    Parameters
    ----------
    urls
        host:port of each server.
    arena
        What the servers of this machine read arrays from and write answers into.
    message_bytes
        What a message may have at most.
    shared_from
        Bytes of the smallest array that goes through the arena.
    """

    def __init__(
        self,
        urls: Sequence[str],
        deadline_seconds: float = 300,
        priority: int = 0,
        arena: Arena | None = None,
        *,
        message_bytes: int = MESSAGE_BYTES,
        shared_from: int = SHARED_FROM,
    ) -> None:
        if not urls:
            raise ConfigError("[triton] urls is empty: name one server at least.")
        self._servers = [ServerConnection(url, priority, arena, message_bytes, shared_from) for url in urls]
        self._deadline_seconds = deadline_seconds
        self._pins: dict[str, str] = {}  # model → version
        self._answered: dict[str, str] = {}  # model → version

    def prepare(self, models: Sequence[str], deadline_seconds: float) -> None:
        """See `Triton.prepare`; with no model to prepare, no server is asked."""
        if not models:
            return

        wanted = dict(map(pinned, models))
        self._pins |= wanted

        def work(server: "ServerConnection", ends: float) -> None:
            server.probe()
            for model, version in wanted.items():
                server.signature(model, version, ends)

        self._first(work, deadline_seconds)

    def infer(self, model: str, /, **inputs: Array | HasArray) -> dict[str, Array]:
        """See `Triton.infer`."""
        arrays = {name: np.asarray(getattr(value, "array", value)) for name, value in inputs.items()}

        def work(server: "ServerConnection", ends: float) -> tuple[str, dict[str, Array]]:
            return server.infer(model, self._pins.get(model, ""), arrays, ends)

        version, outputs = self._first(work, self._deadline_seconds)
        self._answered[model] = version
        return outputs

    def models(self) -> list[ServedModel]:
        """See `Triton.models`."""
        return self._first(lambda server, _: server.models(), PROBE_SECONDS * len(self._servers))

    def version(self, model: str) -> str:
        """See `Triton.version`."""
        return self._answered.get(model) or self.signature(model).version

    def kind(self, model: str) -> str:
        """See `Triton.kind`."""
        return self.signature(model).kind

    def signature(self, model: str) -> Signature:
        """Return the metadata of a model from the first server that answers; the model is loaded first."""
        pin = self._pins.get(model, "")
        return self._first(lambda server, ends: server.signature(model, pin, ends), self._deadline_seconds)

    def last_used(self) -> dict[str, int]:
        """When each loaded model was last asked, in ms since 1970, as the server has it; 0 where it never was."""
        return self._first(lambda server, _: server.last_used(), PROBE_SECONDS * len(self._servers))

    def unload(self, model: str) -> None:
        """Have the server unload a model after its requests; a server without model control keeps it."""
        self._first(lambda server, _: server.unload(model), PROBE_SECONDS * len(self._servers))

    def let_go(self, names: Iterable[str]) -> None:
        """Have every server that has one of these arenas mapped unmap it."""
        for server in self._servers:
            server.let_go(names)

    def close(self) -> None:
        """See `Triton.close`."""
        for server in self._servers:
            server.close()

    def _first(self, work: Callable[["ServerConnection", float], Outcome], deadline_seconds: float) -> Outcome:
        """Return what `work` gives on the first server that is available; it is given when it must end, monotonic."""
        ends = time.monotonic() + deadline_seconds
        troubles: list[TritonUnavailable] = []
        for server in sorted(self._servers, key=lambda server: server.rests):
            if troubles and time.monotonic() >= ends:
                break
            try:
                return work(server, ends)
            except TritonUnavailable as trouble:
                server.rest()
                troubles.append(trouble)
        raise TritonUnavailable("; ".join(str(trouble) for trouble in troubles)) from troubles[-1]


def pinned(model: str) -> tuple[str, str]:
    """Return name and version of a model as plugin.toml names it, "ct_lung:2"; an empty version is any."""
    name, _, version = model.partition(":")
    return name, version
