"""Segments, and which voxels belong to them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.codes import Code
from node.images.series import Series, Volume, on_grid
from node.results.checks import check_codes, check_color, check_label

MASK_THRESHOLD = 0.5
"""A probability from here on puts a voxel into the segment, where a voxel is either in or out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A segment of a segmentation; measurements and findings refer to it by the same value (`of=`).

    Parameters
    ----------
    label
        What a reader sees, at most 64 characters: "Right lung".
    type, category
        Segmented Property Type and Category (PS3.3 C.8.20.2): `codes.SCT.Lung`, `codes.SCT.Organ`.
    laterality
        `codes.SCT.Right` or `codes.SCT.Left`, for a paired structure.
    region
        The anatomic region it lies in, for a lesion.
    color
        (red, green, blue), 0 to 255. Without it the node chooses a colour.
    tracking_uid
        Tracking UID that the structure already has, such as in the report on a prior. Else the node makes a UID.
    """

    label: str
    type: Code
    category: Code
    laterality: Code | None = None
    region: Code | None = None
    color: tuple[int, int, int] | None = None
    tracking_uid: str = ""

    def __post_init__(self) -> None:
        check_codes(self)
        check_label(self.label, "a segment's label")
        check_color(self.color, self.label)


@dataclass(frozen=True, kw_only=True, eq=False)
class Segmentation:
    """The segment that each voxel belongs to.

    Parameters
    ----------
    labels
        Integers (slice, row, column) on the grid of a series that the plugin was given: n means `segments[n - 1]`, 0
        means no segment. Made with `ct.volume().with_array(mask)`.
    segments
        In the order of their numbers. No two have the same label.
    masks
        One volume for each segment, where segments overlap or have probabilities; see `of_masks`. Otherwise empty.
    source
        The series it lies on, needed where several inputs have the same grid: T1 and T2 of one head, the phases of one
        heart. Without it the segmentation lies on the first input with the grid of the labels.
    """

    labels: Volume
    segments: Sequence[Segment]
    masks: Sequence[Volume] = ()
    source: Series | None = None

    def lies_on(self, series: Series) -> bool:
        """Return whether it lies on a series: it has the same grid, and `source` is not another series."""
        return self.source in (None, series) and on_grid(self.labels, series)

    @classmethod
    def of_masks(cls, masks: Sequence[Volume], segments: Sequence[Segment]) -> "Segmentation":
        """Return a segmentation made of one volume for each segment.

        A mask holds booleans, the integers 0 and 1, or probabilities as floats from 0 to 1. Segments may overlap.
        `labels` has one segment for each voxel, the last of those that overlap; a probability counts from 0.5 on.
        """
        if not masks or len({mask.array.shape for mask in masks}) > 1:
            raise ValueError("the masks of a segmentation are one volume for each segment, all of one shape")
        labels = np.zeros(masks[0].array.shape, np.uint8 if len(masks) < 256 else np.uint16)
        for number, mask in enumerate(masks, 1):
            labels[mask.array >= MASK_THRESHOLD] = number
        return cls(labels=masks[0].with_array(labels), segments=segments, masks=masks)

    @property
    def fractional(self) -> bool:
        """Whether masks hold probabilities."""
        return any(mask.array.dtype.kind == "f" for mask in self.masks)

    @cached_property
    def areas(self) -> NDArray[np.int64]:
        """Number of pixels of each segment on each slice, (segment, slice); a probability counts from 0.5 on."""
        return self.count_pixels(self.plane)

    def count_pixels(self, plane: Callable[[int, int, Any], NDArray[np.bool_]]) -> NDArray[np.int64]:
        """Return the number of pixels of each segment on each slice, (segment, slice).

        `plane` gives the pixels of a segment on a slice, as the method `plane` does.
        """
        slices, *size = self.labels.array.shape
        counts = np.zeros((len(self.segments), slices), np.int64)
        buffer = np.empty(size, np.bool_)
        for index in range(slices):
            # most slices hold few of the segments: no segment above the highest label has a pixel there
            highest = len(self.segments) if self.masks else int(self.labels.array[index].max())
            for number in range(1, highest + 1):
                counts[number - 1, index] = np.count_nonzero(plane(index, number, buffer))
        return counts

    def plane(self, index: int, number: int, out: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
        """Return the pixels of a segment on a slice, (row, column), in `out` if given; `number` counts from 1."""
        if not self.masks:
            labels = self.labels.array[index]
            return np.equal(labels, labels.dtype.type(number), out=out)
        mask = self.masks[number - 1].array[index]
        if mask.dtype.kind == "f":
            return np.greater_equal(mask, MASK_THRESHOLD, out=out)
        return np.not_equal(mask, mask.dtype.type(0), out=out)

    def __post_init__(self) -> None:
        object.__setattr__(self, "segments", tuple(self.segments))
        object.__setattr__(self, "masks", tuple(self.masks))
        array = self.labels.array
        if array.dtype != np.bool_ and not np.issubdtype(array.dtype, np.integer):
            raise ValueError(f"labels are whole numbers or true/false, not {array.dtype}")
        names = [segment.label for segment in self.segments]
        if not names or len(set(names)) < len(names):
            raise ValueError("a segmentation has at least one segment, and no two with the same label")
        low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
        if low < 0 or high > len(names):
            raise ValueError(f"labels run from {low} to {high}, but there are segments 1 to {len(names)}")
        self._check_masks()

    def _check_masks(self) -> None:
        if self.masks and len(self.masks) != len(self.segments):
            raise ValueError(f"there are {len(self.masks)} masks for {len(self.segments)} segments")
        for segment, mask in zip(self.segments, self.masks, strict=False):
            labels, array = self.labels, mask.array
            if array.shape != labels.array.shape or not np.array_equal(mask.affine, labels.affine):
                raise ValueError(f"the mask of {segment.label!r} lies on another grid than the labels")
            low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
            if not 0 <= low <= high <= 1:  # NaN fails every comparison
                raise ValueError(f"the mask of {segment.label!r} runs from {low:g} to {high:g}, not from 0 to 1")
