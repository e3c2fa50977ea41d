"""The segments of a stored Segmentation, image by image."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import iter_pixels

from node.results.segmentation import MASK_THRESHOLD

FrameKey = tuple[str, int]
"""SOP Instance UID and frame number of an image."""
BACKGROUND = 0


def read_masks(made: Dataset) -> Iterator[tuple[FrameKey, int, NDArray[np.bool_]]]:
    """Yield image, segment number and pixels, (row, column), of every segment in every frame.

    Each frame names the image it lies on (PS3.3 C.7.6.16.2.6); a fraction counts from `MASK_THRESHOLD` on.
    """
    shared = made.SharedFunctionalGroupsSequence[0]
    for pixels, group in zip(iter_pixels(made), made.PerFrameFunctionalGroupsSequence, strict=True):
        reference = group.DerivationImageSequence[0].SourceImageSequence[0]
        for number, mask in _masks(made, pixels, group, shared):
            yield frame_key(reference), number, mask


def frame_key(reference: Dataset) -> FrameKey:
    """Return the image that an item of Source Image or Referenced SOP Sequence names."""
    return str(reference.ReferencedSOPInstanceUID), int(reference.get("ReferencedFrameNumber") or 1)


def _masks(
    made: Dataset, pixels: NDArray[Any], group: Dataset, shared: Dataset
) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Yield the number and the pixels of each segment in a frame."""
    if made.SegmentationType == "LABELMAP":
        for number in np.unique(pixels[pixels != BACKGROUND]):
            yield int(number), pixels == number
        return
    holder = group if "SegmentIdentificationSequence" in group else shared
    least = MASK_THRESHOLD * int(made.get("MaximumFractionalValue") or 1)
    yield int(holder.SegmentIdentificationSequence[0].ReferencedSegmentNumber), pixels >= least
