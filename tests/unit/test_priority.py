"""What an image says of its urgency."""

import pytest
from pydicom.dataset import Dataset

from node.receive.priority import URGENCY, urgency


def asking(*words: str | None) -> Dataset:
    """A data set with a priority of its own, and one for each request it answers."""
    made, requests = Dataset(), []
    if words[0] is not None:
        made.RequestedProcedurePriority = words[0]
    for word in words[1:]:
        item = Dataset()
        if word is not None:
            item.RequestedProcedurePriority = word
        requests.append(item)
    made.RequestAttributesSequence = requests
    return made


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((None,), 0),
        (("STAT",), URGENCY["STAT"]),
        (("HIGH",), URGENCY["HIGH"]),
        (("MEDIUM",), 0),
        (("ROUTINE",), 0),
        (("LOW",), URGENCY["LOW"]),
        (("stat ",), URGENCY["STAT"]),
        (("",), 0),
        (("AT ONCE",), 0),
        ((None, "HIGH"), URGENCY["HIGH"]),
        ((None, None, "LOW", "STAT"), URGENCY["STAT"]),
        (("LOW", "HIGH"), URGENCY["HIGH"]),
    ],
)
def test_the_highest_priority_counts(words: tuple[str | None, ...], expected: int) -> None:
    assert urgency(asking(*words)) == expected


def test_urgency_goes_from_stat_to_low() -> None:
    assert URGENCY["STAT"] > URGENCY["HIGH"] > URGENCY["MEDIUM"] == URGENCY["ROUTINE"] > URGENCY["LOW"]


def test_what_cannot_be_read_is_not_urgent() -> None:
    broken = Dataset()
    broken.add_new("RequestAttributesSequence", "LO", "no sequence")
    assert urgency(broken) == 0
