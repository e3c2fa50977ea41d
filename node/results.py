"""What a plugin gives back: values that are checked when they are built, and composed into DICOM objects later."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from node.codes import Code
from node.series import Volume

__all__ = ["Finding", "Measurement", "NotSuitable", "Result", "Segment", "Segmentation"]

LABEL_LENGTH = 64
"""Segment Label, Tracking ID and Series Description are LO: 64 characters at most (PS3.5 section 6.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One thing that a segmentation outlines; the same value names it in measurements and findings (`of=`).

    Parameters
    ----------
    label
        What a reader sees, at most 64 characters: "Right lung".
    type, category
        Segmented Property Type and Category (PS3.3 C.8.20.2): `codes.SCT.Lung`, `codes.SCT.Organ`.
    laterality
        `codes.SCT.Right` or `codes.SCT.Left`, where the type is one of a pair.
    region
        The anatomic region it lies in, for a lesion.
    color
        (red, green, blue), 0 to 255; a colour of the node's own choice without it.
    """

    label: str
    type: Code
    category: Code
    laterality: Code | None = None
    region: Code | None = None
    color: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        if not self.label or len(self.label) > LABEL_LENGTH:
            raise ValueError(f"a segment's label has 1 to {LABEL_LENGTH} characters, not {len(self.label)}")
        if self.color is not None and not all(0 <= part <= 255 for part in self.color):
            raise ValueError(f"colour {self.color} of segment {self.label!r} is outside 0 to 255")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segmentation:
    """Which voxel belongs to which segment.

    Parameters
    ----------
    labels
        Integers on the grid of the images the plugin was given, (slice, row, column): n is `segments[n - 1]`, 0 none.
        Made with `ct.volume().with_array(mask)`.
    segments
        In the order of their numbers, labels unlike one another.
    """

    labels: Volume
    segments: Sequence[Segment]

    def __post_init__(self) -> None:
        object.__setattr__(self, "segments", tuple(self.segments))
        array = self.labels.array
        if array.dtype != np.bool_ and not np.issubdtype(array.dtype, np.integer):
            raise ValueError(f"labels are whole numbers or true/false, not {array.dtype}")
        names = [segment.label for segment in self.segments]
        if not names or len(set(names)) < len(names):
            raise ValueError("a segmentation has at least one segment, and no two with the same label")
        low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
        if low < 0 or high > len(names):
            raise ValueError(f"labels run from {low} to {high}, but there are segments 1 to {len(names)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One number with its unit, of a segment or, without `of`, of the images as a whole.

    Parameters
    ----------
    name
        What was measured: `codes.SCT.Volume`.
    value
        A finite number.
    unit
        UCUM (PS3.16 CID 82): `codes.UCUM.CubicCentimeter`.
    derivation
        How one number was made of many: `codes.SCT.Mean`.
    percentile
        The value is this percentile, 0 to 100, of all there are (PS3.16 TID 1419): 15 for the HU below which 15 % lie.
    site, laterality
        Where it was measured, for one that is not of a segment: `codes.SCT.Lung`, `codes.SCT.Bilateral`.
    """

    name: Code
    value: float
    unit: Code
    of: Segment | None = None
    derivation: Code | None = None
    percentile: float | None = None
    site: Code | None = None
    laterality: Code | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", float(self.value))
        if not math.isfinite(self.value):
            raise ValueError(f"{self.name.meaning} is {self.value}: a measurement is a finite number")
        if self.percentile is not None and not 0 <= self.percentile <= 100:
            raise ValueError(f"the percentile of {self.name.meaning} is {self.percentile}, outside 0 to 100")
        if self.laterality is not None and self.site is None:
            raise ValueError(f"{self.name.meaning} has a laterality but no site")
        if self.unit.scheme_designator != "UCUM":
            raise ValueError(f"the unit of {self.name.meaning} is of scheme {self.unit.scheme_designator}, not UCUM")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something seen or ruled out, with the model's probability between 0 and 1 where it gives one."""

    name: Code
    present: bool
    probability: float | None = None
    calibrated: bool = False
    of: Segment | None = None

    def __post_init__(self) -> None:
        if self.probability is not None and not 0 <= self.probability <= 1:
            raise ValueError(f"the probability of {self.name.meaning} is {self.probability}, outside 0 to 1")


@dataclass(frozen=True, slots=True)
class NotSuitable:
    """The images cannot be analysed, because of `reason`: a result too, and reported as one.

    The reason completes the sentence "not suitable, because …" and is read by a radiologist.
    """

    reason: str = field()

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise ValueError("say why the images are not suitable")


Result = Segmentation | Measurement | Finding | NotSuitable
