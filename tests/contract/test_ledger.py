"""What the ledger remembers, and what it refuses: one suite for every database."""

import itertools
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from node.errors import ConfigError, LedgerUnavailable
from node.ledger import Ledger
from node.ledger.job_moves import move_jobs
from node.records import (
    DELIVERY_MOVES,
    JOB_MOVES,
    Arrival,
    Decision,
    Declined,
    Delivery,
    DeliveryState,
    Job,
    JobState,
    Plan,
    Refusal,
    ResultObject,
    Study,
    StudyState,
)
from tests.conftest import Clock

Arrive = Callable[..., Arrival]
Want = Callable[..., Plan]
Make = Callable[..., ResultObject]
Route = Callable[..., int]

STUDY = "1.2.1"
OTHER = "1.2.1.2"
"""A series that no job reads."""
LEASE = 60.0


def study(ledger: Ledger, uid: str = STUDY) -> Study:
    found = ledger.studies.find(uid)
    assert found is not None
    return found


def claimed(ledger: Ledger, *, lease: float = LEASE) -> Job:
    job = ledger.jobs.claim(lease_seconds=lease)
    assert job is not None
    return job


def states(ledger: Ledger, uid: str = STUDY) -> list[JobState]:
    return [job.state for job in ledger.jobs.of(uid)]


def event_names(ledger: Ledger, uid: str | None = STUDY) -> list[str]:
    return [event.name for _, event in ledger.events.read(uid)]


@pytest.fixture
def outbox(ledger: Ledger, routed: Route, wanted: Want, result: Make) -> Callable[..., list[Delivery]]:
    """Finish a job with objects, and return what waits for PACS."""

    def made(count: int = 1, *, to: tuple[str, ...] = ("PACS",)) -> list[Delivery]:
        routed(wanted(to=to))
        ledger.jobs.finish(claimed(ledger), [result(number) for number in range(1, count + 1)])
        return ledger.deliveries.claim("PACS", lease_seconds=60)

    return made


# Receive.


def test_an_instance_is_recorded_with_its_place_and_begins_its_study(
    ledger: Ledger, arrival: Arrive, clock: Callable[[], float]
) -> None:
    assert ledger.instances.record([arrival(1), arrival(2)]) == [STUDY]
    assert ledger.instances.of(STUDY) == [(arrived.instance, arrived.place) for arrived in (arrival(1), arrival(2))]
    assert study(ledger) == Study(
        study_uid=STUDY, state=StudyState.RECEIVING, revision=1, changed_at=clock(), because=""
    )
    assert event_names(ledger) == ["study.begun"]
    assert ledger.studies.find("1.2.404") is None


def test_nothing_to_record_is_no_fault(ledger: Ledger) -> None:
    assert ledger.instances.record([]) == []


def test_a_group_may_be_larger_than_a_statement(ledger: Ledger, arrival: Arrive) -> None:
    group = [arrival(number) for number in range(1, 1301)]
    ledger.instances.record(group)
    ledger.instances.record(group)
    assert len(ledger.instances.of(STUDY)) == 1300
    assert ledger.instances.marks() == {"a.pack": group[-1].end}


def test_a_repeated_instance_changes_nothing(ledger: Ledger, arrival: Arrive, routed: Route) -> None:
    routed()
    before = study(ledger), ledger.instances.of(STUDY)
    assert ledger.instances.record([arrival(1, pack="b.pack")]) == []
    assert (study(ledger), ledger.instances.of(STUDY)) == before
    assert event_names(ledger)[-1] == "instance.repeated"
    assert ledger.instances.marks().keys() == {"a.pack", "b.pack"}


def test_an_instance_twice_in_one_group_is_recorded_once(ledger: Ledger, arrival: Arrive) -> None:
    ledger.instances.record([arrival(1), arrival(1, pack="b.pack")])
    assert [place.pack for _, place in ledger.instances.of(STUDY)] == ["a.pack"]


@pytest.mark.parametrize("together", [True, False])
def test_of_an_instance_with_other_bytes_the_newest_counts(ledger: Ledger, arrival: Arrive, together: bool) -> None:
    old, new = arrival(1), arrival(1, checksum=8, pack="b.pack")
    for group in [[old, new]] if together else [[old], [new]]:
        assert ledger.instances.record(group) == [STUDY]
    assert ledger.instances.of(STUDY) == [(new.instance, new.place)]
    assert "instance.replaced" in event_names(ledger)


def test_other_bytes_make_a_new_revision_of_a_study_that_was_stable(
    ledger: Ledger, arrival: Arrive, routed: Route
) -> None:
    routed()
    ledger.instances.record([arrival(1, checksum=8)])
    assert (study(ledger).state, study(ledger).revision) == (StudyState.RECEIVING, 2)


