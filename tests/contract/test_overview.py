"""Studies are found by what people know of them, queues are counted, and a person pauses, cancels and deletes."""

from collections.abc import Callable
from typing import Any

import pytest

from node.ledger import Ledger
from node.ledger.overview import StudyFilter
from node.operation_records import Identifiers
from node.records import DeliveryState, JobState, StudyState
from tests.conftest import Clock
from tests.ledger_rows import Make, Route, Want, claimed, states

FIRST, SECOND = "1.2.1", "1.2.2"
OF_FIRST = Identifiers(patient_id="4711", accession_number="A17", study_date="20260102", modalities="CT,SEG")
OF_SECOND = Identifiers(patient_id="4712", accession_number="B3", study_date="20260304", modalities="MR")


@pytest.fixture
def listed(ledger: Ledger) -> Callable[..., list[str]]:
    return lambda **wanted: [found.study.study_uid for found in ledger.overview.studies(StudyFilter(**wanted))]


@pytest.fixture
def two(ledger: Ledger, routed: Route, wanted: Want, clock: Clock) -> None:
    routed(wanted("spleen"), study=FIRST)
    clock.advance(10)
    routed(wanted("liver"), study=SECOND, number=2)
    ledger.studies.identify(FIRST, OF_FIRST)
    ledger.studies.identify(SECOND, OF_SECOND)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, [SECOND, FIRST]),
        ({"patient_id": "4711"}, [FIRST]),
        ({"patient_id": "47*"}, [SECOND, FIRST]),
        ({"patient_id": "47_1"}, []),
        ({"accession_number": "B3"}, [SECOND]),
        ({"first_date": "20260201"}, [SECOND]),
        ({"last_date": "20260201"}, [FIRST]),
        ({"modality": "SEG"}, [FIRST]),
        ({"modality": "S"}, []),
        ({"sender": "CT1"}, [SECOND, FIRST]),
        ({"sender": "CT2"}, []),
        ({"plugin": "liver"}, [SECOND]),
        ({"state": "waiting"}, [SECOND, FIRST]),
        ({"state": "parked"}, []),
        ({"patient_id": "4711", "plugin": "liver"}, []),
    ],
)
@pytest.mark.usefixtures("two")
def test_studies_are_found_by_what_people_know(
    listed: Callable[..., list[str]], asked: dict[str, Any], found: list[str]
) -> None:
    assert listed(**asked) == found


@pytest.mark.usefixtures("two")
def test_a_study_is_meant_by_its_uids_its_order_and_its_patient(ledger: Ledger, result: Make) -> None:
    ledger.jobs.finish(claimed(ledger), [result(5)])
    for text in (FIRST, "1.2.1.9.1", "A17", "4711", "2.25.5"):
        assert ledger.overview.meant(text) == [FIRST], text
    assert ledger.overview.meant("nobody") == []


@pytest.mark.usefixtures("two")
def test_what_people_know_is_forgotten_with_the_history(ledger: Ledger, result: Make, clock: Clock) -> None:
    for number in (1, 2):
        ledger.jobs.finish(claimed(ledger), [result(number)])
    for sent in ledger.deliveries.claim("PACS", lease_seconds=60):
        ledger.deliveries.mark_delivered(sent)
    clock.advance(100)
    ledger.retention.purge(before=clock())
    assert ledger.overview.meant("4711") == [FIRST], "its history can still be told"
    clock.advance(100)
    ledger.retention.forget(before=clock())
    assert ledger.overview.meant("4711") == []


