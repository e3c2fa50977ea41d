"""Several threads write to one ledger. For every database."""

import threading
from collections.abc import Callable

import pytest

from node.errors import LedgerUnavailable
from node.ledger import Ledger
from node.records import (
    JobState,
)
from tests.ledger_rows import LEASE, STUDY, Arrive, Route, Want, claimed, event_names, states, study


def in_threads(count: int, work: Callable[[int], object]) -> None:
    """Run `work` in so many threads at once, and raise what one of them raised."""
    errors: list[Exception] = []
    ready = threading.Barrier(count)

    def run(number: int) -> None:
        ready.wait()
        try:
            work(number)
        except (LedgerUnavailable, AssertionError, ValueError) as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_writers_in_threads_wait_for_each_other(ledger: Ledger, arrival: Arrive) -> None:
    def write(number: int) -> None:
        for group in range(5):
            first = 1 + number * 100 + group * 10
            ledger.instances.record([arrival(instance, pack=f"{number}.pack") for instance in range(first, first + 10)])

    in_threads(6, write)
    assert len(ledger.instances.of(STUDY)) == 300
    assert study(ledger).revision == 1
    assert event_names(ledger) == ["study.begun"]


def test_a_job_is_claimed_by_one_of_many(ledger: Ledger, routed: Route, wanted: Want) -> None:
    routed(*(wanted(f"p{number}") for number in range(20)))
    claims: list[int] = []

    def claim_all(_number: int) -> None:
        while (job := ledger.jobs.claim(lease_seconds=LEASE)) is not None:
            claims.append(job.id)

    in_threads(6, claim_all)
    assert sorted(claims) == sorted(job.id for job in ledger.jobs.of(STUDY))


@pytest.mark.parametrize("end", ["postpone", "park"])
def test_a_job_that_is_put_back_while_a_revision_is_being_recorded_is_superseded(
    ledger: Ledger, routed: Route, wanted: Want, arrival: Arrive, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """The revision has looked at the jobs and is not committed yet: the job must not slip in between."""
    routed(wanted())
    job = claimed(ledger)
    looked, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(ledger.instances, "_refuse", lambda *_: (looked.set(), go_on.wait(30)))
    ends = {
        "postpone": lambda: ledger.jobs.postpone(job, seconds=0, reason="", attempts=0),
        "park": lambda: ledger.jobs.park(job, ""),
    }
    revision = threading.Thread(target=ledger.instances.record, args=([arrival(2)],))
    worker = threading.Thread(target=ends[end])
    revision.start()
    assert looked.wait(30)
    worker.start()
    worker.join(0.5)
    go_on.set()
    revision.join()
    worker.join()
    assert states(ledger) == [JobState.SUPERSEDED]
