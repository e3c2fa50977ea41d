"""Triton as the node sees it: arrays in, arrays out. Nobody else in the node mentions gRPC."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferenceServerClient, InferResult
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from node.arena import Arena
from node.errors import ConfigError, ModelRefused, TritonUnavailable
from node.triton.model_config import instances
from node.triton.shared_memory import ABOUT_SHARING, Exchange, Tensor, let_go, reach

Array = NDArray[Any]
Outcome = TypeVar("Outcome")

MESSAGE_BYTES = 2**31 - 1  # gRPC counts a message in a signed 32-bit integer
ENVELOPE_BYTES = 2**16  # names, shapes and types beside the arrays
PROBE_SECONDS = 5.0  # a server that does not say "ready" in this time is taken for unavailable
PAUSE_SECONDS = 0.2
REST_SECONDS = 10.0  # how long a server that was unavailable is asked after all others
OPTIONS = [
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.enable_http_proxy", 0),  # a hospital's http_proxy is for the web; images do not go through it
]

CLOCK = {  # https://grpc.github.io/grpc/core/md_doc_statuscodes.html; every other status is a refusal
    "StatusCode.UNAVAILABLE": "cannot be reached",
    "StatusCode.DEADLINE_EXCEEDED": "did not answer in time",
    "StatusCode.RESOURCE_EXHAUSTED": "is overloaded",
    "StatusCode.CANCELLED": "broke off",
}
NO_LOADING = "explicit model load"  # Triton says UNAVAILABLE for a server whose model control mode is not explicit
TOO_LARGE = "larger than max"  # gRPC says RESOURCE_EXHAUSTED for a message that will never fit
PERSON = (NO_LOADING, TOO_LARGE)
UNLOADED = "has no available versions"  # of a model that was ready a moment ago: its server ends, or was told to unload
LOADING = "currently loading"  # somebody else has asked for the same model and is being served


class HasArray(Protocol):
    """Something that carries an array, as `Volume` does: its `array` is sent."""

    @property
    def array(self) -> Array: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """One version of one model in the server's repository; `version` is empty while no version is loaded."""

    name: str
    version: str
    ready: bool
    reason: str


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

    def close(self) -> None:
        """Close all channels; the object may be used again afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a server says of one loaded model.

    `instances` is how many requests it works on at once, `levels` how many priorities its queue knows (0: none).
    """

    version: str
    instances: int
    levels: int
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


class GrpcTriton:
    """Triton over gRPC: large arrays by their place in shared memory where the server reaches it, else in binary.

    `urls` are `host:port`, tried in order: the next where one is unavailable, which then is tried last for a while. No
    channel is opened before the first call, so an instance may be handed to, or made in, a child process; one that has
    been used must not cross a fork. `deadline_seconds` bounds each `infer` as a whole, whichever servers it tries; a
    request that is late, or whose process ends, is cancelled on the server. Of requests that wait there those of
    `priority` above 0 go first and those below 0 last, where the model's queue has priorities.
    """

    def __init__(
        self, urls: Sequence[str], deadline_seconds: float = 300, priority: int = 0, arena: Arena | None = None
    ) -> None:
        if not urls:
            raise ConfigError("[triton] urls is empty: name one server at least.")
        self._servers = [_Server(url, priority, arena) for url in urls]
        self._deadline_seconds = deadline_seconds
        self._pins: dict[str, str] = {}  # model → version
        self._answered: dict[str, str] = {}  # model → version

    def prepare(self, models: Sequence[str], deadline_seconds: float) -> None:
        """See `Triton.prepare`; with no model to prepare, no server is asked."""
        if not models:
            return

        wanted = dict(map(pinned, models))
        self._pins |= wanted

        def work(server: "_Server", ends: float) -> None:
            server.probe()
            for model, version in wanted.items():
                server.signature(model, version, ends)

        self._first(work, deadline_seconds)

    def infer(self, model: str, /, **inputs: Array | HasArray) -> dict[str, Array]:
        """See `Triton.infer`."""
        arrays = {name: np.asarray(getattr(value, "array", value)) for name, value in inputs.items()}

        def work(server: "_Server", ends: float) -> tuple[str, dict[str, Array]]:
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

    def signature(self, model: str) -> Signature:
        """What the first server that answers says of a model, which is loaded for it."""
        pin = self._pins.get(model, "")
        return self._first(lambda server, ends: server.signature(model, pin, ends), self._deadline_seconds)

    def last_used(self) -> dict[str, int]:
        """When each loaded model was last asked, in ms since 1970, as the server has it; 0 where it never was."""
        return self._first(lambda server, _: server.last_used(), PROBE_SECONDS * len(self._servers))

    def unload(self, model: str) -> None:
        """Have the server unload a model when it has answered what it was asked; one that unloads none keeps it."""
        self._first(lambda server, _: server.unload(model), PROBE_SECONDS * len(self._servers))

    def let_go(self, names: Iterable[str]) -> None:
        """Have every server that has one of these arenas mapped unmap it."""
        for server in self._servers:
            server.let_go(names)

    def close(self) -> None:
        """See `Triton.close`."""
        for server in self._servers:
            server.close()

    def _first(self, work: Callable[["_Server", float], Outcome], deadline_seconds: float) -> Outcome:
        """What `work` gives on the first server that is available; `work` is told when, by `time.monotonic`, to end."""
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