def test_an_object_of_our_own_that_comes_back_makes_no_revision(
    ledger: Ledger, arrival: Arrive, outbox: Callable[..., list[Delivery]]
) -> None:
    (sent,) = outbox()
    back = arrival(5, series=sent.object.series_uid)
    back = replace(back, instance=replace(back.instance, sop_instance_uid=sent.object.sop_instance_uid))
    assert ledger.instances.record([back]) == []
    assert (study(ledger).state, study(ledger).revision) == (StudyState.ROUTED, 1)
    assert "instance.own" in event_names(ledger)
    assert len(ledger.instances.of(STUDY)) == 2, "it is kept all the same"


def test_a_late_instance_makes_a_revision_and_supersedes_what_has_not_run(
    ledger: Ledger, arrival: Arrive, routed: Route, wanted: Want
) -> None:
    plans = [wanted(name, priority=priority) for priority, name in enumerate(("d", "c", "b", "a"))]
    routed(*plans)
    done, parked, running = (claimed(ledger) for _ in range(3))
    ledger.jobs.finish(done, [])
    ledger.jobs.park(parked, "it failed")
    assert [job.plugin for job in (done, parked, running)] == ["a", "b", "c"]
    ledger.instances.record([arrival(2)])
    assert {job.plugin: job.state for job in ledger.jobs.of(STUDY)} == {
        "a": JobState.DONE,
        "b": JobState.SUPERSEDED,
        "c": JobState.SUPERSEDED,
        "d": JobState.SUPERSEDED,
    }
    assert (study(ledger).state, study(ledger).revision) == (StudyState.RECEIVING, 2)
    assert not ledger.jobs.finish(running, []), "what already runs may end, and records nothing"


@pytest.mark.parametrize("planned", [True, False])
@pytest.mark.parametrize("end", ["postpone", "park"])
def test_a_running_job_of_an_old_revision_is_not_begun_again(
    ledger: Ledger, arrival: Arrive, routed: Route, wanted: Want, planned: bool, end: str
) -> None:
    routed(wanted(digest="x"))
    job = claimed(ledger)
    if planned:
        routed(wanted(digest="y", priority=-1), number=2, series=OTHER)
    else:
        ledger.instances.record([arrival(2, series=OTHER)])
    if end == "postpone":
        ended = ledger.jobs.postpone(job, seconds=0, reason="Triton is away", attempts=0)
    else:
        ended = ledger.jobs.park(job, "the plugin failed")
    assert ended is not planned, "it is no longer its worker's once the other is planned"
    assert states(ledger)[0] is JobState.SUPERSEDED
    assert [job.revision for job in ledger.jobs.of(STUDY) if job.state is JobState.WAITING] == ([2] if planned else [])


def test_a_running_job_that_sees_the_images_of_the_new_revision_too_stays_their_only_one(
    ledger: Ledger, routed: Route, wanted: Want
) -> None:
    routed(wanted(digest="x"))
    job = claimed(ledger)
    assert routed(wanted(digest="x"), wanted("other", digest="y"), number=2, series=OTHER) == 1
    ledger.jobs.postpone(job, seconds=0, reason="Triton is away", attempts=0)
    assert {job.plugin: (job.revision, job.state) for job in ledger.jobs.of(STUDY)} == {
        "spleen": (1, JobState.WAITING),
        "other": (2, JobState.WAITING),
    }


def test_a_study_that_still_grows_keeps_its_revision(
    ledger: Ledger, arrival: Arrive, clock: Callable[[], float]
) -> None:
    ledger.instances.record([arrival(1)])
    clock.advance(3)  # type: ignore[attr-defined]
    ledger.instances.record([arrival(2)])
    assert (study(ledger).revision, study(ledger).changed_at) == (1, clock())


def test_a_revision_of_one_study_leaves_the_others(
    ledger: Ledger, arrival: Arrive, routed: Route, wanted: Want
) -> None:
    routed(wanted(), study="1.2.1")
    routed(wanted(), study="1.2.2")
    ledger.instances.record([arrival(2, study="1.2.1")])
    assert states(ledger, "1.2.2") == [JobState.WAITING]


def refusal(study_uid: str = STUDY, uid: str = "1.2.1.9.66") -> Refusal:
    return Refusal(
        at=1.0,
        sop_instance_uid=uid,
        sop_class_uid="1.2.3",
        study_uid=study_uid,
        calling="CT1",
        peer="127.0.0.1",
        reason="the data set has no Series Instance UID",
    )


