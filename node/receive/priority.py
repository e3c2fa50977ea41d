"""The priority of a study, by the Requested Procedure Priority in its images."""

from collections.abc import Iterator, Mapping

from pydicom.dataset import Dataset

from node.errors import NotUnderstood
from node.images.part10 import understood

URGENCY = {"STAT": 20, "HIGH": 10, "MEDIUM": 0, "ROUTINE": 0, "LOW": -10}
"""Requested Procedure Priority (0040,1003; PS3.3 C.4.11) on the scale of a route's `priority`: they are added."""


def urgency(header: Mapping[str, str] | Dataset) -> int:
    """Return the highest priority in a data set and in its Request Attributes Sequence; 0 where there is none.

    Values that were read without pydicom have none: a data set that may have one is read by pydicom. An image is not
    refused because its priority cannot be read.
    """
    try:
        with understood():
            found = [URGENCY[priority] for priority in _priorities(header) if priority in URGENCY]
    except NotUnderstood:
        return 0
    return max(found, default=0)


def _priorities(header: Mapping[str, str] | Dataset) -> Iterator[str]:
    if not isinstance(header, Dataset):
        return
    for item in (header, *(header.get("RequestAttributesSequence") or ())):
        yield str(item.get("RequestedProcedurePriority") or "").strip().upper()
