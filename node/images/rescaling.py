"""Real values of frames (PS3.3 C.11.1), read and rescaled by several threads into one array."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.arena import PROCESS_MEMORY, Memory
from node.errors import UnsuitableSeries
from node.images.frame import Frame, FrameReader
from node.images.real_values import HIGHEST_HU, fill_padding, find_padding, without_padding

INT16 = np.iinfo(np.int16)
FLOAT32_MAX = float(np.finfo(np.float32).max)
WORKERS = min(4, os.cpu_count() or 1)
"""Threads that read and decode. The codecs release the interpreter lock for a part of their work only."""
FEWEST_FRAMES = 8
"""A thread of its own is not worth it for fewer frames."""


class _OutOfRange(Exception):
    """int16 does not hold the values."""


def rescaled(
    frames: Sequence[Frame], read: FrameReader, lowest: int | None, memory: Memory = PROCESS_MEMORY
) -> NDArray[Any]:
    """Return the real values of frames, (slice, row, column), none below `lowest`: int16 if exact, else float32.

    `lowest` is given for CT. Padding has that value, or is background. The array is allocated in `memory`.

    Raises
    ------
    UnsuitableSeries
        A frame is in colour or of another size than its header says, or its values are not finite, or impossible in CT.
    """
    if all(frame.slope == 1 and frame.intercept.is_integer() for frame in frames):
        with suppress(_OutOfRange):
            return _read_all(frames, read, np.dtype(np.int16), lowest, memory)
    return _read_all(frames, read, np.dtype(np.float32), lowest, memory)


def _read_all(
    frames: Sequence[Frame], read: FrameReader, dtype: np.dtype[Any], lowest: int | None, memory: Memory
) -> NDArray[Any]:
    """Return all frames rescaled. Each frame is read into its slice of the array; several threads share the frames."""
    values = frames[0].image.values
    array = memory.empty((len(frames), int(values.get("Rows") or 0), int(values.get("Columns") or 0)), dtype)
    shares = np.array_split(np.arange(len(frames)), min(WORKERS, -(-len(frames) // FEWEST_FRAMES)))
    parts = [slice(int(share[0]), int(share[-1]) + 1) for share in shares]

    def fill(part: slice) -> None:
        own, planes = frames[part], array[part]
        memory.populate(planes)
        floor = None if lowest is None else np.full(array.shape[1:], lowest, dtype)
        rescale = _rescale_int16 if dtype == np.int16 else _rescale_float32
        into = planes if dtype == np.int16 else None
        for frame, stored, plane in zip(own, read(own, into), planes, strict=True):
            if stored.ndim != 2:
                raise UnsuitableSeries(f"{frame} is in colour")
            if stored.shape != plane.shape:
                raise UnsuitableSeries(f"{frame} is of another size than its header says")
            if (padding := find_padding(frame, stored, lowest)) is not None:
                stored = without_padding(stored, padding)  # noqa: PLW2901 - of this plane alone
            rescale(frame, stored if frame.lut is None else frame.lut.apply(stored), plane, floor)
            if padding is not None:
                fill_padding(frame, plane, padding, lowest)

    if len(parts) == 1:
        fill(parts[0])
    else:
        with ThreadPoolExecutor(len(parts)) as pool:
            for _ in pool.map(fill, parts):
                pass
    return array


def _rescale_int16(frame: Frame, stored: NDArray[Any], plane: NDArray[Any], floor: NDArray[Any] | None) -> None:
    """Write stored values plus intercept to `plane`; _OutOfRange where int16 is not exact.

    Values of 16 bits, which may be in `plane` already, are added modulo 2**16: the result is known to fit.
    """
    if not np.issubdtype(stored.dtype, np.integer):
        raise _OutOfRange
    intercept = int(frame.intercept)
    lowest = INT16.min if floor is None else int(floor.flat[0])
    low, high = (bound + intercept for bound in _bounds(frame, stored, plane))
    if low < lowest or high > INT16.max:
        low, high = int(stored.min()) + intercept, int(stored.max()) + intercept
    if low < INT16.min or high > INT16.max:
        raise _OutOfRange
    if stored.itemsize > plane.itemsize:
        np.add(stored, np.int64(intercept), out=plane, dtype=np.int64, casting="unsafe")
    else:
        wrapped = np.int16((intercept - INT16.min) % 2**16 + INT16.min)
        np.add(stored.view(np.int16) if stored.itemsize == plane.itemsize else stored, wrapped, out=plane)
    if floor is not None and low < lowest:
        np.maximum(plane, floor, out=plane)


def _bounds(frame: Frame, stored: NDArray[Any], plane: NDArray[Any]) -> tuple[int, int]:
    """Return the range of the stored values as far as it is known without looking at them."""
    if not np.may_share_memory(stored, plane):
        limits = np.iinfo(stored.dtype)
        return int(limits.min), int(limits.max)
    used = int(frame.image.values.get("BitsStored", 0))
    return (-(2 ** (used - 1)), 2 ** (used - 1) - 1) if stored.dtype.kind == "i" else (0, 2**used - 1)


def _rescale_float32(frame: Frame, stored: NDArray[Any], plane: NDArray[Any], floor: NDArray[Any] | None) -> None:
    _check_range(frame, stored, HIGHEST_HU if floor is not None else FLOAT32_MAX)
    plane[...] = stored * np.float32(frame.slope) + np.float32(frame.intercept)
    if floor is not None:
        np.maximum(plane, floor, out=plane)


def _check_range(frame: Frame, stored: NDArray[Any], highest: float) -> None:
    """Raise UnsuitableSeries if real values are not finite in float32, or greater than `highest`."""
    ends = [float(end) * frame.slope + frame.intercept for end in (stored.min(), stored.max())]
    if not all(abs(end) <= FLOAT32_MAX for end in ends) or max(ends) > highest:
        raise UnsuitableSeries(
            f"values of {frame} reach from {min(ends):g} to {max(ends):g}, by Rescale Slope {frame.slope:g} and "
            f"Intercept {frame.intercept:g}: no image of its kind has such values"
        )