def test_a_refused_instance_is_visible_with_its_reason(ledger: Ledger) -> None:
    ledger.instances.record([], [refusal(), refusal("")])
    assert ledger.queries.refusals() == [refusal(), refusal("")]
    assert ledger.queries.refusals(STUDY) == [refusal()]
    assert ledger.studies.find(STUDY) is None
    assert [event.detail for _, event in ledger.events.read(STUDY)] == [
        f"{refusal().sop_instance_uid}: {refusal().reason}"
    ]


def test_marks_follow_the_packs(ledger: Ledger, arrival: Arrive) -> None:
    ledger.instances.record([arrival(1), arrival(2), arrival(7, pack="b.pack")])
    assert ledger.instances.marks() == {"a.pack": arrival(2).end, "b.pack": arrival(7).end}
    ledger.instances.record([arrival(3)])
    assert ledger.instances.marks()["a.pack"] == arrival(3).end
    assert ledger.instances.packs(STUDY) == {"a.pack": arrival(3).end, "b.pack": arrival(7).end}


def test_a_mark_never_goes_back(ledger: Ledger, arrival: Arrive) -> None:
    ledger.instances.record([arrival(5)])
    ledger.instances.record([arrival(2)])
    assert ledger.instances.marks() == {"a.pack": arrival(5).end}


def test_a_group_is_recorded_whole_or_not_at_all(ledger: Ledger, arrival: Arrive) -> None:
    """The marks are the last to be written, and cannot be."""
    with ledger.db.writing() as connection:
        connection.execute(text("ALTER TABLE pack RENAME TO away"))
    with pytest.raises(LedgerUnavailable):
        ledger.instances.record([arrival(1), arrival(2)], [refusal()])
    with ledger.db.writing() as connection:
        connection.execute(text("ALTER TABLE away RENAME TO pack"))
    assert ledger.instances.of(STUDY) == []
    assert ledger.studies.find(STUDY) is None
    assert ledger.queries.refusals() == []
    assert ledger.events.read() == []


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"study_uid": None}, "the instance has no study_uid"),
        ({"series_uid": "1." * 40}, "series_uid has 80 characters, 64 at most"),
        ({"study_uid": "1." * 40, "modality": None}, "study_uid has 80 characters, 64 at most"),
        ({"peer": None}, "the ledger cannot hold it: "),
    ],
)
def test_an_instance_that_can_never_have_a_row_is_set_aside_and_holds_up_no_other(
    ledger: Ledger, arrival: Arrive, broken: dict[str, Any], reason: str
) -> None:
    group = [arrival(number) for number in range(1, 8)]
    group[3] = replace(group[3], instance=replace(group[3].instance, **broken))
    assert ledger.instances.record(group, [refusal()]) == [STUDY]
    assert [instance.sop_instance_uid for instance, _ in ledger.instances.of(STUDY)] == [
        arrived.instance.sop_instance_uid for arrived in group if arrived is not group[3]
    ]
    assert ledger.instances.marks() == {"a.pack": group[-1].end}, "nobody will find it in the pack again and again"
    aside, refused = sorted(ledger.queries.refusals(), key=lambda refusal: refusal.sop_instance_uid)
    assert refused == refusal()
    assert aside.sop_instance_uid == group[3].instance.sop_instance_uid
    assert aside.reason.startswith(reason)
    assert aside.reason.endswith("it was received, and lies in pack a.pack at 4000")
    assert ledger.instances.record(group[3:4]) == [], "alone as well"


def test_words_that_a_database_does_not_take_are_written_all_the_same(ledger: Ledger, arrival: Arrive) -> None:
    sound = arrival(1)
    odd = replace(sound, instance=replace(sound.instance, peer="a\0b", modality="C\udce4T"))
    ledger.instances.record([odd], [replace(refusal(), reason="no\0 \udcff", calling="longer than an AE title")])
    ((kept, _),) = ledger.instances.of(STUDY)
    assert (kept.peer, kept.modality) == ("a\ufffdb", "C?T")
    (shown,) = ledger.queries.refusals()
    assert (shown.reason, shown.calling) == ("no\ufffd ?", "longer than an A")


def test_uids_are_in_the_same_order_everywhere(ledger: Ledger, arrival: Arrive) -> None:
    """Code points, not the alphabet of the server's language, which may leave dots out."""
    uids = ["1.2.10", "1.2.9.1", "1.20.1", "1.2.9", "1.2.91"]
    ledger.instances.record([arrival(number, series=uid) for number, uid in enumerate(uids)])
    assert [series.series_uid for series in ledger.instances.series(STUDY)] == sorted(uids)


