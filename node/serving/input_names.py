"""What the inputs of a model are called.

A model of one series takes `image` (int16, in colour uint8), or `image_float` (float32) in its place where values are
no whole numbers, and `affine`. A model of several series, as T1, T2 and FLAIR, puts the name of the role in front:
`t1`, or `t1_float`, and `t1_affine`.

Images have the index order (slice, row, column), in colour (slice, row, column, sample). An affine takes
(slice, row, column, 1) to (x, y, z, 1) in mm, LPS.
"""

from collections.abc import Sequence
from dataclasses import dataclass

IMAGE = "image"
"""The role of a model that takes one series."""


@dataclass(frozen=True, slots=True)
class InputNames:
    """The inputs of one role: its image as whole numbers or as float32, and its affine."""

    image: str
    floats: str
    affine: str


def input_names(role: str, roles: Sequence[str]) -> InputNames:
    """Return what the inputs of a role are called in a model of so many roles."""
    if len(roles) == 1:
        return InputNames(IMAGE, f"{IMAGE}_float", "affine")
    return InputNames(role, f"{role}_float", f"{role}_affine")