class _Server:
    """One Triton server: the calls, each with its errors translated."""

    def __init__(self, url: str, priority: int, arena: Arena | None) -> None:
        self.url = url
        self._arena = arena
        self._priority = priority
        self._rested = 0.0  # when, by time.monotonic, it is tried in its turn again
        self._client: Any = None
        self._signatures: dict[str, Signature] = {}
        self._reached = self._beyond = ""  # the arena that the server has mapped, and the one that it cannot

    @property
    def client(self) -> Any:
        if self._client is None:
            self._client = InferenceServerClient(self.url, channel_args=OPTIONS)
        return self._client

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None
        self._reached = self._beyond = ""
        self._signatures.clear()

    @property
    def rests(self) -> bool:
        return time.monotonic() < self._rested

    def rest(self) -> None:
        self._rested = time.monotonic() + REST_SECONDS

    def probe(self) -> None:
        with _errors(self.url):
            if not self.client.is_server_live(client_timeout=PROBE_SECONDS):
                raise TritonUnavailable(f"Triton at {self.url} is not live yet.")

    def models(self) -> list[ServedModel]:
        with _errors(self.url):
            index = self.client.get_model_repository_index(client_timeout=PROBE_SECONDS)
        return [
            ServedModel(name=m.name, version=m.version, ready=m.state == "READY", reason=_sentence(m.reason))
            for m in index.models
        ]

    def last_used(self) -> dict[str, int]:
        with _errors(self.url):
            told = self.client.get_inference_statistics(client_timeout=PROBE_SECONDS).model_stats
        return {name: max(m.last_inference for m in told if m.name == name) for name in {m.name for m in told}}

    def unload(self, model: str) -> None:
        with suppress(ModelRefused), _errors(self.url, model):
            self.client.unload_model(model, client_timeout=PROBE_SECONDS)

    def signature(self, model: str, pin: str, ends: float) -> Signature:
        """What the server says of `model`, loaded now where it is not ready: a restarted server forgets."""
        if self._ready(model, pin) and model in self._signatures:
            return self._signatures[model]
        self._load(model, pin, ends)
        with _errors(self.url, model):
            metadata = self.client.get_model_metadata(model, pin, client_timeout=PROBE_SECONDS)
            config = self.client.get_model_config(model, pin, client_timeout=PROBE_SECONDS).config
        if config.response_cache.enable:
            raise ModelRefused(
                f"model {model} at {self.url} would have its answers kept in the server's response cache, which is "
                "not for patients' data: take response_cache out of its config.pbtxt."
            )
        optional = {entry.name for entry in config.input if entry.optional}
        self._signatures[model] = Signature(
            version=pin or max(metadata.versions, key=int, default=""),
            instances=instances(config),
            levels=config.dynamic_batching.priority_levels,
            inputs={entry.name: _tensor(entry, optional) for entry in metadata.inputs},
            outputs={entry.name: _tensor(entry, optional) for entry in metadata.outputs},
        )
        return self._signatures[model]

    def infer(self, model: str, pin: str, arrays: dict[str, Array], ends: float) -> tuple[str, dict[str, Array]]:
        signature = self.signature(model, pin, ends)
        fitted = _fitted(model, signature, arrays)
        shared = self._mapped_arena(ends)
        for place, answers in ((shared, True), (shared, False), (None, False)):
            exchange = Exchange(place, fitted, signature.inputs, signature.outputs, answers=answers)
            if (result := self._ask(model, pin, exchange, ends)) is not None:
                break
            self._reached = ""
        response = result.get_response()
        return response.model_version, {
            output.name: _output(model, output, result, exchange) for output in response.outputs
        }

    def _ask(self, model: str, pin: str, exchange: Exchange, ends: float) -> Any:
        """Send one request and return the result; None where the server cannot have it in this way."""
        if exchange.message_bytes + ENVELOPE_BYTES > MESSAGE_BYTES:
            raise ModelRefused(
                f"the inputs of model {model} are {exchange.message_bytes / 2**20:.0f} MiB together, and gRPC carries "
                f"less than 2048: send a smaller type or fewer slices."
            )
        with _errors(self.url, model):
            try:
                return self.client.infer(
                    model, exchange.inputs(), pin, exchange.outputs(),
                    priority=_level(self._priority, self._signatures[model].levels), client_timeout=_left(ends),
                )  # fmt: skip
            except InferenceServerException as error:
                if exchange.shares and ABOUT_SHARING in error.message():
                    return None
                if exchange.places and error.status() in CLOCK:
                    exchange.abandon()  # the server may still write into the arena
                raise

    def _mapped_arena(self, ends: float) -> Arena | None:
        """The arena, if the server has it mapped, or can map it; asked once for each server."""
        arena = self._arena
        if arena is None or arena.abandoned or self._beyond == arena.name:
            return None
        if self._reached != arena.name:
            reached = reach(self.client, arena, min(PROBE_SECONDS, _left(ends)))
            self._reached, self._beyond = (arena.name, "") if reached else ("", arena.name)
        return arena if self._reached else None

    def let_go(self, names: Iterable[str]) -> None:
        """Have the server unmap arenas, if it is there."""
        for name in names:
            let_go(self.client, name, PROBE_SECONDS)

    def _ready(self, model: str, pin: str) -> bool:
        with _errors(self.url, model):
            return bool(self.client.is_model_ready(model, pin, client_timeout=PROBE_SECONDS))

    def _load(self, model: str, pin: str, ends: float) -> None:
        loaded = False
        while not self._ready(model, pin):
            known = [entry for entry in self.models() if entry.name == model]
            if not known:
                raise ModelRefused(
                    f"Triton at {self.url} has no model {model}: put its folder into the server's model repository, "
                    f"or mend the name in plugin.toml."
                )
            if loaded and pin:
                there = _listed(entry.version for entry in known if entry.ready)
                raise ModelRefused(
                    f"model {model} serves version {there} at {self.url}, and the plugin asks for version {pin}: bring "
                    "that version back (its folder, or version_policy in config.pbtxt), or mend models in plugin.toml."
                )
            try:
                with _errors(self.url, model):
                    self.client.load_model(model, client_timeout=_left(ends))
                    loaded = True
            except TritonUnavailable as error:
                if LOADING not in str(error) or time.monotonic() > ends:
                    raise
                time.sleep(PAUSE_SECONDS)
            except ModelRefused as error:
                if NO_LOADING not in str(error):
                    raise
                reason = known[-1].reason or "it is not loaded"
                raise ModelRefused(
                    f"model {model} is not ready at {self.url} ({reason}), and that server loads none on request: "
                    f"mend the model and restart the server."
                ) from error