def test_a_study_that_grew_by_what_came_earlier_is_not_settled(ledger: Ledger, arrival: Arrive, clock: Clock) -> None:
    """Rows are written in groups: those of another process may come after those of younger instances."""
    early = arrival(2)
    clock.advance(1)
    ledger.instances.record([arrival(1)])
    seen = study(ledger)
    ledger.instances.record([early])
    assert not ledger.studies.settle(seen, "too early")
    assert study(ledger).changed_at == pytest.approx(clock())


# Assemble.


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


# Route.


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


def test_only_who_saw_the_stable_study_plans_it(ledger: Ledger, arrival: Arrive, wanted: Want) -> None:
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


# Infer.


def test_the_most_urgent_job_is_claimed_first_then_the_longest_due(
    ledger: Ledger, routed: Route, wanted: Want, clock: Callable[[], float]
) -> None:
    routed(wanted("slow", priority=-1), wanted("first"), wanted("second"), study="1.2.1")
    clock.advance(1)  # type: ignore[attr-defined]
    routed(wanted("third"), wanted("urgent", priority=5), study="1.2.2")
    order = [claimed(ledger).plugin for _ in range(5)]
    assert order == ["urgent", "first", "second", "third", "slow"]
    assert ledger.jobs.claim(lease_seconds=LEASE) is None


def test_jobs_of_plugins_whose_models_are_being_loaded_are_left_for_later(
    ledger: Ledger, routed: Route, wanted: Want
) -> None:
    routed(wanted("loading", priority=5), wanted("ready"))
    assert ledger.jobs.waiting_plugins() == {"loading", "ready"}
    job = ledger.jobs.claim(lease_seconds=LEASE, without=["loading"])
    assert job is not None
    assert job.plugin == "ready"
    assert ledger.jobs.claim(lease_seconds=LEASE, without=["loading"]) is None
    due, without = ledger.jobs.next_due(), ledger.jobs.next_due(without=["loading", "ready"])
    assert due is not None
    assert due <= ledger.db.clock()
    assert without is None
    later = claimed(ledger)
    assert (later.plugin, later.attempts) == ("loading", 1)


def test_a_claimed_job_says_who_has_it(ledger: Ledger, routed: Route, wanted: Want) -> None:
    routed(wanted("a"), wanted("b"))
    first, second = claimed(ledger), claimed(ledger)
    assert first.state is JobState.RUNNING
    assert first.attempts == 1
    assert first.worker
    assert first.worker != second.worker


def test_a_job_whose_lease_ran_out_is_claimed_again(
    ledger: Ledger, routed: Route, wanted: Want, clock: Callable[[], float]
) -> None:
    routed(wanted())
    slow = claimed(ledger, lease=10)
    clock.advance(10)  # type: ignore[attr-defined]
    assert ledger.jobs.claim(lease_seconds=10) is None, "the last second still counts"
    clock.advance(0.1)  # type: ignore[attr-defined]
    fast = claimed(ledger, lease=10)
    assert (fast.id, fast.attempts) == (slow.id, 2)
    assert fast.worker != slow.worker


def test_a_renewed_lease_holds(ledger: Ledger, routed: Route, wanted: Want, clock: Callable[[], float]) -> None:
    routed(wanted())
    job = claimed(ledger, lease=10)
    for _ in range(5):
        clock.advance(9)  # type: ignore[attr-defined]
        assert ledger.jobs.renew(job, lease_seconds=10)
        assert ledger.jobs.claim(lease_seconds=10) is None


def test_a_worker_that_lost_its_lease_records_nothing(
    ledger: Ledger, routed: Route, wanted: Want, result: Make, clock: Callable[[], float]
) -> None:
    routed(wanted())
    slow = claimed(ledger, lease=10)
    clock.advance(11)  # type: ignore[attr-defined]
    fast = claimed(ledger, lease=10)
    before = ledger.jobs.of(STUDY), ledger.events.read(STUDY)
    assert not ledger.jobs.renew(slow, lease_seconds=10)
    assert not ledger.jobs.finish(slow, [result(1)], remarks=["late"])
    assert not ledger.jobs.park(slow, "late")
    assert not ledger.jobs.postpone(slow, seconds=1, reason="late", attempts=0)
    assert (ledger.jobs.of(STUDY), ledger.events.read(STUDY)) == before
    assert ledger.deliveries.of(STUDY) == []
    assert ledger.jobs.finish(fast, [result(2)])
    assert not ledger.jobs.finish(slow, [result(1)])
    assert [delivery.object for delivery in ledger.deliveries.of(STUDY)] == [result(2)]


