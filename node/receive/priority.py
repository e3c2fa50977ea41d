"""How far a study goes before others, by what its images say of the procedure they were made for."""

from collections.abc import Iterator, Mapping

from pydicom.dataset import Dataset

from node.errors import NotUnderstood
from node.images.part10 import understood

URGENCY = {"STAT": 20, "HIGH": 10, "MEDIUM": 0, "ROUTINE": 0, "LOW": -10}
"""Requested Procedure Priority (0040,1003; PS3.3 C.4.11) on the scale of a route's `priority`: they are added."""


def urgency(header: Mapping[str, str] | Dataset) -> int:
    """Return the most urgent priority in a data set, or in its Request Attributes Sequence; 0 where it says none.

    What was picked without pydicom has no such element. It is no reason to refuse an image that this cannot be read.
    """
    try:
        with understood():
            told = [URGENCY[word] for word in _priorities(header) if word in URGENCY]
    except NotUnderstood:
        return 0
    return max(told, default=0)


def _priorities(header: Mapping[str, str] | Dataset) -> Iterator[str]:
    if not isinstance(header, Dataset):
        return
    for item in (header, *(header.get("RequestAttributesSequence") or ())):
        yield str(item.get("RequestedProcedurePriority") or "").strip().upper()
