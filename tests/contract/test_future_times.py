"""The clock is set by a day: back, what is due is due again; forward, nothing that goes on counts as over."""

from collections.abc import Callable

import pytest

from node.clock import LEAST_STEP_SECONDS, LOOK_SECONDS, ClockWatch
from node.ledger import Ledger
from node.records import Arrival, DeliveryState, JobState, Plan, ResultObject, StudyState
from tests.conftest import Clock

Arrive = Callable[..., Arrival]
DAY = 86400.0
STUDY = "1.2.1"


def test_a_study_is_quiet_from_now_on_and_not_from_tomorrow(ledger: Ledger, clock: Clock, arrival: Arrive) -> None:
    ledger.instances.record([arrival(1)])
    clock.advance(-DAY)
    assert ledger.future_times.bring_back() >= 1
    (study,) = ledger.studies.in_state(StudyState.RECEIVING)
    assert study.changed_at == clock()
    assert ledger.future_times.bring_back() == 0


def test_a_job_that_waits_and_one_whose_worker_is_gone_are_due(
    ledger: Ledger, clock: Clock, routed: Callable[..., int], wanted: Callable[..., Plan]
) -> None:
    routed(wanted())
    held = ledger.jobs.claim(lease_seconds=60)
    assert held is not None
    clock.advance(-DAY)
    ledger.future_times.bring_back()
    clock.advance(61)
    again = ledger.jobs.claim(lease_seconds=60)
    assert again is not None, "its lease lasts no longer than a lease"
    ledger.jobs.postpone(again, seconds=5, reason="the server is away", attempts=0)
    clock.advance(-DAY)
    assert ledger.jobs.claim(lease_seconds=60) is None
    ledger.future_times.bring_back()
    assert ledger.jobs.claim(lease_seconds=60) is not None


def test_a_worker_that_lives_keeps_its_lease(
    ledger: Ledger, clock: Clock, routed: Callable[..., int], wanted: Callable[..., Plan]
) -> None:
    routed(wanted())
    held = ledger.jobs.claim(lease_seconds=60)
    assert held is not None
    clock.advance(-DAY)
    ledger.future_times.bring_back()
    assert ledger.jobs.claim(lease_seconds=60) is None, "it has 60 s, by the clock as it is now"
    assert ledger.jobs.renew(held, lease_seconds=60)
    assert ledger.jobs.finish(held, [])
    assert [job.state for job in ledger.jobs.of(STUDY)] == [JobState.DONE]


def test_a_delivery_that_failed_is_due_again(
    ledger: Ledger,
    clock: Clock,
    routed: Callable[..., int],
    wanted: Callable[..., Plan],
    result: Callable[..., ResultObject],
) -> None:
    routed(wanted())
    held = ledger.jobs.claim(lease_seconds=60)
    assert held is not None
    ledger.jobs.finish(held, [result()])
    (delivery,) = ledger.deliveries.claim("PACS", lease_seconds=60)
    ledger.deliveries.postpone(delivery, seconds=3600, reason="it is away", answered=False)
    clock.advance(-DAY)
    ledger.future_times.bring_back()
    (again,) = ledger.deliveries.claim("PACS", lease_seconds=60)
    assert again.state is DeliveryState.WAITING
    ledger.deliveries.postpone(again, seconds=3600, reason="it is away", answered=False)
    assert ledger.future_times.bring_back() == 0, "an hour is how long it may wait"
    assert ledger.deliveries.next_due("PACS") == clock() + 3600


@pytest.mark.parametrize("seconds", [-DAY, DAY, -LEAST_STEP_SECONDS, 3.0])
def test_a_clock_that_is_set_is_noticed_and_every_step_looks_again(clock: Clock, seconds: float) -> None:
    steady = Clock(0.0)
    calls: list[str] = []
    watch = ClockWatch(
        lambda: calls.append("back") or 1, lambda step: calls.append("over") or 1, lambda: calls.append("wake"),
        wall=clock, steady=steady,
    )  # fmt: skip
    assert watch.look() == LOOK_SECONDS
    assert calls == ["back", "wake"], "it may have been set while the node was down"
    for each in (clock, steady):
        each.advance(100)
    watch.look()
    clock.advance(LEAST_STEP_SECONDS / 2)
    watch.look()
    assert calls == ["back", "wake"], "time passed, and the clock drifted"
    clock.advance(seconds)
    watch.look()
    assert calls == ["back", "wake", "back", *(["over"] if seconds > 0 else []), "wake"]


def test_a_study_whose_images_still_come_is_not_complete_because_the_clock_went_forward(
    ledger: Ledger, clock: Clock, arrival: Arrive
) -> None:
    ledger.instances.record([arrival(1)])
    clock.advance(DAY)
    for _ in range(2):  # another process notices, too
        ledger.future_times.carry_over(DAY)
        (study,) = ledger.studies.in_state(StudyState.RECEIVING)
        assert study.changed_at == clock()


def test_work_in_progress_is_claimed_by_nobody_else_because_the_clock_went_forward(
    ledger: Ledger,
    clock: Clock,
    routed: Callable[..., int],
    wanted: Callable[..., Plan],
    result: Callable[..., ResultObject],
) -> None:
    routed(wanted())
    held = ledger.jobs.claim(lease_seconds=60)
    assert held is not None
    clock.advance(DAY)
    ledger.future_times.carry_over(DAY)
    assert ledger.jobs.claim(lease_seconds=60) is None
    ledger.jobs.finish(held, [result()])
    assert ledger.deliveries.claim("PACS", lease_seconds=60)
    clock.advance(DAY)
    ledger.future_times.carry_over(DAY)
    assert not ledger.deliveries.claim("PACS", lease_seconds=60)
    clock.advance(120)
    ledger.future_times.carry_over(3.0)
    assert ledger.deliveries.claim("PACS", lease_seconds=60), "its holder was gone before the clock was set"