def test_a_lease_that_ran_out_and_that_nobody_took_still_counts(
    ledger: Ledger, routed: Route, wanted: Want, clock: Callable[[], float]
) -> None:
    routed(wanted())
    job = claimed(ledger, lease=10)
    clock.advance(1000)  # type: ignore[attr-defined]
    assert ledger.jobs.renew(job, lease_seconds=10)
    assert ledger.jobs.finish(job, [])


def test_a_finished_job_is_done_and_queues_each_object_for_each_destination(
    ledger: Ledger, routed: Route, wanted: Want, result: Make
) -> None:
    routed(wanted(to=("PACS", "ARCHIVE")))
    job = claimed(ledger)
    made = [result(1), result(2, kind="SR")]
    assert ledger.jobs.finish(job, made, remarks=["one stack was left out"], timing={"load": 1.25})
    assert states(ledger) == [JobState.DONE]
    assert {(delivery.object.sop_instance_uid, delivery.destination) for delivery in ledger.deliveries.of(STUDY)} == {
        (result.sop_instance_uid, to) for result in made for to in ("PACS", "ARCHIVE")
    }
    details = {event.name: event.detail for _, event in ledger.events.read(STUDY)}
    assert details["job.remark"] == "spleen: one stack was left out"
    assert details["job.done"] == "spleen 1: SEG, SR; load 1.25 s"
    assert not ledger.jobs.finish(job, made), "once"


def test_a_postponed_job_is_due_again_at_its_time(
    ledger: Ledger, routed: Route, wanted: Want, clock: Callable[[], float]
) -> None:
    routed(wanted())
    assert ledger.jobs.next_due() == clock()
    assert ledger.jobs.postpone(claimed(ledger), seconds=30, reason="Triton is away", attempts=0)
    (job,) = ledger.jobs.of(STUDY)
    assert (job.state, job.reason, job.attempts, job.worker) == (JobState.WAITING, "Triton is away", 0, "")
    assert ledger.jobs.claim(lease_seconds=LEASE) is None
    assert ledger.jobs.next_due() == clock() + 30
    clock.advance(30)  # type: ignore[attr-defined]
    assert claimed(ledger).attempts == 1


def test_the_end_of_a_lease_is_when_a_job_may_be_due(
    ledger: Ledger, routed: Route, wanted: Want, clock: Callable[[], float]
) -> None:
    assert ledger.jobs.next_due() is None
    routed(wanted())
    job = claimed(ledger, lease=60)
    due = ledger.jobs.next_due()
    assert due is not None
    assert due >= clock() + 60
    clock.advance(due - clock())  # type: ignore[attr-defined]
    clock.advance(0.001)  # type: ignore[attr-defined]
    assert claimed(ledger).id == job.id


def test_a_parked_job_rests_until_a_person_puts_it_back(ledger: Ledger, routed: Route, wanted: Want) -> None:
    routed(wanted())
    ledger.jobs.park(claimed(ledger), "the plugin failed")
    assert ledger.queries.parked() == [(STUDY, "job spleen", "the plugin failed")]
    assert ledger.jobs.claim(lease_seconds=LEASE) is None
    assert ledger.queries.requeue("1.2.404") == {"studies": 0, "jobs": 0, "deliveries": 0}
    assert ledger.queries.requeue(STUDY) == {"studies": 0, "jobs": 1, "deliveries": 0}
    assert ledger.queries.parked() == []
    assert claimed(ledger).attempts == 1, "attempts are counted afresh"


def test_objects_of_the_newest_earlier_revision_are_the_predecessors(
    ledger: Ledger, routed: Route, wanted: Want, result: Make
) -> None:
    for number in (1, 2, 3):
        routed(wanted(digest=str(number)), wanted("other", digest=str(number), priority=-1), number=number)
        job = claimed(ledger)
        earlier = [f"2.25.{number - 1}"] if number > 1 else []
        assert [predecessor.sop_instance_uid for predecessor in ledger.jobs.predecessors(job)] == earlier
        ledger.jobs.finish(job, [result(number)])
        ledger.jobs.finish(claimed(ledger), [result(number + 100)])
        for sent in ledger.deliveries.claim("PACS", lease_seconds=60):
            ledger.deliveries.mark_delivered(sent)


# Deliver.


def test_what_is_queued_is_due_at_once_in_its_order(
    ledger: Ledger, outbox: Callable[..., list[Delivery]], clock: Callable[[], float], result: Make
) -> None:
    due = outbox(3, to=("PACS", "ARCHIVE"))
    assert {delivery.destination for delivery in due} == {"PACS"}
    assert sorted(delivery.object.sop_instance_uid for delivery in due) == ["2.25.1", "2.25.2", "2.25.3"]
    assert due[0].object in [result(number) for number in (1, 2, 3)]
    assert ledger.deliveries.next_due("PACS") == clock() + 60, "when what was claimed is another's"
    ledger.deliveries.release(due)
    assert ledger.deliveries.next_due("PACS") == clock()
    assert len(ledger.deliveries.claim("PACS", lease_seconds=60, limit=2)) == 2
    assert ledger.deliveries.claim("NOWHERE", lease_seconds=60) == []
    assert ledger.deliveries.next_due("NOWHERE") is None