@pytest.mark.usefixtures("two")
def test_queues_say_how_much_waits_at_each_stage_and_for_how_long(ledger: Ledger, result: Make, clock: Clock) -> None:
    ledger.jobs.finish(claimed(ledger), [result(1), result(2)])
    clock.advance(30)
    queues = {queue.stage: (queue.count, queue.oldest_seconds) for queue in ledger.overview.queues() if queue.count}
    assert queues == {"jobs waiting": (1, 30), "deliveries waiting": (2, 30)}
    (sent, _) = ledger.deliveries.claim("PACS", lease_seconds=60)
    ledger.deliveries.postpone(sent, seconds=9, reason="nobody listens")
    assert ledger.overview.waiting() == {"PACS": (2, clock() - 30, "nobody listens")}
    assert {one.due_at - clock() for one in ledger.deliveries.of(FIRST) if one.attempts} == {9}


def test_a_pause_lasts_until_it_is_resumed(ledger: Ledger) -> None:
    assert ledger.pauses.add("destination", "PACS")
    assert not ledger.pauses.add("destination", "PACS")
    assert (ledger.pauses.names("destination"), ledger.pauses.names("plugin")) == ({"PACS"}, set())
    assert ledger.pauses.remove("destination", "PACS")
    assert not ledger.pauses.remove("destination", "PACS")


def test_a_process_is_listed_until_it_has_ended(ledger: Ledger, clock: Clock) -> None:
    for detail in ("local is up, 3 of 4 models are being loaded", "local is up"):
        ledger.processes.report("host:17", roles="work", version="1", started_at=clock(), detail=detail)
    (process,) = ledger.processes.all()
    assert (process.detail, process.seen_at) == ("local is up", clock())
    ledger.processes.remove("host:17")
    assert ledger.processes.all() == []


@pytest.mark.usefixtures("two")
def test_a_cancelled_study_does_nothing_more(ledger: Ledger, result: Make) -> None:
    job = claimed(ledger)
    assert ledger.interventions.cancel_study(FIRST) == {"studies": 0, "jobs": 1, "deliveries": 0}
    assert not ledger.jobs.finish(job, [result(1)]), "its worker records nothing"
    assert (states(ledger, FIRST), states(ledger, SECOND)) == ([JobState.SUPERSEDED], [JobState.WAITING])
    assert ledger.jobs.of(FIRST)[0].reason == "cancelled by a person"
    assert not any(ledger.interventions.cancel_study(FIRST).values()), "nothing is left"


@pytest.mark.usefixtures("two")
def test_one_job_is_cancelled(ledger: Ledger) -> None:
    (job,) = ledger.jobs.of(SECOND)
    assert ledger.interventions.cancel_job(job.id)
    assert not ledger.interventions.cancel_job(job.id)
    assert not ledger.interventions.cancel_job(99)


@pytest.mark.usefixtures("two")
def test_a_deleted_study_leaves_nothing_about_the_patient(ledger: Ledger, result: Make) -> None:
    ledger.jobs.finish(claimed(ledger), [result(1)])
    assert ledger.interventions.delete_study(FIRST) == 1
    assert ledger.instances.of(FIRST) == []
    assert ledger.overview.meant("4711") == []
    assert {one.state for one in ledger.deliveries.of(FIRST)} == {DeliveryState.SUPERSEDED}
    assert [event.name for _, event in ledger.events.read(FIRST)] == ["study.deleted"]
    found = ledger.studies.find(FIRST)
    assert found is not None
    assert found.state is StudyState.PURGED
    assert ledger.interventions.delete_study("1.2.99") is None


def test_a_delivery_that_waits_is_tried_at_once_when_it_is_requeued(
    ledger: Ledger, routed: Route, wanted: Want, result: Make, clock: Clock
) -> None:
    routed(wanted())
    ledger.jobs.finish(claimed(ledger), [result(1)])
    (sent,) = ledger.deliveries.claim("PACS", lease_seconds=60)
    ledger.deliveries.postpone(sent, seconds=3600, reason="nobody listens")
    assert ledger.queries.requeue(destination="PACS") == {"studies": 0, "jobs": 0, "deliveries": 1}
    assert ledger.deliveries.next_due("PACS") == clock()
    assert not any(ledger.queries.requeue(destination="PACS").values()), "it is due already"
