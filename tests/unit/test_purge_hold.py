"""A clock that is set forward purges nothing for a day: by then a person or a time server may have put it right."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from node import flow
from node.ledger import Ledger
from node.purge import ClockHold
from node.spool import Spool

DAY = 86400.0
NOW = 1_000_000_000.0


@dataclass
class Clocks:
    """The clock, which may be set, and the monotonic one."""

    wall: float = NOW
    steady: float = 50.0

    def advance(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def hold(clocks: Clocks, newest: float | None) -> ClockHold:
    return ClockHold(lambda: newest, wall=lambda: clocks.wall, steady=lambda: clocks.steady)


@pytest.mark.parametrize("newest", [None, NOW - 3600, NOW - DAY + 1])
def test_a_node_to_which_studies_came_today_purges_at_once_and_always(clocks: Clocks, newest: float | None) -> None:
    held = hold(clocks, newest)
    assert not held.holds()
    for _ in range(100):
        clocks.advance(3600)
        assert not held.holds()


def test_a_clock_that_is_set_forward_while_the_node_runs_purges_nothing_for_a_day(clocks: Clocks) -> None:
    held = hold(clocks, NOW)
    assert not held.holds()
    clocks.wall += 30 * DAY
    assert held.holds()
    clocks.advance(DAY - 1)
    assert held.holds()
    clocks.advance(2)
    assert not held.holds()


def test_a_clock_that_was_set_forward_while_the_node_was_down_purges_nothing_for_a_day(clocks: Clocks) -> None:
    held = hold(clocks, NOW - 8 * DAY)
    assert held.holds()
    clocks.wall -= 8 * DAY  # put right
    clocks.advance(DAY)
    assert not held.holds()


def test_a_clock_that_is_set_back_or_a_little_forward_changes_nothing(clocks: Clocks) -> None:
    held = hold(clocks, NOW)
    for step in (-30 * DAY, 3600.0, DAY - 1):
        assert not held.holds()
        clocks.wall += step
    assert not held.holds()


def test_the_step_of_the_node_asks_the_ledger_when_a_study_changed_last(tmp_path: Path) -> None:
    ledger, spool = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}"), Spool(tmp_path / "spool")
    asked: list[str] = []

    def newest() -> float:
        asked.append("newest")
        return 0.0  # 1970: the clock seems to have gone forward by decades

    def purge(**_: float) -> list[str]:
        asked.append("purge")
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger.retention, "newest_change", newest)
        patch.setattr(ledger.retention, "purge", purge)
        step = flow.purge(ledger, spool, keep_seconds=0, history_seconds=0)
        assert step.work() == 3600
    assert asked == ["newest"]
    assert ledger.retention.newest_change() is None
    ledger.close()