def test_what_was_delivered_stays_delivered(ledger: Ledger, outbox: Callable[..., list[Delivery]]) -> None:
    (sent,) = outbox()
    assert not ledger.deliveries.has_delivered("PACS")
    ledger.deliveries.mark_delivered(sent, "")
    assert ledger.deliveries.has_delivered("PACS")
    assert not ledger.deliveries.has_delivered("ARCHIVE")
    (before,) = ledger.deliveries.of(STUDY)
    assert (before.state, before.attempts) == (DeliveryState.DELIVERED, 1)
    ledger.deliveries.postpone(sent, seconds=0, reason="late")
    ledger.deliveries.park(sent, "late")
    ledger.deliveries.mark_delivered(sent, "twice")
    ledger.queries.requeue()
    assert ledger.deliveries.of(STUDY) == [before]
    assert ledger.deliveries.claim("PACS", lease_seconds=60) == []
    assert event_names(ledger).count("object.delivered") == 1
    assert not {"object.postponed", "object.parked"} & set(event_names(ledger))


def test_an_object_that_is_made_again_is_not_queued_again(
    ledger: Ledger, outbox: Callable[..., list[Delivery]], routed: Route, wanted: Want, result: Make
) -> None:
    (sent,) = outbox()
    ledger.deliveries.mark_delivered(sent)
    routed(wanted(digest="other"), number=2)
    ledger.jobs.finish(claimed(ledger), [result(1), result(2)])
    assert [delivery.object.sop_instance_uid for delivery in ledger.deliveries.claim("PACS", lease_seconds=60)] == [
        "2.25.2"
    ]


def test_a_postponed_delivery_waits_and_counts(
    ledger: Ledger, outbox: Callable[..., list[Delivery]], clock: Callable[[], float]
) -> None:
    (sent,) = outbox()
    ledger.deliveries.postpone(sent, seconds=8, reason="no answer")
    assert ledger.deliveries.claim("PACS", lease_seconds=60) == []
    assert ledger.deliveries.next_due("PACS") == clock() + 8
    clock.advance(8)  # type: ignore[attr-defined]
    (again,) = ledger.deliveries.claim("PACS", lease_seconds=60)
    assert (again.attempts, again.reason, again.queued_at) == (1, "no answer", sent.queued_at)


def test_a_parked_delivery_is_put_back_with_a_fresh_start(
    ledger: Ledger, outbox: Callable[..., list[Delivery]], clock: Callable[[], float]
) -> None:
    (sent,) = outbox()
    ledger.deliveries.park(sent, "PACS refused it")
    assert ledger.queries.parked() == [(STUDY, "delivery to PACS", "PACS refused it")]
    assert ledger.deliveries.next_due("PACS") is None
    clock.advance(100)  # type: ignore[attr-defined]
    assert ledger.queries.requeue(STUDY) == {"studies": 0, "jobs": 0, "deliveries": 1}
    (again,) = ledger.deliveries.claim("PACS", lease_seconds=60)
    assert (again.attempts, again.queued_at) == (0, clock())


def test_one_destination_does_not_move_anothers_rows(ledger: Ledger, outbox: Callable[..., list[Delivery]]) -> None:
    (sent,) = outbox(to=("PACS", "ARCHIVE"))
    ledger.deliveries.park(sent, "PACS refused it")
    assert [delivery.state for delivery in ledger.deliveries.claim("ARCHIVE", lease_seconds=60)] == [
        DeliveryState.WAITING
    ]


def test_what_one_deliverer_holds_no_other_is_given(ledger: Ledger, outbox: Callable[..., list[Delivery]]) -> None:
    first = outbox(3)
    assert len({delivery.worker for delivery in first}) == 1
    assert ledger.deliveries.claim("PACS", lease_seconds=LEASE) == []
    ledger.deliveries.mark_delivered(first[0])
    ledger.deliveries.release(first[1:])
    second = ledger.deliveries.claim("PACS", lease_seconds=LEASE)
    assert [delivery.object for delivery in second] == [delivery.object for delivery in first[1:]]
    assert [delivery.attempts for delivery in second] == [0, 0], "what is given back has cost no attempt"
    assert {delivery.worker for delivery in second} != {delivery.worker for delivery in first}


