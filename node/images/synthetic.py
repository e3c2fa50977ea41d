"""The mark of images that were made, not acquired: a demonstration network may be asked about them.

`node.testing` sets it in every image that it makes, and nothing else does. It is a private attribute whose value
follows from the SOP Instance UID: a header that is copied to other pixels under a new UID does not match. Synthetic
Data (0008,001C) is no proof: images of patients that a network has changed have it, too (PS3.3 C.12.1.1).
"""

import hashlib
from collections.abc import Iterable

from pydicom.dataset import Dataset

from node.images.series import Series

CREATOR, CREATOR_TAG, MARK_TAG = "ISOCENTER PHANTOM", 0x00090010, 0x00091001
"""Private Creator of the block that holds the mark, and the tags of both (PS3.5 section 7.8.1).

In another block it is not looked for: an image that is not known as made is taken for acquired.
"""


def mark_of(sop_instance_uid: str) -> str:
    """Return the value of the mark in the image with this UID."""
    return hashlib.sha256(f"{CREATOR}|{sop_instance_uid}".encode()).hexdigest()


def is_marked(image: Dataset) -> bool:
    """Return whether an image has the mark of its own SOP Instance UID."""
    # not by pydicom's private_block: of a copied data set it gives that of the original
    found = [_text(image[tag].value) if tag in image else "" for tag in (CREATOR_TAG, MARK_TAG)]
    return found == [CREATOR, mark_of(str(image.get("SOPInstanceUID", "")))]


def all_marked(stacks: Iterable[Series]) -> bool:
    """Return whether every image of some stacks was made. The first that was not ends the search."""
    return all(is_marked(frame.header) for series in stacks for frame in series.frames)


def _text(value: object) -> str:
    """Return a value as text; in implicit VR it comes as bytes."""
    return (value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)).strip(" \0")
