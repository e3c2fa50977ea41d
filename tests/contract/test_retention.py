"""What may be purged and what may not, and what becomes of lost instances: for every database."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from node.ledger import Ledger
from node.records import (
    FINISHED_DELIVERIES,
    FINISHED_JOBS,
    DeliveryState,
    JobState,
    StudyState,
)
from tests.conftest import Clock
from tests.ledger_rows import STUDY, Arrive, Make, Route, Want, claimed, event_names, study

DAY = 86400.0


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
