"""What may be purged and what may not, who goes first, and what becomes of work that is stuck: for every database."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event as engine_event

from node.ledger import Ledger
from node.records import (
    FINISHED_DELIVERIES,
    FINISHED_JOBS,
    Arrival,
    DeliveryState,
    Job,
    JobState,
    Plan,
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
DAY = 86400.0


def study(ledger: Ledger, uid: str = STUDY) -> Study:
    found = ledger.studies.find(uid)
    assert found is not None
    return found


def claimed(ledger: Ledger) -> Job:
    job = ledger.jobs.claim(lease_seconds=60)
    assert job is not None
    return job


def event_names(ledger: Ledger, uid: str = STUDY) -> list[str]:
    return [event.name for _, event in ledger.events.read(uid)]


@pytest.fixture
def finish(ledger: Ledger, routed: Route, wanted: Want, result: Make) -> Callable[..., None]:
    """Bring a study all the way: received, planned, done, delivered."""

    def make(*, uid: str = STUDY, number: int = 1) -> None:
        assert routed(wanted(digest=uid), study=uid, number=number) == 1
        assert ledger.jobs.finish(claimed(ledger), [result(int(uid.rpartition(".")[2]))])
        for sent in ledger.deliveries.claim("PACS", lease_seconds=60):
            ledger.deliveries.mark_delivered(sent)

    return make


# Purge.


def test_a_finished_study_is_purged_when_it_is_old_and_its_story_stays(
    ledger: Ledger, finish: Callable[..., None], clock: Clock
) -> None:
    finish()
    clock.advance(7 * DAY)
    assert ledger.retention.purge(before=clock() - 7 * DAY) == [], "to the second"
    clock.advance(1)
    assert ledger.retention.purge(before=clock() - 7 * DAY) == [STUDY]
    assert ledger.retention.purge(before=clock() - 7 * DAY) == []
    assert (study(ledger).state, study(ledger).purged_at) == (StudyState.PURGED, clock())
    assert ledger.instances.of(STUDY) == []
    assert [job.state for job in ledger.jobs.of(STUDY)] == [JobState.DONE]
    assert [delivery.state for delivery in ledger.deliveries.of(STUDY)] == [DeliveryState.DELIVERED]
    assert event_names(ledger)[0] == "study.begun"
    assert event_names(ledger)[-1] == "study.purged"


def test_the_time_counts_from_the_last_delivery(
    ledger: Ledger, routed: Route, wanted: Want, result: Make, clock: Clock
) -> None:
    routed(wanted())
    ledger.jobs.finish(claimed(ledger), [result()])
    clock.advance(6 * DAY)
    ledger.deliveries.mark_delivered(ledger.deliveries.claim("PACS", lease_seconds=60)[0])
    clock.advance(2 * DAY)
    assert ledger.retention.purge(before=clock() - 7 * DAY) == []
    clock.advance(6 * DAY)
    assert ledger.retention.purge(before=clock() - 7 * DAY) == [STUDY]


def test_a_study_that_no_route_matched_is_purged_too(ledger: Ledger, routed: Route, clock: Clock) -> None:
    routed()
    clock.advance(8 * DAY)
    assert ledger.retention.purge(before=clock() - 7 * DAY) == [STUDY]


UNFINISHED = ["receiving", "stable", "parked study", "waiting", "running", "postponed", "parked job", "undelivered"]


@pytest.mark.parametrize("how", [*UNFINISHED, "parked delivery", "one of two deliveries"])
def test_nothing_unfinished_is_ever_purged(
    ledger: Ledger, routed: Route, wanted: Want, result: Make, arrival: Arrive, clock: Clock, how: str
) -> None:
    if how in ("receiving", "stable", "parked study"):
        ledger.instances.record([arrival(1)])
        if how != "receiving":
            ledger.studies.settle(study(ledger), "")
        if how == "parked study":
            ledger.studies.park(study(ledger), "torn")
    else:
        routed(wanted(to=("PACS", "ARCHIVE")))
    job = None if how in ("receiving", "stable", "parked study", "waiting") else claimed(ledger)
    if job and how == "postponed":
        ledger.jobs.postpone(job, seconds=1, reason="", attempts=0)
    if job and how == "parked job":
        ledger.jobs.park(job, "")
    if job and how in ("undelivered", "parked delivery", "one of two deliveries"):
        ledger.jobs.finish(job, [result()])
        for destination in {"undelivered": (), "one of two deliveries": ("PACS",)}.get(how, ("PACS", "ARCHIVE")):
            (sent,) = ledger.deliveries.claim(destination, lease_seconds=60)
            if how == "parked delivery" and destination == "ARCHIVE":
                ledger.deliveries.park(sent, "refused")
            else:
                ledger.deliveries.mark_delivered(sent)
    clock.advance(1000 * DAY)
    assert ledger.retention.purge(before=clock() - 7 * DAY) == []
    assert len(ledger.instances.of(STUDY)) == 1


def test_what_is_finished_is_named_once_for_all(ledger: Ledger) -> None:
    assert set(FINISHED_JOBS) == {JobState.DONE, JobState.SUPERSEDED}
    assert not {DeliveryState.WAITING, DeliveryState.PARKED} & set(FINISHED_DELIVERIES)


def test_a_purged_study_that_is_sent_again_makes_no_second_job_for_the_same_images(
    ledger: Ledger, finish: Callable[..., None], routed: Route, wanted: Want, clock: Clock
) -> None:
    finish()
    clock.advance(8 * DAY)
    ledger.retention.purge(before=clock())
    assert routed(wanted(digest=STUDY)) == 0
    assert study(ledger).revision == 2
    assert ledger.studies.lacking(study(ledger)) == 0
    assert event_names(ledger)[-1] == "job.same"
    clock.advance(8 * DAY)
    assert ledger.retention.purge(before=clock()) == [STUDY], "and it goes again"


def test_a_purged_study_lacks_what_has_not_come_again(
    ledger: Ledger, routed: Route, arrival: Arrive, clock: Clock
) -> None:
    ledger.instances.record([arrival(number) for number in range(1, 5)])
    routed(number=5)
    clock.advance(8 * DAY)
    assert ledger.retention.purge(before=clock()) == [STUDY]
    ledger.instances.record([arrival(1), arrival(2, checksum=8)])
    assert ledger.studies.lacking(study(ledger)) == 3
    ledger.studies.settle(study(ledger), "")
    ledger.studies.park(study(ledger), "incomplete")
    ledger.queries.requeue()
    assert ledger.studies.lacking(study(ledger)) == 3, "only who names the study takes it as it is"
    ledger.studies.park(study(ledger), "incomplete")
    ledger.queries.requeue(STUDY)
    assert ledger.studies.lacking(study(ledger)) == 0


def test_results_that_come_back_are_neither_missed_nor_kept_once_purged(
    ledger: Ledger, finish: Callable[..., None], arrival: Arrive, clock: Clock
) -> None:
    finish()
    back = arrival(5)
    back = replace(back, instance=replace(back.instance, sop_instance_uid="2.25.1"))
    ledger.instances.record([back])
    clock.advance(8 * DAY)
    assert ledger.retention.purge(before=clock()) == [STUDY]
    ledger.instances.record([back])
    assert (study(ledger).state, ledger.instances.of(STUDY)) == (StudyState.PURGED, [])
    ledger.instances.record([arrival(1)])
    assert ledger.studies.lacking(study(ledger)) == 0


def test_packs_are_counted_by_the_rows_that_point_into_them(
    ledger: Ledger, arrival: Arrive, finish: Callable[..., None], clock: Clock
) -> None:
    finish()
    ledger.instances.record([arrival(1, study="1.2.2"), arrival(2, study="1.2.2", pack="b.pack")])
    assert ledger.instances.pack_counts(["a.pack", "b.pack", "c.pack"]) == {"a.pack": 2, "b.pack": 1}
    clock.advance(8 * DAY)
    assert ledger.retention.finished_bytes(before=clock()) == 900
    ledger.retention.purge(before=clock())
    assert ledger.instances.pack_counts(ledger.instances.marks()) == {"a.pack": 1, "b.pack": 1}
    ledger.retention.forget_packs(["b.pack"])
    assert ledger.instances.marks().keys() == {"a.pack"}


def test_a_pack_is_at_work_while_a_study_in_it_is_received_or_a_job_of_it_waits_or_runs(
    ledger: Ledger, arrival: Arrive, wanted: Want
) -> None:
    ledger.instances.record([arrival(1), arrival(2, study="1.2.2", pack="b.pack")])
    packs = ["a.pack", "b.pack", "c.pack"]
    assert ledger.instances.packs_in_use(packs) == {"a.pack", "b.pack"}
    for uid in (STUDY, "1.2.2"):
        assert ledger.studies.settle(study(ledger, uid), "")
    assert ledger.instances.packs_in_use(packs) == {"a.pack", "b.pack"}
    ledger.studies.plan(study(ledger, "1.2.2"), [], [])
    ledger.studies.plan(study(ledger), [], [wanted()])
    assert ledger.instances.packs_in_use(packs) == {"a.pack"}
    job = ledger.jobs.claim(lease_seconds=60)
    assert job is not None
    assert ledger.instances.packs_in_use(packs) == {"a.pack"}
    ledger.jobs.finish(job, [])
    assert ledger.instances.packs_in_use(packs) == set()


# Loss.


def test_lost_instances_park_their_study_until_they_are_sent_again(ledger: Ledger, arrival: Arrive) -> None:
    ledger.instances.record([arrival(number) for number in (1, 2, 3)])
    assert ledger.studies.lose(study(ledger), lambda instance, _place: instance.sop_instance_uid != "1.2.1.9.2") == 1
    assert [instance.sop_instance_uid for instance, _ in ledger.instances.of(STUDY)] == ["1.2.1.9.1", "1.2.1.9.3"]
    assert ledger.instances.series(STUDY)[0].instances == 2
    ((_, _, reason),) = ledger.queries.parked()
    assert reason.startswith("the bytes of 1 of its 3 instances are gone from the spool (1.2.1.9.2)")
    assert reason.endswith("must be sent again")
    assert ledger.studies.lacking(study(ledger)) == 1
    assert ledger.instances.record([arrival(1)]) == [], "that one is here"
    assert ledger.instances.record([arrival(2, pack="b.pack")]) == [STUDY]
    assert (study(ledger).state, study(ledger).revision) == (StudyState.RECEIVING, 2)
    assert ledger.studies.lacking(study(ledger)) == 0
    assert len(ledger.instances.of(STUDY)) == 3


def test_requeuing_looks_whether_lost_bytes_are_back(ledger: Ledger, arrival: Arrive) -> None:
    ledger.instances.record([arrival(1)])
    ledger.studies.lose(study(ledger), lambda *_: False)
    assert ledger.studies.lose(study(ledger), lambda *_: False) == 0, "once is enough"
    ledger.queries.requeue()
    assert study(ledger).state is StudyState.STABLE
    assert len(ledger.instances.of(STUDY)) == 1


# Urgency and turns.


def order(ledger: Ledger, count: int) -> list[str]:
    return [claimed(ledger).study_uid for _ in range(count)]


def send(ledger: Ledger, arrival: Arrive, plan: Plan, uid: str, *, calling: str = "CT1", urgency: int = 0) -> None:
    arrived = arrival(1, study=uid)
    ledger.instances.record([replace(arrived, instance=replace(arrived.instance, calling=calling, urgency=urgency))])
    ledger.studies.settle(study(ledger, uid), "")
    assert ledger.studies.plan(study(ledger, uid), [], [plan]) == 1


def test_a_flood_from_one_sender_does_not_starve_another(
    ledger: Ledger, arrival: Arrive, wanted: Want, clock: Clock
) -> None:
    for number in range(6):
        send(ledger, arrival, wanted(), f"1.1.{number}", calling="FLOOD")
        clock.advance(1)
    send(ledger, arrival, wanted(), "1.2.0", calling="QUIET")
    send(ledger, arrival, wanted(), "1.2.1", calling="QUIET")
    assert order(ledger, 5) == ["1.1.0", "1.2.0", "1.1.1", "1.2.1", "1.1.2"]
    send(ledger, arrival, wanted(), "1.3.0", calling="NEW")
    assert order(ledger, 3) == ["1.3.0", "1.1.3", "1.1.4"]


def test_urgent_images_overtake_and_add_to_their_route(ledger: Ledger, arrival: Arrive, wanted: Want) -> None:
    send(ledger, arrival, wanted(), "1.1.1")
    send(ledger, arrival, wanted(), "1.1.2", urgency=-10)
    send(ledger, arrival, wanted(), "1.1.3", urgency=10)
    send(ledger, arrival, wanted(priority=5), "1.1.4", urgency=10)
    send(ledger, arrival, wanted(priority=5), "1.1.5")
    assert order(ledger, 5) == ["1.1.4", "1.1.3", "1.1.5", "1.1.1", "1.1.2"]


def test_deliveries_of_urgent_studies_go_first(
    ledger: Ledger, arrival: Arrive, wanted: Want, result: Make, clock: Clock
) -> None:
    for number, urgency in enumerate((0, 20, 10)):
        send(ledger, arrival, wanted(), f"1.1.{number}", urgency=urgency)
        ledger.jobs.finish(claimed(ledger), [result(number)])
        clock.advance(1)
    assert [delivery.study_uid for delivery in ledger.deliveries.claim("PACS", lease_seconds=60)] == [
        "1.1.1",
        "1.1.2",
        "1.1.0",
    ]


# Another version of a plugin.


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


# What is stuck, and put back.


def test_work_that_has_not_moved_for_long_is_reported(
    ledger: Ledger, routed: Route, wanted: Want, result: Make, arrival: Arrive, clock: Clock
) -> None:
    routed(wanted())
    ledger.jobs.finish(claimed(ledger), [result(1), result(2)])
    ledger.deliveries.postpone(
        ledger.deliveries.claim("PACS", lease_seconds=60)[0], seconds=9, reason="refused the association"
    )
    routed(wanted(), study="1.2.2")
    claimed(ledger)
    ledger.instances.record([arrival(1, study="1.2.3")])
    assert ledger.queries.stuck(seconds=3600) == []
    clock.advance(7200)
    receiving, job, delivery = ledger.queries.stuck(seconds=3600)
    assert receiving == "study 1.2.3 has been receiving for 2 hours"
    assert job.startswith("job 2 (spleen) of study 1.2.2 has run past its lease by 119 minutes")
    assert delivery == "2 deliveries to PACS wait, the oldest for 2 hours: refused the association"


def test_one_job_or_one_destination_is_put_back_alone(
    ledger: Ledger, routed: Route, wanted: Want, result: Make
) -> None:
    routed(wanted(to=("PACS", "ARCHIVE")))
    ledger.jobs.finish(claimed(ledger), [result(1), result(2)])
    for destination in ("PACS", "ARCHIVE"):
        for sent in ledger.deliveries.claim(destination, lease_seconds=60):
            ledger.deliveries.park(sent, "refused")
    for number in (2, 3):
        routed(wanted(), study=f"1.2.{number}")
        ledger.jobs.park(claimed(ledger), "broken")
    assert ledger.queries.requeue(job_id=2) == {"studies": 0, "jobs": 1, "deliveries": 0}
    assert ledger.queries.requeue(destination="PACS", object_uid="2.25.1") == {"studies": 0, "jobs": 0, "deliveries": 1}
    assert ledger.queries.requeue(destination="PACS") == {"studies": 0, "jobs": 0, "deliveries": 1}
    assert ledger.queries.requeue(object_uid="2.25.2") == {"studies": 0, "jobs": 0, "deliveries": 1}
    assert ledger.queries.requeue("1.2.2") == {"studies": 0, "jobs": 0, "deliveries": 0}
    assert ledger.queries.requeue() == {"studies": 0, "jobs": 1, "deliveries": 1}


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
def test_a_claim_looks_at_unfinished_jobs_alone(ledger: Ledger, routed: Route, wanted: Want) -> None:
    """However many are done: SQLite tells which rows it would visit."""
    routed(wanted())
    seen: list[tuple[str, Any]] = []
    engine_event.listen(
        ledger.db._engine, "before_cursor_execute", lambda _c, _cursor, *executed: seen.append(executed[:2])
    )
    claimed(ledger)
    statement, values = next(executed for executed in seen if executed[0].startswith("UPDATE job"))
    with ledger.db.reading() as connection:
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert any("SEARCH job USING INDEX job_due" in line for line in plan)
    assert not any(line.startswith("SCAN job") for line in plan)
