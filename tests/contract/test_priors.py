"""Prior studies that the node asked for are kept and reported, but not analysed: for every database."""

from collections.abc import Callable
from dataclasses import replace

from node.ledger import Ledger
from node.ledger.priors import ANSWER_SECONDS
from node.records import Arrival, Study, StudyState
from tests.conftest import Clock

STUDY, SERIES = "1.2.1", "1.2.1.1"
Arrive = Callable[..., Arrival]


def study(ledger: Ledger) -> Study:
    found = ledger.studies.find(STUDY)
    assert found is not None
    return found


def asked_by(title: str, arrival: Arrival) -> Arrival:
    return replace(arrival, instance=replace(arrival.instance, originator=title))


def test_what_was_asked_for_is_a_prior_and_grows_without_a_revision(ledger: Ledger, arrival: Arrive) -> None:
    ledger.priors.ask_for(SERIES, STUDY, calling="ISOCENTER")
    assert ledger.instances.record([asked_by("ISOCENTER", arrival(1))]) == []
    ledger.instances.record([asked_by("ISOCENTER", arrival(2))])
    assert (study(ledger).state, study(ledger).revision) == (StudyState.PRIOR, 1)
    assert len(ledger.instances.of(STUDY)) == 2
    assert ledger.priors.incomplete(STUDY) == {SERIES}
    ledger.priors.arrived(SERIES)
    assert ledger.priors.incomplete(STUDY) == set()


def test_an_archive_that_does_not_tell_who_asked_is_believed_for_an_hour(
    ledger: Ledger, arrival: Arrive, clock: Clock
) -> None:
    ledger.priors.ask_for(SERIES, STUDY, calling="ISOCENTER")
    ledger.instances.record([arrival(1)])
    assert study(ledger).state is StudyState.PRIOR
    clock.advance(ANSWER_SECONDS)
    ledger.instances.record([arrival(2)])
    assert (study(ledger).state, study(ledger).revision) == (StudyState.RECEIVING, 2)


def test_what_another_asked_for_and_what_is_sent_are_analysed(ledger: Ledger, arrival: Arrive) -> None:
    ledger.priors.ask_for(SERIES, STUDY, calling="ISOCENTER")
    ledger.instances.record([asked_by("WORKSTATION", arrival(1))])
    assert study(ledger).state is StudyState.RECEIVING


def test_a_prior_that_is_sent_again_is_analysed(ledger: Ledger, arrival: Arrive, clock: Clock) -> None:
    ledger.priors.ask_for(SERIES, STUDY, calling="ISOCENTER")
    ledger.instances.record([asked_by("ISOCENTER", arrival(1))])
    clock.advance(ANSWER_SECONDS)
    assert ledger.instances.record([arrival(1)]) == [STUDY]
    assert study(ledger).state is StudyState.RECEIVING


def test_a_prior_can_be_requeued_by_its_name_alone(ledger: Ledger, arrival: Arrive) -> None:
    ledger.priors.ask_for(SERIES, STUDY, calling="ISOCENTER")
    ledger.instances.record([asked_by("ISOCENTER", arrival(1))])
    assert ledger.queries.requeue()["studies"] == 0
    assert ledger.queries.requeue(STUDY)["studies"] == 1
    assert study(ledger).state is StudyState.STABLE


def test_what_was_asked_for_of_a_routed_study_leaves_it_as_it_is(
    ledger: Ledger, arrival: Arrive, routed: Callable[..., int]
) -> None:
    routed()
    ledger.priors.ask_for("1.2.1.2", STUDY, calling="ISOCENTER")
    ledger.instances.record([asked_by("ISOCENTER", arrival(2, series="1.2.1.2"))])
    assert (study(ledger).state, study(ledger).revision) == (StudyState.ROUTED, 1)


def test_a_prior_is_purged_and_can_be_fetched_again(ledger: Ledger, arrival: Arrive, clock: Clock) -> None:
    ledger.priors.ask_for(SERIES, STUDY, calling="ISOCENTER")
    ledger.instances.record([asked_by("ISOCENTER", arrival(1))])
    clock.advance(10)
    assert ledger.retention.purge(before=clock()) == [STUDY]
    ledger.priors.ask_for(SERIES, STUDY, calling="ISOCENTER")
    ledger.instances.record([asked_by("ISOCENTER", arrival(1))])
    assert study(ledger).state is StudyState.PRIOR


def test_samples_are_one_instance_of_each_other_study_with_the_modality(
    ledger: Ledger, arrival: Arrive, routed: Callable[..., int]
) -> None:
    routed()
    routed(study="1.2.2", number=5)
    ledger.instances.record([arrival(6, study="1.2.3")])
    assert [uid for uid, _ in ledger.priors.candidates("CT", beside="1.2.2")] == [STUDY], (
        "nor one that is being received"
    )
    assert ledger.priors.candidates("MR", beside="") == []
