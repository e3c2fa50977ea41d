"""Rows are written in groups, however fast instances come."""

from collections.abc import Sequence
from pathlib import Path

from node.completeness import PackEnd
from node.receive import Arrivals
from node.records import Arrival, Refusal
from node.spool import Spool

REFUSED = Refusal(at=0.0, sop_instance_uid="1", sop_class_uid="2", study_uid="3", calling="CT1", peer="", reason="why")
COMING = 7


class Busy:
    """The instances of a ledger during whose every transaction more comes."""

    def __init__(self) -> None:
        self.groups: list[int] = []
        self.waiting: Arrivals | None = None

    def record(self, _: Sequence[Arrival], refusals: Sequence[Refusal], ends: Sequence[PackEnd]) -> None:
        self.groups.append(len(refusals))
        assert self.waiting is not None
        assert len(self.groups) < 20, "it would go on for as long as instances come"
        for _ in range(COMING):
            self.waiting.put(REFUSED)


def test_rows_that_come_while_a_group_is_written_are_in_the_next_group(tmp_path: Path) -> None:
    busy = Busy()
    waiting = busy.waiting = Arrivals(
        None,  # type: ignore[arg-type]
        busy,  # type: ignore[arg-type]
        Spool(tmp_path),
        wake=lambda: None,
        group_seconds=0.0,
        group_size=10,
    )
    for _ in range(25):
        waiting.put(REFUSED)
    assert waiting.record() is None
    assert busy.groups == [10, 10, 5]
    assert waiting.record() is None
    assert busy.groups == [10, 10, 5, 10, 10, 1], "all that came meanwhile"
