"""Studies in the ledger: settled, routed, parked; and the jobs planned for them. For every database."""

from collections.abc import Callable
from dataclasses import replace

from node.ledger import Ledger
from node.records import (
    Decision,
    JobState,
    StudyState,
)
from tests.ledger_rows import STUDY, Arrive, Route, Want, claimed, event_names, states, study


def test_series_are_counted_with_their_first_instance(
    ledger: Ledger, arrival: Arrive, clock: Callable[[], float]
) -> None:
    first = arrival(3, series="1.2.1.1")
    ledger.instances.record([first])
    clock.advance(1)  # type: ignore[attr-defined]
    ledger.instances.record([arrival(1, series="1.2.1.1"), arrival(4, series="1.2.1.2")])
    counted, other = ledger.instances.series(STUDY)
    assert (counted.series_uid, counted.instances, counted.modality, counted.sample) == (
        "1.2.1.1",
        2,
        "CT",
        first.place,
    )
    assert (other.series_uid, other.instances) == ("1.2.1.2", 1)


def test_a_study_is_settled_as_it_was_seen(ledger: Ledger, arrival: Arrive) -> None:
    ledger.instances.record([arrival(1)])
    seen = study(ledger)
    assert ledger.studies.settle(seen, "nothing came for 10 s")
    assert (study(ledger).state, study(ledger).because) == (StudyState.STABLE, "nothing came for 10 s")
    assert not ledger.studies.settle(seen, "again")
    assert event_names(ledger).count("study.stable") == 1


def test_a_study_that_grew_since_it_was_seen_is_not_settled(
    ledger: Ledger, arrival: Arrive, clock: Callable[[], float]
) -> None:
    ledger.instances.record([arrival(1)])
    seen = study(ledger)
    clock.advance(0.001)  # type: ignore[attr-defined]
    ledger.instances.record([arrival(2)])
    assert not ledger.studies.settle(seen, "too early")
    assert study(ledger).state is StudyState.RECEIVING


def test_an_old_revision_is_not_settled(ledger: Ledger, arrival: Arrive) -> None:
    ledger.instances.record([arrival(1)])
    seen = study(ledger)
    ledger.studies.settle(seen, "")
    ledger.instances.record([arrival(2)])
    assert not ledger.studies.settle(seen, "the one before")


def test_studies_are_found_by_state_the_longest_quiet_first(
    ledger: Ledger, arrival: Arrive, clock: Callable[[], float]
) -> None:
    for number, uid in enumerate(("1.2.3", "1.2.1", "1.2.2")):
        ledger.instances.record([arrival(number, study=uid)])
        clock.advance(1)  # type: ignore[attr-defined]
    ledger.studies.settle(study(ledger, "1.2.1"), "")
    assert [row.study_uid for row in ledger.studies.in_state(StudyState.RECEIVING)] == [
        "1.2.3",
        "1.2.2",
    ]


def test_decisions_are_kept_with_the_revision(ledger: Ledger, arrival: Arrive) -> None:
    decision = Decision(series_key="1.2.1.1", series_text="CT", route="r", matched=False, sentence="Modality is CT")
    for number in (1, 2):
        ledger.instances.record([arrival(number)])
        ledger.studies.settle(study(ledger), "")
        ledger.studies.plan(study(ledger), [replace(decision, route=f"r{number}")], [], ["a remark"])
    assert [decision.route for decision in ledger.queries.decisions(study(ledger))] == ["r2"]
    assert event_names(ledger).count("study.remark") == 2


def test_a_plan_makes_each_job_once(ledger: Ledger, routed: Route, wanted: Want, clock: Callable[[], float]) -> None:
    assert routed(wanted("a", to=("PACS", "ARCHIVE")), wanted("b")) == 2
    first, second = ledger.jobs.of(STUDY)
    assert (first.plugin, first.version, first.route, first.inputs) == ("a", "1", "every CT", ({"ct": "1.2.1.1"},))
    assert (first.destinations, first.state, first.attempts, first.planned_at) == (
        ("PACS", "ARCHIVE"),
        JobState.WAITING,
        0,
        clock(),
    )
    assert (first.ordinal, second.ordinal) == (0, 1)


def test_a_study_is_planned_only_in_the_revision_that_was_seen(ledger: Ledger, arrival: Arrive, wanted: Want) -> None:
    ledger.instances.record([arrival(1)])
    seen = study(ledger)
    assert ledger.studies.plan(seen, [], [wanted()]) == 0, "it is not stable yet"
    ledger.studies.settle(seen, "")
    stable = study(ledger)
    assert ledger.studies.plan(stable, [], [wanted()]) == 1
    assert ledger.studies.plan(stable, [], [wanted("other")]) == 0, "another has planned it"
    ledger.instances.record([arrival(2)])
    ledger.studies.settle(study(ledger), "")
    assert ledger.studies.plan(stable, [], [wanted("other")]) == 0, "there is a newer revision"
    assert len(ledger.jobs.of(STUDY)) == 1


def test_a_plugin_that_has_seen_these_very_images_gets_no_job(ledger: Ledger, routed: Route, wanted: Want) -> None:
    routed(wanted(digest="x"))
    ledger.jobs.finish(claimed(ledger), [])
    assert routed(wanted(digest="x"), number=2) == 0
    assert event_names(ledger)[-1] == "job.same"
    assert routed(wanted(digest="x", version="2"), number=3) == 1, "a new version sees them for the first time"
    assert routed(wanted(digest="y"), number=4) == 1, "other images"
    assert [job.ordinal for job in ledger.jobs.of(STUDY)] == [0, 1, 2]


def test_a_superseded_job_has_seen_nothing(ledger: Ledger, routed: Route, wanted: Want) -> None:
    routed(wanted(digest="x"))
    assert routed(wanted(digest="x"), number=2) == 1
    assert states(ledger) == [JobState.SUPERSEDED, JobState.WAITING]


def test_the_same_images_in_another_study_are_another_job(ledger: Ledger, routed: Route, wanted: Want) -> None:
    assert routed(wanted(), study="1.2.1") == 1
    assert routed(wanted(), study="1.2.2") == 1


def test_a_parked_study_says_why_and_is_planned_again_when_it_is_put_back(
    ledger: Ledger, arrival: Arrive, wanted: Want
) -> None:
    ledger.instances.record([arrival(1)])
    ledger.studies.settle(study(ledger), "")
    ledger.studies.park(study(ledger), "instance 1.2 is torn")
    assert ledger.queries.parked() == [(STUDY, "study", "instance 1.2 is torn")]
    assert ledger.queries.requeue(STUDY) == {"studies": 1, "jobs": 0, "deliveries": 0}
    assert ledger.studies.plan(study(ledger), [], [wanted()]) == 1


def test_a_study_that_grew_meanwhile_is_not_parked(ledger: Ledger, arrival: Arrive) -> None:
    ledger.instances.record([arrival(1)])
    ledger.studies.settle(study(ledger), "")
    seen = study(ledger)
    ledger.instances.record([arrival(2)])
    ledger.studies.park(seen, "instance 1.2 is torn")
    assert study(ledger).state is StudyState.RECEIVING
    assert "study.parked" not in event_names(ledger)
