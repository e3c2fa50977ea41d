"""Checks that several kinds of result share; each raises a ValueError that the plugin's author can act on."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from node.codes import Code, fault_of

FLAT = 1e-9
"""A matrix is not invertible if its determinant is this part of the product of its axes: voxels may be micrometres."""
LABEL_LENGTH = 64
"""Segment Label, Tracking ID and Series Description are LO: 64 characters at most (PS3.5 section 6.2)."""


def check_codes(result: Any) -> None:
    """Raise ValueError for a code of a result that is no code, or one of a retired scheme."""
    for field in fields(result):
        value = getattr(result, field.name)
        if Code in (field.type, *get_args(field.type)) and value is not None and (fault := fault_of(value)):
            raise ValueError(f"{field.name} of a {type(result).__name__} {fault}")


def check_label(label: str, what: str) -> None:
    """Raise ValueError for a label that is empty or longer than DICOM allows; `what` is its subject in the message."""
    if not label or len(label) > LABEL_LENGTH:
        raise ValueError(f"{what} has 1 to {LABEL_LENGTH} characters, not {len(label)}")


def check_color(color: tuple[int, int, int] | None, label: str) -> None:
    """Raise ValueError for a colour outside 0 to 255."""
    if color is not None and not all(0 <= part <= 255 for part in color):
        raise ValueError(f"colour {color} of {label!r} is outside 0 to 255")


def check_score(score: float | None, threshold: float | None, what: str) -> None:
    """Raise ValueError for a score or threshold outside 0 to 1, NaN included, or for one without the other."""
    if (score is None) != (threshold is None):
        raise ValueError(f"{what} has a score or a threshold, and not the other: a score is read by its threshold")
    if score is not None and threshold is not None and not (0 <= score <= 1 and 0 <= threshold <= 1):
        raise ValueError(f"{what} has the score {score} and the threshold {threshold}: both are 0 to 1")


def check_stack(array: NDArray[Any], label: str, types: Sequence[str] = ()) -> None:
    """Raise ValueError for an array that is not (slice, row, column), not finite, or of a dtype not in `types`."""
    if array.ndim != 3 or 0 in array.shape:
        raise ValueError(f"{label!r} has the axes slice, row and column, not {describe_array(array)}")
    if types and array.dtype.name not in types:
        raise ValueError(f"{label!r} is of {array.dtype}, not of {', '.join(types)}")
    # minimum and maximum are not finite if any number is not; np.isfinite(array) would fill an array of the same size,
    # and the array of a slide may be a broadcast view with one number for each tile
    if array.dtype.kind not in "iuf" or not np.isfinite([array.min(), array.max()]).all():
        raise ValueError(f"{label!r} holds a value that is not a finite number")


def describe_array(array: NDArray[Any]) -> str:
    """Return dtype and shape for a message."""
    return f"{array.dtype} {array.shape}"


def check_matrix(matrix: NDArray[np.float64], what: str) -> None:
    """Raise ValueError for a matrix that is not an invertible affine transform, (4, 4)."""
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not np.allclose(matrix[3], (0, 0, 0, 1)):
        raise ValueError(f"{what} is 4 × 4 and finite, its last row 0, 0, 0, 1")
    if abs(np.linalg.det(matrix[:3, :3])) <= FLAT * np.prod(np.linalg.norm(matrix[:3, :3], axis=0)):
        raise ValueError(f"{what} takes different points to the same place")