def test_who_has_lost_his_lease_says_nothing_of_a_delivery(
    ledger: Ledger, outbox: Callable[..., list[Delivery]], clock: Callable[[], float]
) -> None:
    late = outbox(2)
    clock.advance(61)  # type: ignore[attr-defined]
    now = ledger.deliveries.claim("PACS", lease_seconds=LEASE)
    assert len(now) == 2
    before = ledger.deliveries.of(STUDY)
    ledger.deliveries.mark_delivered(late[0])
    ledger.deliveries.postpone(late[1], seconds=9, reason="late")
    ledger.deliveries.park(late[1], "late")
    ledger.deliveries.release(late)
    assert not ledger.deliveries.renew(late, lease_seconds=LEASE)
    assert ledger.deliveries.of(STUDY) == before
    assert ledger.deliveries.claim("PACS", lease_seconds=LEASE) == []
    ledger.deliveries.mark_delivered(now[0])
    assert [delivery.state for delivery in ledger.deliveries.of(STUDY)].count(DeliveryState.DELIVERED) == 1


def test_a_lease_that_is_renewed_outlasts_its_time(
    ledger: Ledger, outbox: Callable[..., list[Delivery]], clock: Callable[[], float]
) -> None:
    held = outbox(2)
    clock.advance(50)  # type: ignore[attr-defined]
    assert ledger.deliveries.renew(held, lease_seconds=60)
    clock.advance(50)  # type: ignore[attr-defined]
    assert ledger.deliveries.claim("PACS", lease_seconds=LEASE) == []
    assert ledger.deliveries.next_due("PACS") == clock() + 10
    ledger.deliveries.mark_delivered(held[0])
    assert ledger.deliveries.renew(held[1:], lease_seconds=60), "what is sent is no longer held, and need not be"


# Moves.


def test_every_move_of_a_job_that_the_table_does_not_have_is_refused(
    ledger: Ledger, routed: Route, wanted: Want, arrival: Arrive
) -> None:
    """Each state is reached, each move is tried by who would make it, and the table says what comes of it."""

    def reinstate(job: Job) -> None:
        with ledger.db.writing() as connection:
            move_jobs(ledger.db, connection, text("id = :id").bindparams(id=job.id), "reinstate")

    moves: Mapping[str, Callable[[Job], object]] = {
        "finish": lambda job: ledger.jobs.finish(job, []),
        "postpone": lambda job: ledger.jobs.postpone(job, seconds=0, reason="", attempts=0),
        "park": lambda job: ledger.jobs.park(job, ""),
        "requeue": lambda job: ledger.queries.requeue(job.study_uid),
        "supersede": lambda job: ledger.instances.record([arrival(2, study=job.study_uid)]),
        "claim": lambda _job: ledger.jobs.claim(lease_seconds=LEASE),
        "strand": lambda job: ledger.jobs.adopt({}, only=job),
        "reinstate": reinstate,
    }
    ways: Mapping[JobState, Callable[[Job], object]] = {
        JobState.WAITING: lambda job: ledger.jobs.postpone(job, seconds=0, reason="", attempts=0),
        JobState.RUNNING: lambda job: None,
        JobState.DONE: lambda job: ledger.jobs.finish(job, []),
        JobState.PARKED: lambda job: ledger.jobs.park(job, ""),
        JobState.SUPERSEDED: lambda job: (
            ledger.jobs.park(job, ""),
            ledger.instances.record([arrival(3, study=job.study_uid)]),
        ),
    }
    assert set(ways) == set(JobState)
    assert set(moves) == {move for _, move in JOB_MOVES}
    for number, (state, move) in enumerate((state, move) for state in ways for move in moves):
        uid = f"1.3.{number}"
        routed(wanted(), study=uid)
        held = claimed(ledger)
        assert held.study_uid == uid
        ways[state](held)
        (before,) = ledger.jobs.of(uid)
        assert before.state is state
        moves[move](held)
        (after,) = ledger.jobs.of(uid)
        expected: StrEnum = JOB_MOVES.get((state, move), state)
        if (state, move) == (JobState.RUNNING, "claim"):
            assert after == before, "only when the lease has run out"
        assert after.state is expected, f"{state} {move}"
        with ledger.db.writing() as connection:
            connection.execute(text("UPDATE job SET state = 'done'"))


