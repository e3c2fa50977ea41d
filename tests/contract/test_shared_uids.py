"""What was received for one study is never taken from it, though a sender gives its SOP Instance UIDs to another."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from node.ledger import Ledger
from node.records import Arrival, Plan, Reference, ResultObject, StudyState

Arrive = Callable[..., Arrival]

FIRST, SECOND = "1.2.1", "1.2.2"
CT = "1.2.840.10008.5.1.4.1.1.2"


def again(arrival: Arrival, *, study: str = SECOND, checksum: int = 8, pack: str = "b.pack") -> Arrival:
    """Return an instance of another study with the same SOP Instance UID."""
    other = replace(arrival.instance, study_uid=study, series_uid=f"{study}.1", checksum=checksum)
    return replace(arrival, instance=other, place=replace(arrival.place, pack=pack))


def uids(ledger: Ledger, study: str) -> list[tuple[str, str]]:
    return [(instance.sop_instance_uid, place.pack) for instance, place in ledger.instances.of(study)]


def story(ledger: Ledger, study: str, name: str = "instance.shared") -> list[str]:
    return [event.detail for _, event in ledger.events.read(study) if event.name == name]


@pytest.mark.parametrize("checksum", [7, 8], ids=["the same bytes", "other bytes"])
@pytest.mark.parametrize("together", [True, False], ids=["at once", "later"])
def test_each_study_keeps_what_was_received_for_it(
    ledger: Ledger, arrival: Arrive, together: bool, checksum: int
) -> None:
    images = [arrival(number) for number in range(1, 4)]
    copies = [again(image, checksum=checksum) for image in images[:2]]
    for group in [[*images, *copies]] if together else [images, copies]:
        ledger.instances.record(group)
    assert uids(ledger, FIRST) == [(image.instance.sop_instance_uid, "a.pack") for image in images]
    assert uids(ledger, SECOND) == [(image.instance.sop_instance_uid, "b.pack") for image in images[:2]]
    assert [(series.series_uid, series.instances) for series in ledger.instances.series(FIRST)] == [("1.2.1.1", 3)]
    for mine, other in ((FIRST, SECOND), (SECOND, FIRST)):
        assert story(ledger, mine) == [
            f"{copy.instance.sop_instance_uid} is in study {other} too: its sender gave the UID twice; "
            "each study keeps what it received"
            for copy in copies
        ]


def test_the_first_study_is_not_analysed_anew_for_it(
    ledger: Ledger, arrival: Arrive, routed: Callable[..., int]
) -> None:
    routed()
    assert ledger.instances.record([again(arrival(1))]) == [SECOND]
    found = ledger.studies.find(FIRST)
    assert found is not None
    assert (found.state, found.revision) == (StudyState.ROUTED, 1)


def test_what_comes_again_is_compared_with_that_of_its_own_study(ledger: Ledger, arrival: Arrive) -> None:
    image = arrival(1)
    ledger.instances.record([image])
    ledger.instances.record([again(image)])
    assert ledger.instances.record([image, again(image)]) == [], "each is a repetition"
    assert ledger.instances.record([again(image, checksum=9, pack="c.pack")]) == [SECOND]
    assert uids(ledger, FIRST) == [(image.instance.sop_instance_uid, "a.pack")]
    assert uids(ledger, SECOND) == [(image.instance.sop_instance_uid, "c.pack")]
    assert len(story(ledger, FIRST)) == 1, "one event"


def test_the_records_of_packs_that_are_read_again_give_the_same_rows(ledger: Ledger, arrival: Arrive) -> None:
    """As at start, after a crash between the row and the mark."""
    group = [arrival(1), again(arrival(1))]
    ledger.instances.record(group)
    ledger.instances.record(list(reversed(group)))
    assert (len(uids(ledger, FIRST)), len(uids(ledger, SECOND))) == (1, 1)


def test_bytes_that_are_lost_of_one_study_are_there_for_the_other(ledger: Ledger, arrival: Arrive) -> None:
    ledger.instances.record([arrival(1), again(arrival(1))])
    second = ledger.studies.find(SECOND)
    assert second is not None
    assert ledger.studies.lose(second, lambda _, place: place.pack == "a.pack") == 1
    assert len(uids(ledger, FIRST)) == 1
    assert uids(ledger, SECOND) == []


def test_a_study_that_is_purged_leaves_the_other_its_instances(
    ledger: Ledger, arrival: Arrive, routed: Callable[..., int], clock: Callable[[], float]
) -> None:
    routed()
    ledger.instances.record([again(arrival(1))])
    clock.advance(10)  # type: ignore[attr-defined]
    assert ledger.retention.purge(before=clock()) == [FIRST]
    assert uids(ledger, FIRST) == []
    assert len(uids(ledger, SECOND)) == 1
    assert ledger.instances.pack_counts(["a.pack", "b.pack"]) == {"b.pack": 1}


def test_a_commitment_covers_the_instances_of_both_studies(ledger: Ledger, arrival: Arrive) -> None:
    image = arrival(1)
    ledger.instances.record([image, again(image)])
    uid = image.instance.sop_instance_uid
    found = ledger.instances.find([Reference(CT, uid)])
    assert sorted(place.pack for _, place in found[uid]) == ["a.pack", "b.pack"]


def test_each_study_may_be_a_prior_by_its_own_instance(ledger: Ledger, arrival: Arrive) -> None:
    ledger.instances.record([arrival(1), again(arrival(1))])
    for uid in (FIRST, SECOND):
        seen = ledger.studies.find(uid)
        assert seen is not None
        ledger.studies.settle(seen, "quiet")
    found = ledger.priors.candidates("CT", beside="1.2.404")
    assert [(uid, place.pack) for uid, place in found] == [(FIRST, "a.pack"), (SECOND, "b.pack")]


def test_a_result_of_this_node_is_one_in_its_own_study_alone(
    ledger: Ledger,
    arrival: Arrive,
    routed: Callable[..., int],
    wanted: Callable[..., Plan],
    result: Callable[..., ResultObject],
) -> None:
    routed(wanted())
    job = ledger.jobs.claim(lease_seconds=60)
    assert job is not None
    ledger.jobs.finish(job, [result(1)])
    back = arrival(5)
    back = replace(back, instance=replace(back.instance, sop_instance_uid="2.25.1"))
    assert ledger.instances.record([back]) == []
    assert ledger.instances.record([again(back)]) == [SECOND], "there it is an instance as any other"
    assert story(ledger, SECOND, "instance.own") == []


def test_an_instance_that_moves_to_another_series_of_its_study_is_an_event(
    ledger: Ledger, arrival: Arrive, routed: Callable[..., int], wanted: Callable[..., Plan]
) -> None:
    routed(wanted())
    job = ledger.jobs.claim(lease_seconds=60)
    assert job is not None
    ledger.instances.record([arrival(1, series="1.2.1.2", checksum=8)])
    assert [series.series_uid for series in ledger.instances.series(FIRST)] == ["1.2.1.2"]
    (detail,) = story(ledger, FIRST, "instance.replaced")
    assert detail.endswith("the newest count, in series 1.2.1.2 and no longer in 1.2.1.1")
    assert not ledger.jobs.finish(job, []), "the series that it has left has changed too"
