"""What a model takes and gives, as its server says, and arrays that are what it takes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.utils import triton_to_np_dtype

from node.errors import ModelRefused

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """What a server says of one input or output: `shape` has -1 where any length will do, `datatype` is its word."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool = False

    def __str__(self) -> str:
        return f"{self.datatype} of shape ({', '.join('any' if n < 0 else str(n) for n in self.shape)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a server says of one loaded model.

    `instances` is how many requests it works on at once, `levels` how many priorities its queue knows (0: none). `kind`
    is the parameter of that name: what stands behind its answers, as in plugin.toml; empty where it does not say.
    """

    version: str
    instances: int
    levels: int
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    kind: str = ""


def fit_inputs(model: str, signature: Signature, arrays: dict[str, Array]) -> dict[str, Array]:
    """The inputs, once they are what the server says it takes."""
    if not signature.inputs:
        raise ModelRefused(f"model {model} declares no inputs: write them and its outputs into its config.pbtxt")
    needed = {name for name, tensor in signature.inputs.items() if not tensor.optional}
    if not needed <= arrays.keys() <= signature.inputs.keys():
        raise ModelRefused(
            f"model {model} takes the inputs {listed_names(signature.inputs)}; the plugin gave {listed_names(arrays)}."
        )
    return {name: fit_input(model, signature.inputs[name], array) for name, array in arrays.items()}


def listed_names(names: Iterable[str]) -> str:
    """Return names in their order for a message."""
    return ", ".join(sorted(names)) or "none"


def fit_input(model: str, tensor: Tensor, array: Array) -> Array:
    """Return an array as a model takes it; ModelRefused where its shape is wrong, or a value would change."""
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
    exact = exact_cast(array, np.dtype(triton_to_np_dtype(tensor.datatype)))
    if exact is None:
        raise ModelRefused(f"{wrong}, with values that this type cannot hold exactly.")
    return exact


def exact_cast(array: Array, dtype: np.dtype[Any]) -> Array | None:
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
