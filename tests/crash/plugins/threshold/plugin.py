"""The plugin of the crash tests: it needs no model, and its measurement tells how many images it was given.

A file `garbage` beside it makes it answer as a model does that has gone wrong.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from node import Measurement, Result, Segment, Segmentation, Series, Triton, Volume, codes

DENSE = Segment(label="Dense", type=codes.SCT.Bone, category=codes.SCT.Tissue)
GARBAGE = Path(__file__).with_name("garbage")


def run(ct: Series, triton: Triton) -> Iterator[Result]:
    volume = ct.volume()
    if GARBAGE.exists():
        yield from garbage(GARBAGE.read_text(), volume)
        return
    mask = (volume.array > 0).astype(np.uint8)
    mask[:, 0, 0] = 1
    yield Segmentation(labels=volume.with_array(mask), segments=[DENSE])
    yield Measurement(name=codes.SCT.Volume, value=len(ct.frames), unit=codes.UCUM.CubicCentimeter, of=DENSE)


def garbage(kind: str, volume: Volume) -> Iterator[Result]:
    labels = np.ones(volume.array.shape, np.uint8)
    if kind == "NaN":
        yield Measurement(name=codes.SCT.Volume, value=float("nan"), unit=codes.UCUM.CubicCentimeter)
    elif kind == "shape":
        yield Segmentation(labels=volume.with_array(labels[:, :-1]), segments=[DENSE])
    elif kind == "dtype":
        yield Segmentation(labels=volume.with_array(labels * 0.5), segments=[DENSE])
    elif kind == "label":
        yield Segmentation(labels=volume.with_array(labels * 7), segments=[DENSE])
    elif kind == "type":
        yield b"not a result"  # type: ignore[misc]
