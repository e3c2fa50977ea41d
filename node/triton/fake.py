"""A Triton without a server, for tests of plugins: a model is a function from arrays to arrays."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from node.errors import ModelRefused
from node.records import GUARD
from node.triton.client import HasArray, pinned
from node.triton.server_connection import ServedModel
from node.triton.tensors import Array

VERSION = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One `infer` as it came: the model's name, and its inputs as arrays."""

    model: str
    inputs: dict[str, Array]


class FakeTriton:
    """Answers as `GrpcTriton` does, from functions that take keyword arrays and return outputs by name.

    `calls` holds every `infer` in order, those that were refused too. What a function raises is a refusal, as it is
    with a model on a server; only a failed `assert` passes unchanged, because it belongs to the test. A function is
    trusted with its types and shapes: only a server knows what a model really takes. A guard that is not given finds
    every image suitable.
    """

    def __init__(self, models: Mapping[str, Callable[..., Mapping[str, Array]]]) -> None:
        self._models = dict(models)
        self.calls: list[Call] = []

    def prepare(self, models: Sequence[str], deadline_seconds: float) -> None:  # noqa: ARG002 - a function is always ready
        """See `Triton.prepare`."""
        for model in models:
            self._function(pinned(model)[0])

    def infer(self, model: str, /, **inputs: Array | HasArray) -> dict[str, Array]:
        """See `Triton.infer`."""
        arrays = {name: np.asarray(getattr(value, "array", value)) for name, value in inputs.items()}
        self.calls.append(Call(model=model, inputs=arrays))
        function = self._function(model)
        try:
            outputs = function(**arrays)
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise ModelRefused(f"model {model} refused: {type(error).__name__}: {error}.") from error
        return {name: _writeable(np.asarray(array)) for name, array in outputs.items()}

    def models(self) -> list[ServedModel]:
        """See `Triton.models`."""
        return [ServedModel(name=name, version=VERSION, ready=True, reason="") for name in self._models]

    def version(self, model: str) -> str:
        """See `Triton.version`."""
        self._function(model)
        return VERSION

    def kind(self, model: str) -> str:  # noqa: ARG002 - a function has no config.pbtxt
        """See `Triton.kind`."""
        return ""

    def close(self) -> None:
        """See `Triton.close`."""

    def _function(self, model: str) -> Callable[..., Mapping[str, Array]]:
        if model.startswith(GUARD) and model not in self._models:
            return suitable
        if model not in self._models:
            raise ModelRefused(f"FakeTriton has no model {model}: give it a function of that name.")
        return self._models[model]


def suitable(**_: Array) -> dict[str, Array]:
    """Answer as a guard that finds images suitable, whatever they are."""
    return {"suitable": np.array([True]), "reason": np.array([""]), "score": np.ones(1, np.float32)}


def _writeable(array: Array) -> Array:
    return array if array.flags.writeable else array.copy()
