"""Faults to be put into a good series: missing, duplicated, repeated, tilted and late slices."""

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from node.testing.data_set import assign, decimals, renamed


def without(images: Sequence[Dataset], *indices: int) -> list[Dataset]:
    """Return the series with the slices of these indices missing."""
    return [image for index, image in enumerate(images) if index not in indices]


def duplicated(images: Sequence[Dataset], index: int) -> list[Dataset]:
    """Return the series with one slice twice: the copy is another instance, and nothing distinguishes it."""
    return [*images, renamed(images[index], "duplicate")]


def repeated(images: Sequence[Dataset], times: int, **values: Sequence[Any]) -> list[Dataset]:
    """Return the series several times, with continued Instance Numbers, as a scanner stores a 4-D series.

    `values` are attributes with one value for each time: `repeated(mr_series(), 2, EchoTime=[12, 24])`.
    """
    copies = []
    for time in range(times):
        for image in images:
            copy = renamed(image, "repeated", time)
            copy.InstanceNumber = int(image.InstanceNumber) + time * len(images)
            assign(copy, **{keyword: of_time[time] for keyword, of_time in values.items()})
            copies.append(copy)
    return copies


def tilted(images: Sequence[Dataset], degrees: float) -> list[Dataset]:
    """Return the series as a tilted gantry records it: planes are turned about their rows, the table moves along z."""
    copies = [deepcopy(image) for image in images]
    turn = math.radians(degrees)
    for copy in copies:
        row, column = np.array(copy.ImageOrientationPatient[:3]), np.array(copy.ImageOrientationPatient[3:])
        leaning = column * math.cos(turn) + np.cross(row, column) * math.sin(turn)
        copy.ImageOrientationPatient = decimals([*row, *leaning])
        copy.GantryDetectorTilt = degrees
    return copies


def late(images: Sequence[Dataset], count: int) -> tuple[list[Dataset], list[Dataset]]:
    """Return the series without its `count` last slices, and those slices, which are sent later."""
    return list(images[:-count]), list(images[-count:])