def test_every_move_of_a_delivery_that_the_table_does_not_have_is_refused(
    ledger: Ledger, outbox: Callable[..., list[Delivery]], arrival: Arrive
) -> None:
    late = itertools.count(2)
    moves: Mapping[str, Callable[[Delivery], object]] = {
        "deliver": ledger.deliveries.mark_delivered,
        "postpone": lambda sent: ledger.deliveries.postpone(sent, seconds=0, reason=""),
        "park": lambda sent: ledger.deliveries.park(sent, ""),
        "requeue": lambda sent: ledger.queries.requeue(sent.study_uid),
        "commit": ledger.commitments.commit,
        "resend": lambda sent: ledger.commitments.send_again(sent, seconds=0, reason=""),
        "abandon": lambda sent: ledger.commitments.abandon(sent, "", answered=True),
        "decline": lambda sent: ledger.deliveries.decline(sent, ""),
        "replace": lambda sent: ledger.fallbacks.replace(Declined(delivery=sent, job_id=1, objects=()), (), ""),
        "supplant": lambda sent: ledger.fallbacks.supplant(sent, (), ""),
        "exhaust": lambda sent: ledger.fallbacks.park(Declined(delivery=sent, job_id=1, objects=()), ""),
        "supersede": lambda _sent: ledger.instances.record([arrival(next(late))]),
    }
    assert set(moves) == {move for _, move in DELIVERY_MOVES}
    (sent,) = outbox()
    for state in DeliveryState:
        for move, make in moves.items():
            with ledger.db.writing() as connection:
                held = {"state": state.value, "worker": sent.worker}
                connection.execute(text("UPDATE delivery SET state = :state, worker = :worker"), held)
            make(sent)
            (after,) = ledger.deliveries.of(STUDY)
            assert after.state is DELIVERY_MOVES.get((state, move), state), f"{state} {move}"


# The file.


def test_all_of_it_survives_a_restart(ledger_url: str, arrival: Arrive, wanted: Want, result: Make) -> None:
    first = Ledger(ledger_url)
    first.instances.record([arrival(1)], [refusal()])
    first.studies.settle(study(first), "quiet")
    first.studies.plan(study(first), [], [wanted()])
    first.jobs.finish(claimed(first), [result(1)])
    before = (
        study(first),
        first.instances.of(STUDY),
        first.jobs.of(STUDY),
        first.deliveries.of(STUDY),
        first.events.read(),
    )
    first.close()
    again = Ledger(ledger_url)
    assert before == (
        study(again), again.instances.of(STUDY), again.jobs.of(STUDY), again.deliveries.of(STUDY), again.events.read(),
    )  # fmt: skip
    assert again.instances.marks() == {"a.pack": arrival(1).end}
    assert again.queries.refusals() == [refusal()]
    again.close()


def test_what_is_committed_is_on_the_disk(ledger: Ledger) -> None:
    """SQLite: WAL with synchronous FULL. A commit survives the loss of power."""
    with ledger.db.reading() as connection:
        if connection.dialect.name == "postgresql":
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
            assert connection.exec_driver_sql("SHOW transaction_isolation").scalar() == "read committed"
            return
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "is no database URL such as sqlite:////path/ledger.db"),
        ("mysql://host/db", r"only sqlite:///… and postgresql://… are understood"),
        ("sqlite://", "names no file; the rows must outlive the program"),
        (
            "postgresql://me:secret@127.0.0.1:1/ledger",
            r"me:\*\*\*@127.0.0.1:1/ledger cannot be opened: .*start the server",
        ),
        ("sqlite:////proc/nowhere/ledger.db", "cannot be opened: unable to open database file; name a writable place"),
    ],
)
def test_a_url_that_names_no_ledger_is_an_error(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        Ledger(url)
    assert str(error.value).startswith("ledger.url ")
    assert "secret" not in str(error.value)


def test_a_file_that_is_no_ledger_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database " * 100)
    with pytest.raises(ConfigError, match="file is not a database"):
        Ledger(f"sqlite:///{tmp_path / 'notes.txt'}")


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


def test_two_processes_share_a_ledger(ledger: Ledger, ledger_url: str, arrival: Arrive) -> None:
    other = Ledger(ledger_url)
    ledger.instances.record([arrival(1)])
    assert not other.instances.record([arrival(1)])
    assert other.studies.settle(study(other), "")
    assert not ledger.studies.settle(replace(study(ledger), state=StudyState.RECEIVING), "")
    other.close()


def test_the_story_can_be_followed_from_any_event_on(ledger: Ledger) -> None:
    ledger.events.add(STUDY, "study.remark", "one")
    ((first, event),) = ledger.events.read(STUDY)
    assert (event.name, event.detail) == ("study.remark", "one")
    ledger.events.add("1.2.2", "study.remark", "two")
    assert [event.detail for _, event in ledger.events.read(after=first)] == ["two"]
    assert ledger.events.read(STUDY, after=first) == []