def pinned(model: str) -> tuple[str, str]:
    """Return name and version of a model as plugin.toml names it, "ct_lung:2"; an empty version is any."""
    name, _, version = model.partition(":")
    return name, version


def server_name(address: str) -> str | None:
    """The name that the server at `address` was started with (`--id`), or None while nobody answers there."""
    client = InferenceServerClient(address, channel_args=OPTIONS)
    try:
        return str(client.get_server_metadata(client_timeout=PROBE_SECONDS).name)
    except InferenceServerException:
        return None
    finally:
        client.close()


@contextmanager
def _errors(url: str, model: str | None = None) -> Iterator[None]:
    """The one place where gRPC's errors become ours: `CLOCK` has those for the clock, a person has the rest."""
    try:
        yield
    except InferenceServerException as error:
        message = error.message() or ""
        reason = _sentence(message)
        about = f"model {model} at {url}" if model else f"Triton at {url}"
        later = "has just been unloaded" if UNLOADED in message else CLOCK.get(error.status())
        if later and not any(words in message for words in PERSON):
            raise TritonUnavailable(f"{about} {later}: {reason}.") from error
        raise ModelRefused(f"{about} refused: {reason}.") from error


def _sentence(message: str | None) -> str:
    """Triton's reason without its traceback and without the phrases that it wraps around a Python error."""
    text = (message or "").partition("\n\nAt:")[0]
    for phrase in (", message: ", " state: Internal: ", " state: Invalid argument: "):
        text = text.rpartition(phrase)[2]
    return " ".join(text.split())[:400].rstrip(" ;.")


