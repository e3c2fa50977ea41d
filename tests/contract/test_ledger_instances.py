"""Instances in the ledger: recorded, repeated, replaced, refused; and the marks of their packs. For every database."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from node.errors import LedgerUnavailable
from node.ledger import Ledger
from node.records import (
    Delivery,
    JobState,
    Study,
    StudyState,
)
from tests.conftest import Clock
from tests.ledger_rows import OTHER, STUDY, Arrive, Route, Want, claimed, event_names, refusal, states, study


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


def test_text_that_a_database_refuses_is_replaced_and_written(ledger: Ledger, arrival: Arrive) -> None:
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
