"""One Triton server: the calls of its gRPC interface, each with its errors translated."""

import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferResult
from tritonclient.utils import InferenceServerException

from node.arena import Arena
from node.errors import ModelRefused, TritonUnavailable
from node.triton.grpc_errors import CLOCK, LOADING, NO_LOADING, sentence_of, translated
from node.triton.model_config import instances, kind_of
from node.triton.shared_memory import ABOUT_SHARING, Exchange, let_go, reach
from node.triton.tensors import Array, Signature, Tensor, fit_inputs, listed_names

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """One version of one model in the server's repository; `version` is empty while no version is loaded."""

    name: str
    version: str
    ready: bool
    reason: str


class ServerConnection:
    """One Triton server: the calls, each with its errors translated."""

    def __init__(self, url: str, priority: int, arena: Arena | None, message_bytes: int, shared_from: int) -> None:
        self.url = url
        self._arena = arena
        self._message_bytes, self._shared_from = message_bytes, shared_from
        self._priority = priority
        self._rested = 0.0  # when, by time.monotonic, it is tried in its turn again
        self._client: Any = None
        self._signatures: dict[str, Signature] = {}
        self._reached = self._beyond = ""  # the arena that the server has mapped, and the one that it cannot

    @property
    def client(self) -> Any:
        """The gRPC client, opened at its first use."""
        if self._client is None:
            self._client = InferenceServerClient(self.url, channel_args=OPTIONS)
        return self._client

    def close(self) -> None:
        """Close the channel; it is opened again when it is needed."""
        if self._client is not None:
            self._client.close()
        self._client = None
        self._reached = self._beyond = ""
        self._signatures.clear()

    @property
    def rests(self) -> bool:
        """Whether it was unavailable a moment ago and is tried after all others."""
        return time.monotonic() < self._rested

    def rest(self) -> None:
        """Have it tried after all others for a while."""
        self._rested = time.monotonic() + REST_SECONDS

    def probe(self) -> None:
        """Raise TritonUnavailable where the server is not up."""
        with translated(self.url):
            if not self.client.is_server_live(client_timeout=PROBE_SECONDS):
                raise TritonUnavailable(f"Triton at {self.url} is not live yet.")

    def models(self) -> list[ServedModel]:
        """Return what is in the server's repository, loaded or not."""
        with translated(self.url):
            index = self.client.get_model_repository_index(client_timeout=PROBE_SECONDS)
        return [
            ServedModel(name=m.name, version=m.version, ready=m.state == "READY", reason=sentence_of(m.reason))
            for m in index.models
        ]

    def last_used(self) -> dict[str, int]:
        """Return when each loaded model was last asked, in ms since 1970; 0 where it never was."""
        with translated(self.url):
            stats = self.client.get_inference_statistics(client_timeout=PROBE_SECONDS).model_stats
        return {name: max(m.last_inference for m in stats if m.name == name) for name in {m.name for m in stats}}

    def unload(self, model: str) -> None:
        """Have the server unload a model; a server without model control keeps it."""
        with suppress(ModelRefused), translated(self.url, model):
            self.client.unload_model(model, client_timeout=PROBE_SECONDS)

    def signature(self, model: str, pin: str, ends: float) -> Signature:
        """What the server says of `model`, loaded now where it is not ready: a restarted server forgets."""
        if self._ready(model, pin) and model in self._signatures:
            return self._signatures[model]
        self._load(model, pin, ends)
        with translated(self.url, model):
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
            kind=kind_of(config),
        )
        return self._signatures[model]

    def infer(self, model: str, pin: str, arrays: dict[str, Array], ends: float) -> tuple[str, dict[str, Array]]:
        """Return the version that answered, and its outputs by name; `ends` is by `time.monotonic`."""
        signature = self.signature(model, pin, ends)
        fitted = fit_inputs(model, signature, arrays)
        shared = self._mapped_arena(ends)
        for place, answers in ((shared, True), (shared, False), (None, False)):
            exchange = Exchange(
                place, fitted, signature.inputs, signature.outputs, answers=answers, shared_from=self._shared_from
            )
            if (result := self._ask(model, pin, exchange, ends)) is not None:
                break
            self._reached = ""
        response = result.get_response()
        return response.model_version, {
            output.name: _output(model, output, result, exchange) for output in response.outputs
        }

    def _ask(self, model: str, pin: str, exchange: Exchange, ends: float) -> Any:
        """Send one request and return the result; None where the server cannot have it in this way."""
        if exchange.message_bytes + ENVELOPE_BYTES > self._message_bytes:
            raise ModelRefused(
                f"the inputs of model {model} are {exchange.message_bytes / 2**20:.0f} MiB together, and gRPC carries "
                f"less than 2048: send a smaller type or fewer slices."
            )
        with translated(self.url, model):
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
        with translated(self.url, model):
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
                there = listed_names(entry.version for entry in known if entry.ready)
                raise ModelRefused(
                    f"model {model} serves version {there} at {self.url}, and the plugin asks for version {pin}: bring "
                    "that version back (its folder, or version_policy in config.pbtxt), or mend models in plugin.toml."
                )
            try:
                with translated(self.url, model):
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


def server_name(address: str) -> str | None:
    """The name that the server at `address` was started with (`--id`), or None while nobody answers there."""
    client = InferenceServerClient(address, channel_args=OPTIONS)
    try:
        return str(client.get_server_metadata(client_timeout=PROBE_SECONDS).name)
    except InferenceServerException:
        return None
    finally:
        client.close()


def _level(priority: int, levels: int) -> int:
    """Return a priority in Triton's numbers: 1 first, `levels` last, 0 what is the model's default."""
    if priority == 0 or levels == 0:
        return 0
    return 1 if priority > 0 else levels


def _left(ends: float) -> float:
    return max(ends - time.monotonic(), 0.001)


def _tensor(entry: Any, optional: set[str]) -> Tensor:
    return Tensor(name=entry.name, datatype=entry.datatype, shape=tuple(entry.shape), optional=entry.name in optional)


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
