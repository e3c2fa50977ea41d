"""Steps of every engine: they run at the start, when they are woken, and when they said that they are due."""

import threading

import pytest
import structlog

from node.engine import Engine, Step
from node.errors import LedgerUnavailable
from tests.engines import (
    NEVER,
    PATIENCE,
    Counted,
    Engines,
)
from tests.peers import wait_until


def test_every_step_runs_at_the_start(start: Engines) -> None:
    first, second = Counted(), Counted()
    start(Step(name="one", work=first), Step(name="two", work=second))
    first.wait()
    second.wait()


def test_a_step_that_is_woken_runs_and_no_other(start: Engines) -> None:
    first, second = Counted(), Counted()
    engine = start(Step(name="one", work=first), Step(name="two", work=second))
    first.wait()
    second.wait()
    for _ in range(3):
        engine.wake("one")
        first.wait()
    assert second.calls == 1


def test_what_comes_first_is_done_before_each_run_of_a_step() -> None:
    order: list[str] = []
    engine = Engine([Step(name="one", work=lambda: order.append("work"))], first=lambda: order.append("first"))
    for _ in range(2):
        engine._once(engine.steps[0])
    assert order == ["first", "work"] * 2


def test_a_step_wakes_those_that_follow_it(start: Engines) -> None:
    first, second, third = Counted(), Counted(), Counted()
    engine = start(
        Step(name="one", work=first, then=("two",)),
        Step(name="two", work=second, then=("three",)),
        Step(name="three", work=third),
    )
    for work in (first, second, third):
        work.wait()
    before = third.calls
    engine.wake("one")
    wait_until(lambda: third.calls > before, what="the third step")


def test_a_wake_up_during_the_work_is_not_lost(start: Engines) -> None:
    begun, go_on = threading.Event(), threading.Event()
    calls: list[int] = []

    def work() -> float | None:
        calls.append(1)
        begun.set()
        assert go_on.wait(PATIENCE)
        return None

    engine = start(Step(name="one", work=work))
    assert begun.wait(PATIENCE)
    engine.wake("one")
    go_on.set()
    wait_until(lambda: len(calls) == 2, what="the second run")


def test_a_step_that_says_when_it_is_due_runs_again_then(start: Engines) -> None:
    work = Counted(0.0, -5.0, 0.01, 0.0)
    start(Step(name="one", work=work))
    work.wait(5)


@pytest.mark.parametrize("answer", [None, NEVER])
def test_a_step_is_looked_at_again_now_and_then_whatever_it_says(start: Engines, answer: float | None) -> None:
    """What is due sooner than it thought may have come from another process."""
    start.idle_seconds = 0.01
    work = Counted(answer, answer)
    start(Step(name="one", work=work))
    work.wait(3)


def test_a_step_that_raises_is_logged_and_goes_on(start: Engines) -> None:
    start.rest_seconds = 0.01
    with structlog.testing.capture_logs() as logs:
        work = Counted(ValueError("odd"), LedgerUnavailable("locked"))
        start(Step(name="one", work=work))
        work.wait(3)
    assert [(line["event"], line["step"], line["reason"]) for line in logs] == [
        ("step.failed", "one", "ValueError: odd"),
        ("step.failed", "one", "LedgerUnavailable: locked"),
    ]


def test_after_an_error_a_step_rests(start: Engines) -> None:
    start.rest_seconds = NEVER
    work = Counted(ValueError("odd"))
    engine = start(Step(name="one", work=work))
    work.wait()
    assert engine._once(Step(name="one", work=Counted(ValueError("odd")))) == (False, NEVER)
    engine.wake("one")
    work.wait()


def test_stopping_lets_every_step_end_what_it_does(start: Engines) -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> float | None:
        begun.set()
        assert go_on.wait(PATIENCE)
        ended.set()
        return 0.0

    engine = start(Step(name="one", work=work), Step(name="idle", work=Counted()))
    assert begun.wait(PATIENCE)
    assert not engine.stopping
    stopper = threading.Thread(target=engine.stop)
    stopper.start()
    wait_until(lambda: engine.stopping, what="the stop")
    assert stopper.is_alive(), "it waits for the step"
    go_on.set()
    stopper.join(PATIENCE)
    assert ended.is_set()
    assert not any(thread.is_alive() for thread in engine._threads)


def test_a_step_that_does_not_end_holds_up_the_stop_for_so_long_and_no_longer() -> None:
    ended = threading.Event()
    engine = Engine([Step(name=str(number), work=lambda: ended.wait(PATIENCE) or None) for number in range(3)])
    engine.start()
    stopper = threading.Thread(target=engine.stop, kwargs={"seconds": 0.1})
    stopper.start()
    stopper.join(PATIENCE / 3)
    assert not stopper.is_alive()
    ended.set()


def test_steps_are_replaced_while_they_run(start: Engines) -> None:
    ran: list[str] = []

    def step(name: str, version: str) -> Step:
        return Step(name=name, work=lambda: ran.append(f"{name} {version}"))

    running = start(step("stays", "old"), step("goes", "old"))
    wait_until(lambda: {"stays old", "goes old"} <= set(ran), what="both")
    running.replace([step("stays", "new"), step("comes", "new")])
    wait_until(lambda: {"stays new", "comes new"} <= set(ran), what="the new ones")
    assert "goes new" not in ran
    wait_until(
        lambda: {thread.name for thread in threading.enumerate()}.isdisjoint({"goes-1"}), what="the end of its thread"
    )
