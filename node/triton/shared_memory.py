"""Arrays that a Triton server on this machine reads and writes where they are: in the arena of this process.

The request then says only where an array lies; what does not lie in the arena is copied into it, once, and where there
is no room the array travels in the message. See Triton's system shared memory extension of the inference protocol.
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from node.arena import SHARED_MEMORY, SMALLEST, Arena, is_arena
from node.triton.tensors import Array, Tensor

SHARED_FROM = SMALLEST
"""Bytes of the smallest array that goes through the arena."""
ALREADY = "already in manager"
ABOUT_SHARING = "shared memory"
"""What Triton's errors have in common that tell of a region: it is gone, or too small for the output."""


def reach(client: Any, arena: Arena, seconds: float) -> bool:
    """Have a server map the arena; return whether it does. A server elsewhere does not: it has no such file.

    A server that maps it shares our /dev/shm: its mappings of arenas that no longer exist are removed, too.
    """
    try:
        client.register_system_shared_memory(arena.name, f"/{arena.name}", arena.size, client_timeout=seconds)
    except InferenceServerException as error:
        if ALREADY not in error.message():
            return False
    with suppress(InferenceServerException):
        for name in client.get_system_shared_memory_status(client_timeout=seconds).regions:
            if is_arena(name) and not (SHARED_MEMORY / name).exists():
                let_go(client, name, seconds)
    return True


def let_go(client: Any, name: str, seconds: float) -> None:
    """Have a server unmap an arena; it keeps an arena that it still works on, until it is asked again."""
    with suppress(InferenceServerException):
        client.unregister_system_shared_memory(name, client_timeout=seconds)


class Exchange:
    """One request: inputs and outputs, each by its place in the arena or in the message.

    Parameters
    ----------
    arena
        Where the server reads inputs, None where it reads none.
    answers
        Whether it also writes outputs there, as far as their size is known beforehand.
    shared_from
        Bytes of the smallest array that goes through the arena.
    """

    def __init__(
        self,
        arena: Arena | None,
        arrays: Mapping[str, Array],
        inputs: Mapping[str, Tensor],
        outputs: Mapping[str, Tensor],
        *,
        answers: bool,
        shared_from: int = SHARED_FROM,
    ) -> None:
        self.arena = arena
        self._held = {name: _placed(arena, array, shared_from) for name, array in arrays.items()}
        self._in_message = [array for name, array in arrays.items() if self._held[name] is None]
        self._arrays, self._inputs, self._outputs = arrays, inputs, outputs
        self.places: dict[str, Array] = {}
        if arena is not None and answers:
            sizes = {name: _size(tensor, arrays) for name, tensor in outputs.items()}
            found = {name: arena.allocate((size,), np.uint8) for name, size in sizes.items() if size >= shared_from}
            self.places = {name: place for name, place in found.items() if place is not None}

    @property
    def message_bytes(self) -> int:
        """How many bytes of arrays travel in the message."""
        return sum(array.nbytes for array in self._in_message)

    @property
    def shares(self) -> bool:
        """Whether anything does not travel in the message."""
        return bool(self.places) or any(place is not None for place in self._held.values())

    def abandon(self) -> None:
        """Use the arena no more: the server may still write into it."""
        if self.arena is not None:
            self.arena.abandon()

    def inputs(self) -> list[Any]:
        """Return the inputs as the client takes them."""
        return [self._input(name, array) for name, array in self._arrays.items()]

    def outputs(self) -> list[Any] | None:
        """Return the outputs as the client takes them; None where all come in the message, unasked."""
        if not self.places:
            return None
        asked = {name: InferRequestedOutput(name) for name in self._outputs}
        for name, place in self.places.items():
            asked[name].set_shared_memory(self._name, place.nbytes, self._offset(place))
        return list(asked.values())

    def answered(self, output: Any) -> Array | None:
        """Return an output that was written into its place, None where it came in the message."""
        place = self.places.get(output.name)
        if place is None:
            return None
        dtype, shape = np.dtype(triton_to_np_dtype(output.datatype)), tuple(output.shape)
        values: Array = place[: math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)
        return values

    def _input(self, name: str, array: Array) -> Any:
        entry = InferInput(name, list(array.shape), self._inputs[name].datatype)
        place = self._held[name]
        if place is None:
            entry.set_data_from_numpy(array)
        else:
            entry.set_shared_memory(self._name, place.nbytes, self._offset(place))
        return entry

    @property
    def _name(self) -> str:
        return self.arena.name if self.arena else ""

    def _offset(self, place: Array) -> int:
        return (self.arena.offset(place) if self.arena else None) or 0


def _placed(arena: Arena | None, array: Array, shared_from: int) -> Array | None:
    """Return an array in the arena that has the same values, itself if it is there already; None for the message."""
    if arena is None or array.nbytes < shared_from or array.dtype.hasobject:
        return None
    if arena.offset(array) is not None:
        return array
    place = arena.allocate(array.shape, array.dtype)
    if place is not None:
        arena.populate(place)
        place[...] = array
    return place


def _size(tensor: Tensor, arrays: Mapping[str, Array]) -> int:
    """Return how many bytes an output is likely to have at most, 0 where nobody can tell.

    What the model leaves open is taken from the largest input of the same number of axes: labels lie on their image.
    """
    dtype = triton_to_np_dtype(tensor.datatype)
    if dtype is None or np.dtype(dtype).hasobject:
        return 0
    alike = [array.shape for array in arrays.values() if array.ndim == len(tensor.shape)]
    like = max(alike, key=math.prod, default=tensor.shape)
    shape = [there if asked < 0 else asked for asked, there in zip(tensor.shape, like, strict=True)]
    return math.prod(shape) * np.dtype(dtype).itemsize if min(shape, default=0) >= 0 else 0
