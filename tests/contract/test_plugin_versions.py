"""Jobs of a plugin whose version was replaced or removed: for every database."""

from collections.abc import Callable

import pytest

from node.ledger import Ledger
from node.records import (
    JobState,
)
from tests.ledger_rows import STUDY, Route, Want, claimed


def versions(ledger: Ledger, uid: str = STUDY) -> list[tuple[str, JobState]]:
    return [(job.version, job.state) for job in ledger.jobs.of(uid)]


@pytest.mark.parametrize("how", ["waiting", "postponed", "parked"])
def test_a_job_of_a_version_that_is_gone_is_planned_anew_on_the_same_images(
    ledger: Ledger, routed: Route, wanted: Want, how: str
) -> None:
    routed(wanted(priority=3))
    if how != "waiting":
        job = claimed(ledger)
        ledger.jobs.park(job, "broken") if how == "parked" else ledger.jobs.postpone(
            job, seconds=99, reason="", attempts=1
        )
    assert ledger.jobs.adopt({"spleen": "2"}) == {"planned anew": 1, "parked": 0}
    assert versions(ledger) == [("1", JobState.SUPERSEDED), ("2", JobState.WAITING)]
    old, new = ledger.jobs.of(STUDY)
    assert (new.inputs, new.destinations, new.route) == (old.inputs, old.destinations, old.route)
    assert ledger.jobs.adopt({"spleen": "2"}) == {"planned anew": 0, "parked": 0}
    assert claimed(ledger).version == "2"


def test_done_jobs_of_an_older_version_stay(ledger: Ledger, finish: Callable[..., None]) -> None:
    finish()
    ledger.jobs.adopt({"spleen": "2"})
    assert versions(ledger) == [("1", JobState.DONE)]


def test_an_upgrade_that_is_taken_back_takes_its_jobs_back(ledger: Ledger, routed: Route, wanted: Want) -> None:
    routed(wanted())
    ledger.jobs.adopt({"spleen": "2"})
    ledger.jobs.adopt({"spleen": "1"})
    assert versions(ledger) == [("1", JobState.WAITING), ("2", JobState.SUPERSEDED)]


def test_a_job_whose_plugin_is_gone_is_parked_with_a_sentence_and_comes_back(
    ledger: Ledger, routed: Route, wanted: Want
) -> None:
    routed(wanted())
    assert ledger.jobs.adopt({"liver": "1"}) == {"planned anew": 0, "parked": 1}
    ((_, _, reason),) = ledger.queries.parked()
    assert reason.startswith("planned for spleen 1, but no version is here; put the plugin back and requeue")
    ledger.queries.requeue()
    assert claimed(ledger).version == "1"