def _level(priority: int, levels: int) -> int:
    """Return a priority in Triton's numbers: 1 first, `levels` last, 0 what is the model's default."""
    if priority == 0 or levels == 0:
        return 0
    return 1 if priority > 0 else levels


def _left(ends: float) -> float:
    return max(ends - time.monotonic(), 0.001)


def _tensor(entry: Any, optional: set[str]) -> Tensor:
    return Tensor(name=entry.name, datatype=entry.datatype, shape=tuple(entry.shape), optional=entry.name in optional)


def _fitted(model: str, signature: Signature, arrays: dict[str, Array]) -> dict[str, Array]:
    """The inputs, once they are what the server says it takes."""
    needed = {name for name, tensor in signature.inputs.items() if not tensor.optional}
    if not needed <= arrays.keys() <= signature.inputs.keys():
        raise ModelRefused(
            f"model {model} takes the inputs {_listed(signature.inputs)}; the plugin gave {_listed(arrays)}."
        )
    return {name: _fit(model, signature.inputs[name], array) for name, array in arrays.items()}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _fit(model: str, tensor: Tensor, array: Array) -> Array:
    wrong = f"model {model} takes {tensor.name} as {tensor}; the plugin gave {array.dtype} of shape {array.shape}"
    shape_fits = len(array.shape) == len(tensor.shape) and all(
        want in (-1, have) for want, have in zip(tensor.shape, array.shape, strict=True)
    )
    if not shape_fits:
        raise ModelRefused(f"{wrong}.")
    if tensor.datatype == "BYTES":
        if array.dtype.kind not in "SUO":
            raise ModelRefused(f"{wrong}.")
        return _encoded(array)
    exact = _exact(array, np.dtype(triton_to_np_dtype(tensor.datatype)))
    if exact is None:
        raise ModelRefused(f"{wrong}, with values that this type cannot hold exactly.")
    return exact


def _exact(array: Array, dtype: np.dtype[Any]) -> Array | None:
    """`array` as `dtype`, or None where a value would not stay what it was (NaN stays NaN among floats)."""
    if array.dtype == dtype:
        return array
    if array.dtype.kind not in "biuf":
        return None
    if np.can_cast(array.dtype, dtype, "safe"):
        return array.astype(dtype)
    if array.dtype.kind in "iu" and dtype.kind in "iu" and array.size:
        limits = np.iinfo(dtype)
        return array.astype(dtype) if limits.min <= array.min() and array.max() <= limits.max else None
    with np.errstate(invalid="ignore", over="ignore"):
        cast = array.astype(dtype)
    return cast if np.array_equal(cast, array, equal_nan=dtype.kind == array.dtype.kind == "f") else None


def _encoded(array: Array) -> Array:
    texts = [text if isinstance(text, bytes) else str(text).encode() for text in array.ravel().tolist()]
    encoded = np.empty(array.size, np.object_)
    encoded[:] = texts
    return encoded.reshape(array.shape)


def _output(model: str, output: Any, result: InferResult, exchange: Exchange) -> Array:
    name = output.name
    try:
        if (written := exchange.answered(output)) is not None:
            return written
        array: Array = result.as_numpy(name)
        if output.datatype == "BYTES":
            texts = [text.decode() for text in array.ravel().tolist()]
            return np.array(texts, np.str_).reshape(array.shape)
    except ValueError as error:  # UnicodeDecodeError among them
        raise ModelRefused(f"model {model} answered {name} with bytes that do not make its array: {error}.") from error
    return array if array.flags.writeable else array.copy()
