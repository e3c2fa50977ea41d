"""The evidence that a study is complete: its associations are over, and each of their instances has its row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from node.assemble import settle
from node.images.series import Series
from node.ledger import Ledger
from node.records import Arrival, StudyState
from node.spool import Pack, Spool
from tests.conftest import Clock, received

STUDY, OTHER = "1.2.1", "1.2.2"


@dataclass(frozen=True)
class Wait:
    """How long a study is waited for, and why."""

    seconds: float
    because: str = "set by the test"


def patience(arrived: Sequence[Series], *, released: bool) -> Wait:
    """Wait 10 seconds, or no time once every association is released."""
    return Wait(0.0 if released else 10.0)


def append(pack: Pack, number: int, clock: Clock, *, study: str = STUDY) -> Arrival:
    return pack.append(received(number, study=study, series=f"{study}.1", at=clock()), b"not looked at")


Look = Callable[[], StudyState]


@pytest.fixture
def look(ledger: Ledger, spool: Spool, clock: Clock) -> Look:
    """Let a second pass, settle what can be settled, and return the state of the study."""

    def made() -> StudyState:
        clock.advance(1)
        settle(ledger.studies, ledger.instances, spool, patience, clock=clock)
        study = ledger.studies.find(STUDY)
        assert study is not None
        return study.state

    return made


def test_no_quiet_time_is_waited_once_the_association_is_over(
    ledger: Ledger, spool: Spool, clock: Clock, look: Look
) -> None:
    pack = spool.open_pack()
    ledger.instances.record([append(pack, 1, clock)])
    assert look() == StudyState.RECEIVING
    pack.close()
    assert look() == StudyState.STABLE


def test_an_association_whose_last_instances_have_no_rows_yet_is_not_over(
    ledger: Ledger, spool: Spool, clock: Clock, look: Look
) -> None:
    pack = spool.open_pack()
    first, last = append(pack, 1, clock), append(pack, 2, clock)
    pack.close()
    ledger.instances.record([first])
    assert look() == StudyState.RECEIVING
    ledger.instances.record([last])
    assert look() == StudyState.STABLE


def test_a_pack_begun_meanwhile_may_hold_more_of_the_study_until_it_has_a_row(
    ledger: Ledger, spool: Spool, clock: Clock, look: Look
) -> None:
    full = spool.open_pack()
    ledger.instances.record([append(full, 1, clock)])
    full.close()
    following = spool.open_pack()
    arrival = append(following, 1, clock, study=OTHER)
    assert look() == StudyState.RECEIVING
    ledger.instances.record([arrival])
    assert look() == StudyState.STABLE, "it is another study's"
    following.close()
